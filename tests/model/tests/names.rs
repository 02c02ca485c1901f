//! Directories, links and renames as POSIX has them.

mod common;

use common::*;
use fs_api::*;
use objstore_base::ErrorKind;

#[test]
fn making_a_name_twice_fails_and_bad_names_are_refused() {
    let w = World::new();
    w.mkdir("d");
    assert_eq!(kind(w.make(&root(), "d", NewNode::Regular, 0o644)), ErrorKind::Exists);
    assert_eq!(kind(w.make(&root(), "d/.", NewNode::Regular, 0o644)), ErrorKind::Exists);
    assert_eq!(kind(w.make(&root(), &"x".repeat(256), NewNode::Regular, 0o644)), ErrorKind::NameTooLong);
    assert_eq!(kind(w.make(&root(), "a\0b", NewNode::Regular, 0o644)), ErrorKind::InvalidArgument);
    assert_eq!(kind(w.make(&user(1, 1), "c", NewNode::CharDevice(5), 0o644)), ErrorKind::NotPermitted);
    assert_eq!(kind(w.make(&user(1, 1), "d/c", NewNode::Regular, 0o644)), ErrorKind::AccessDenied);
    let file = w.file("f", b"");
    assert_eq!(kind(now(w.model.lookup(&root(), file, b"x"))), ErrorKind::NotDirectory);
    assert_eq!(kind(now(w.model.lookup(&root(), Ino(999), b"x"))), ErrorKind::Stale);
}

#[test]
fn link_counts_follow_names() {
    let w = World::new();
    w.mkdir("d");
    w.mkdir("d/e");
    assert_eq!((w.attr("").nlink, w.attr("d").nlink, w.attr("d/e").nlink), (3, 3, 2));
    w.file("f", b"1");
    assert_eq!(w.link("f", "d/g").unwrap().nlink, 2);
    assert_eq!(kind(w.link("d", "x")), ErrorKind::NotPermitted);
    w.unlink(&root(), "f").unwrap();
    assert_eq!(w.attr("d/g").nlink, 1);
    assert_eq!(&w.read("d/g")[..], b"1");
    w.rename(&root(), "d/e", "e", RenameMode::Replace).unwrap();
    assert_eq!((w.attr("").nlink, w.attr("d").nlink), (4, 2));
}

#[test]
fn removal_asks_for_the_right_kind_and_for_emptiness() {
    let w = World::new();
    w.mkdir("d");
    w.file("d/f", b"");
    assert_eq!(kind(w.unlink(&root(), "d")), ErrorKind::IsDirectory);
    assert_eq!(kind(w.rmdir(&root(), "d/f")), ErrorKind::NotDirectory);
    assert_eq!(kind(w.rmdir(&root(), "d")), ErrorKind::NotEmpty);
    assert_eq!(kind(w.rmdir(&root(), "d/.")), ErrorKind::InvalidArgument);
    assert_eq!(kind(w.rmdir(&root(), "d/..")), ErrorKind::NotEmpty);
    assert_eq!(kind(w.unlink(&root(), "nothing")), ErrorKind::NotFound);
    w.unlink(&root(), "d/f").unwrap();
    w.rmdir(&root(), "d").unwrap();
    assert!(!w.has("d"));
}

#[test]
fn rename_replaces_what_it_may_and_nothing_else() {
    let w = World::new();
    for dir in ["a", "a/b", "empty", "full"] {
        w.mkdir(dir);
    }
    w.file("full/f", b"");
    w.file("f", b"f");
    w.file("g", b"g");
    let rename = |from, to| w.rename(&root(), from, to, RenameMode::Replace);
    assert_eq!(kind(rename("a", "a/b/c")), ErrorKind::InvalidArgument);
    assert_eq!(kind(rename("a/b", "a")), ErrorKind::NotEmpty);
    assert_eq!(kind(rename("a", "full")), ErrorKind::NotEmpty);
    assert_eq!(kind(rename("a", "f")), ErrorKind::NotDirectory);
    assert_eq!(kind(rename("f", "a")), ErrorKind::IsDirectory);
    assert_eq!(kind(rename("nothing", "x")), ErrorKind::NotFound);
    assert_eq!(kind(w.rename(&root(), "f", "g", RenameMode::NoReplace)), ErrorKind::Exists);
    assert_eq!(kind(w.rename(&root(), "f", "x", RenameMode::Exchange)), ErrorKind::NotFound);
    rename("f", "g").unwrap();
    assert!(!w.has("f"));
    assert_eq!(&w.read("g")[..], b"f");
    rename("a", "empty").unwrap();
    assert!(w.has("empty/b"));
    // Two names of one inode: nothing happens, and both stay.
    w.link("g", "h").unwrap();
    rename("g", "h").unwrap();
    assert!(w.has("g") && w.has("h"));
}

