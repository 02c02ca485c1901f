//! Snapshots, crashes, dumps: what the simulation relies on.

mod common;

use common::*;
use fs_api::*;
use tests_model::Model;
use tests_model::compare::difference;

#[test]
fn a_snapshot_put_back_is_the_same_filesystem() {
    let w = World::new();
    w.mkdir("d");
    w.file("d/f", b"before");
    let state = w.model.snapshot();
    let tree = w.dump();
    let f = w.ino("d/f");
    now(w.model.write(&root(), Target::inode(f), 0, b"after!")).unwrap();
    w.file("new", b"");
    assert_ne!(w.model.snapshot(), state);
    let back = World { model: Model::from_state(state.clone()) };
    assert_eq!(back.model.snapshot(), state);
    assert_eq!(difference(&back.dump(), &tree), "");
    assert_eq!(&back.read("d/f")[..], b"before");
}

#[test]
fn a_crash_closes_handles_and_frees_what_has_no_name() {
    let w = World::new();
    let f = w.file("f", b"x");
    let handle = now(w.model.open(&root(), f, OpenFlags { read: true, ..OpenFlags::default() })).unwrap().id;
    w.model.hold(DoorId::default(), f, 1);
    w.unlink(&root(), "f").unwrap();
    let after = Model::from_state(w.model.snapshot());
    assert_eq!(kind(now(after.getattr(&root(), Target::inode(f)))), objstore_base::ErrorKind::Stale);
    assert!(now(w.model.read(&root(), Target::opened(f, handle), 0, 1)).is_ok());
}

/// Two ways to the same tree: other inode numbers, times and cookies, other cuts of the data.
#[test]
fn dumps_are_equal_where_users_see_no_difference() {
    let (a, b) = (World::new(), World::new());
    a.mkdir("d");
    a.file("d/f", b"hello world");
    a.link("d/f", "g").unwrap();
    a.make(&root(), "l", NewNode::Symlink(b"d/f".to_vec()), 0).unwrap();

    b.make(&root(), "l", NewNode::Symlink(b"d/f".to_vec()), 0).unwrap();
    let g = b.file("g", b"hello");
    now(b.model.write(&root(), Target::inode(g), 5, b" world")).unwrap();
    b.mkdir("d");
    b.link("g", "d/f").unwrap();
    assert_eq!(difference(&a.dump(), &b.dump()), "");
}

#[test]
fn dumps_show_every_difference_a_user_can_see() {
    let build = || {
        let w = World::new();
        w.mkdir("d");
        w.file("d/f", b"hello");
        w
    };
    let set = |w: &World, set| {
        now(w.model.setattr(&root(), Target::inode(w.ino("d/f")), set)).unwrap();
    };
    let changes: [&dyn Fn(&World); 10] = [
        &|w| {
            w.file("x", b"");
        },
        &|w| w.unlink(&root(), "d/f").unwrap(),
        &|w| {
            w.link("d/f", "x").unwrap();
        },
        &|w| w.rename(&root(), "d/f", "d/g", RenameMode::Replace).unwrap(),
        &|w| set(w, SetAttr { mode: Some(0o600), ..SetAttr::default() }),
        &|w| set(w, SetAttr { uid: Some(5), ..SetAttr::default() }),
        &|w| set(w, SetAttr { gid: Some(5), ..SetAttr::default() }),
        &|w| set(w, SetAttr { size: Some(6), ..SetAttr::default() }),
        &|w| {
            now(w.model.write(&root(), Target::inode(w.ino("d/f")), 4, b"0")).unwrap();
        },
        &|w| now(w.model.setxattr(&root(), w.ino("d/f"), b"user.a", b"", XattrMode::Set)).unwrap(),
    ];
    let before = build().dump();
    for (number, change) in changes.into_iter().enumerate() {
        let w = build();
        change(&w);
        assert_ne!(difference(&before, &w.dump()), "", "change {number}");
    }
}

#[test]
fn acls_are_kept_shown_and_inherited() {
    let w = World::new();
    let d = w.mkdir("d");
    let entry = |tag: u8, perm: u8, id: u32| [&[tag, 0, perm, 0], &id.to_le_bytes()[..]].concat();
    let acl = [
        vec![2, 0, 0, 0],
        entry(1, 7, u32::MAX),
        entry(2, 6, 1000),
        entry(4, 0, u32::MAX),
        entry(16, 7, u32::MAX),
        entry(32, 0, u32::MAX),
    ]
    .concat();
    let set = |name: &[u8]| now(w.model.setxattr(&root(), d, name, &acl, XattrMode::Set)).unwrap();
    set(b"system.posix_acl_default");
    assert_eq!(w.attr("d").mode, 0o755, "a default ACL says nothing of the directory itself");
    set(b"system.posix_acl_access");
    assert_eq!(w.attr("d").mode, 0o770);
    let f = w.make(&root(), "d/f", NewNode::Regular, 0o664).unwrap();
    assert_eq!(f.mode, 0o660);
    assert_eq!(now(w.model.listxattr(&root(), f.ino)).unwrap(), [b"system.posix_acl_access".to_vec()]);
    let may = |cx: &Context, mask| now(w.model.access(cx, f.ino, mask)).is_ok();
    let (read, execute) =
        (AccessMask { read: true, ..AccessMask::default() }, AccessMask { execute: true, ..AccessMask::default() });
    assert!(may(&user(1000, 1000), read) && !may(&user(1000, 1000), execute) && !may(&user(1001, 1001), read));
    // The group bits are the mask: taking them away takes the named user's permission.
    now(w.model.setattr(&root(), Target::inode(f.ino), SetAttr { mode: Some(0o620), ..SetAttr::default() })).unwrap();
    assert!(!may(&user(1000, 1000), read));
}