#[test]
fn exchange_swaps_whatever_the_kinds() {
    let w = World::new();
    w.mkdir("p");
    w.mkdir("p/d");
    w.file("p/d/inside", b"");
    w.file("f", b"f");
    w.rename(&root(), "p/d", "f", RenameMode::Exchange).unwrap();
    assert!(w.has("f/inside"));
    assert_eq!(&w.read("p/d")[..], b"f");
    assert_eq!((w.attr("p").nlink, w.attr("").nlink), (2, 4));
    assert_eq!(now(w.model.lookup(&root(), w.ino("f"), b"..")).unwrap().ino, ROOT_INO);
}

#[test]
fn cookies_stay_with_their_names() {
    let w = World::new();
    for name in ["a", "b", "c"] {
        w.file(name, b"");
    }
    let list = |cookie, limit| now(w.model.readdir(&root(), Target::inode(ROOT_INO), cookie, limit, true)).unwrap();
    let first = list(0, 3);
    let names: Vec<_> = first.entries.iter().map(|e| e.name.as_slice()).collect();
    assert_eq!(names, [b".".as_slice(), b"..", b"a"]);
    assert!(!first.end);
    w.unlink(&root(), "a").unwrap();
    w.file("a", b"");
    let rest = list(first.entries[2].cookie, 10);
    let names: Vec<_> = rest.entries.iter().map(|e| e.name.as_slice()).collect();
    assert_eq!(
        names,
        [b"b".as_slice(), b"c", b"a"],
        "a new name comes after all others, even where it was there before"
    );
    assert!(rest.end && rest.entries.iter().all(|e| e.attr.is_some()));
}

#[test]
fn a_sticky_directory_keeps_names_for_their_owners() {
    let w = World::new();
    now(w.model.setattr(&root(), Target::inode(ROOT_INO), SetAttr { mode: Some(0o1777), ..SetAttr::default() }))
        .unwrap();
    w.make(&user(1, 1), "mine", NewNode::Regular, 0o666).unwrap();
    assert_eq!(kind(w.unlink(&user(2, 2), "mine")), ErrorKind::NotPermitted);
    assert_eq!(kind(w.rename(&user(2, 2), "mine", "x", RenameMode::Replace)), ErrorKind::NotPermitted);
    w.unlink(&user(1, 1), "mine").unwrap();
}

#[test]
fn a_node_is_made_with_its_attributes_or_not_at_all() {
    let w = World::new();
    let time = SetTime::To(Time { secs: 1, nanos: 2 });
    let set = SetAttr { uid: Some(7), size: Some(9), mtime: Some(time), ..SetAttr::default() };
    let make = |cx: &Context, name: &'static [u8], set| {
        now(w.model.make_with(cx, ROOT_INO, name, NewNode::Regular, 0o400, 0, set))
    };
    let made = make(&root(), b"f", set).unwrap();
    assert_eq!((made.uid, made.gid, made.mode, made.size), (7, 0, 0o400, 9));
    assert_eq!(made.mtime, Time { secs: 1, nanos: 2 });
    assert_eq!(kind(make(&user(1, 1), b"g", set)), ErrorKind::NotPermitted);
    assert_eq!(
        kind(make(&user(1, 1), b"g", SetAttr { mode: Some(0), ..SetAttr::default() })),
        ErrorKind::InvalidArgument
    );
    assert_eq!(kind(now(w.model.lookup(&root(), ROOT_INO, b"g"))), ErrorKind::NotFound);
}
