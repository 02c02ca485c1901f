//! Names: making, finding, linking and removing them.

mod support;

use fs_api::{FileKind, LINKS_MAX, NewNode, SetAttr, SetTime, Target, Time};
use objstore_base::ErrorKind::{
    AccessDenied, Exists, FileTooLarge, InvalidArgument, IsDirectory, Loop, NameTooLong, NotDirectory, NotEmpty,
    NotFound, NotPermitted, Stale, TooManyLinks,
};
use support::{READ, READ_WRITE, ROOT, World};

#[test]
fn a_made_name_is_found_with_its_attributes() {
    let w = World::new();
    let root = w.as_root();
    let made = root.make(ROOT, "f", NewNode::Regular, 0o640).expect("made");
    assert_eq!(root.lookup(ROOT, "f"), Ok(made));
    assert_eq!((made.kind, made.mode, made.nlink, made.size), (FileKind::Regular, 0o640, 1, 0));
    assert_eq!(root.lookup(ROOT, "g"), Err(NotFound));
    assert_eq!(root.make(ROOT, "f", NewNode::Regular, 0o640).err(), Some(Exists));
    assert_eq!(root.lookup(ROOT, ".").map(|a| a.ino), Ok(ROOT));
    assert_eq!(root.lookup(ROOT, "..").map(|a| a.ino), Ok(ROOT));
    assert_eq!(root.lookup(made.ino, "x").err(), Some(NotDirectory));
}

#[test]
fn a_node_is_made_with_its_attributes_in_one_change_or_not_at_all() {
    let w = World::new();
    let (atime, mtime) = (Time { secs: 0xffff_fffe, nanos: 0 }, Time { secs: 7, nanos: 9 });
    let times = SetAttr { atime: Some(SetTime::To(atime)), mtime: Some(SetTime::To(mtime)), ..SetAttr::default() };
    let owned = SetAttr { uid: Some(7), gid: Some(8), size: Some(5000), ..times };
    let root = w.as_root();
    let before = root.attr(ROOT).expect("it is there").change;
    let made = root.make_with(ROOT, "f", NewNode::Regular, 0o400, owned).expect("made");
    assert_eq!((made.uid, made.gid, made.mode, made.size, made.blocks), (7, 8, 0o400, 5000, 0));
    assert_eq!((made.atime, made.mtime), (atime, mtime));
    assert_eq!(root.attr(ROOT).map(|attr| attr.change), Ok(before + 1));
    assert_eq!(root.read(Target::inode(made.ino), 0, 9000), Ok(vec![0; 5000].into()));
    assert_eq!(root.make_with(ROOT, "f", NewNode::Regular, 0o400, owned).err(), Some(Exists));
    root.chmod(ROOT, 0o777).expect("changed");

    let user = w.as_user(9);
    let unwritable = user.make_with(ROOT, "r", NewNode::Regular, 0o444, SetAttr { size: Some(1), ..times });
    assert_eq!(unwritable.map(|attr| attr.size), Ok(1));
    for (set, why) in [
        (SetAttr { uid: Some(7), ..times }, NotPermitted),
        (SetAttr { gid: Some(7), ..times }, NotPermitted),
        (SetAttr { mode: Some(0o600), ..times }, InvalidArgument),
        (SetAttr { size: Some(u64::MAX), ..times }, FileTooLarge),
    ] {
        assert_eq!(user.make_with(ROOT, "n", NewNode::Regular, 0o600, set).err(), Some(why), "{set:?}");
    }
    let sized = SetAttr { size: Some(1), ..SetAttr::default() };
    assert_eq!(user.make_with(ROOT, "n", NewNode::Directory, 0o700, sized).err(), Some(IsDirectory));
    assert_eq!(user.make_with(ROOT, "n", NewNode::Fifo, 0o700, sized).err(), Some(InvalidArgument));
    assert_eq!(user.lookup(ROOT, "n"), Err(NotFound));

    w.sync();
    let w = w.crashed();
    assert_eq!(w.as_root().lookup(ROOT, "f"), Ok(made));
}

#[test]
fn names_have_limits() {
    let w = World::new();
    let root = w.as_root();
    let longest = "x".repeat(255);
    root.file(ROOT, &longest).expect("255 bytes are allowed");
    let too_long = "x".repeat(256);
    assert_eq!(root.file(ROOT, &too_long), Err(NameTooLong));
    assert_eq!(root.lookup(ROOT, &too_long).err(), Some(NameTooLong));
    assert_eq!(root.unlink(ROOT, &too_long), Err(NameTooLong));
    assert_eq!(root.rename(ROOT, &longest, ROOT, &too_long), Err(NameTooLong));
    for bad in ["", "a/b", "a\0b"] {
        assert_eq!(root.file(ROOT, bad), Err(InvalidArgument), "{bad:?}");
    }
    assert_eq!(root.mkdir(ROOT, "."), Err(Exists));
    assert_eq!(root.mkdir(ROOT, ".."), Err(Exists));
    assert_eq!(root.rmdir(ROOT, "."), Err(InvalidArgument));
    assert_eq!(root.rmdir(ROOT, ".."), Err(NotEmpty));
    assert_eq!(root.symlink(ROOT, "l", &"t".repeat(4095)).map(drop), Ok(()));
    assert_eq!(root.symlink(ROOT, "m", &"t".repeat(4096)), Err(NameTooLong));
}

#[test]
fn a_directory_counts_its_subdirectories() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    assert_eq!(root.attr(d).map(|a| a.nlink), Ok(2));
    let a = root.mkdir(d, "a").expect("made");
    root.mkdir(d, "b").expect("made");
    root.file(d, "f").expect("made");
    assert_eq!(root.attr(d).map(|a| a.nlink), Ok(4));
    assert_eq!(root.lookup(a, "..").map(|a| a.ino), Ok(d));
    assert_eq!(root.rmdir(ROOT, "d"), Err(NotEmpty));
    assert_eq!(root.unlink(d, "a"), Err(IsDirectory));
    assert_eq!(root.rmdir(d, "f"), Err(NotDirectory));
    root.rmdir(d, "a").expect("empty");
    assert_eq!(root.attr(d).map(|a| a.nlink), Ok(3));
    assert_eq!(root.attr(a), Err(Stale));
}

#[test]
fn links_share_one_inode_and_the_last_one_takes_it_along() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    let f = root.file(ROOT, "f").expect("made");
    assert_eq!(root.link(f, d, "g").map(|a| a.nlink), Ok(2));
    assert_eq!(root.link(f, d, "g").err(), Some(Exists));
    assert_eq!(root.link(d, ROOT, "e").err(), Some(NotPermitted));
    root.unlink(ROOT, "f").expect("removed");
    assert_eq!(root.lookup(d, "g").map(|a| (a.ino, a.nlink)), Ok((f, 1)));
    root.unlink(d, "g").expect("removed");
    assert_eq!(root.attr(f), Err(Stale));
    assert_eq!(root.unlink(d, "g"), Err(NotFound));
}

#[test]
fn links_of_one_inode_are_limited() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    for n in 1..LINKS_MAX {
        root.link(f, ROOT, &format!("l{n}")).expect("below the limit");
    }
    assert_eq!(root.link(f, ROOT, "one-more").err(), Some(TooManyLinks));
    assert_eq!(root.attr(f).map(|a| a.nlink), Ok(LINKS_MAX));
}

#[test]
fn an_open_file_without_names_cannot_get_one_again() {
    let w = World::new();
    let root = w.as_root();
    let made = root.create(ROOT, "f", READ_WRITE, true).expect("created");
    root.unlink(ROOT, "f").expect("removed");
    assert_eq!(root.attr(made.attr.ino).map(|a| a.nlink), Ok(0));
    assert_eq!(root.link(made.attr.ino, ROOT, "f").err(), Some(NotFound));
}

#[test]
fn nothing_can_be_made_in_a_removed_directory() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    let handle = root.open(d, READ).expect("opened");
    root.rmdir(ROOT, "d").expect("empty");
    assert_eq!(root.attr(d).map(|a| a.nlink), Ok(0));
    assert_eq!(root.file(d, "f"), Err(NotFound));
    assert_eq!(root.create(d, "f", READ_WRITE, false).err(), Some(NotFound));
    root.release(d, handle).expect("released");
}

#[test]
fn create_opens_what_is_there_unless_it_must_be_new() {
    let w = World::new();
    let root = w.as_root();
    let first = root.create(ROOT, "f", READ_WRITE, false).expect("created");
    assert!(first.created);
    let again = root.create(ROOT, "f", READ_WRITE, false).expect("opened");
    assert!(!again.created);
    assert_eq!(again.attr.ino, first.attr.ino);
    assert_ne!(again.handle.id, first.handle.id);
    assert_eq!(root.create(ROOT, "f", READ_WRITE, true).err(), Some(Exists));
    root.mkdir(ROOT, "d").expect("made");
    assert_eq!(root.create(ROOT, "d", READ_WRITE, false).err(), Some(IsDirectory));
    root.symlink(ROOT, "l", "f").expect("made");
    assert_eq!(root.create(ROOT, "l", READ_WRITE, false).err(), Some(Loop));
}

#[test]
fn a_creator_may_write_a_file_that_it_makes_read_only() {
    let w = World::new();
    w.as_root().chmod(ROOT, 0o777).expect("changed");
    let user = w.as_user(7);
    let made = support::now(fs_api::Vfs::create(&*w.engine, &user.cx, ROOT, b"f", 0o400, 0, READ_WRITE, true));
    let made = made.expect("created although its mode forbids to write it");
    assert_eq!(made.attr.mode, 0o400);
    assert_eq!(user.open(made.attr.ino, READ_WRITE), Err(AccessDenied));
}

#[test]
fn only_root_makes_devices() {
    let w = World::new();
    w.as_root().chmod(ROOT, 0o777).expect("changed");
    let made = w.as_root().make(ROOT, "null", NewNode::CharDevice(0x0103), 0o666).expect("made");
    assert_eq!((made.kind, made.rdev), (FileKind::CharDevice, 0x0103));
    let user = w.as_user(7);
    assert_eq!(user.make(ROOT, "b", NewNode::BlockDevice(1), 0o666).err(), Some(NotPermitted));
    assert_eq!(user.make(ROOT, "p", NewNode::Fifo, 0o600).map(|a| (a.kind, a.uid)), Ok((FileKind::Fifo, 7)));
    assert_eq!(user.make(ROOT, "s", NewNode::Socket, 0o600).map(|a| a.kind), Ok(FileKind::Socket));
}

#[test]
fn changing_names_needs_write_and_search_permission() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir_mode(ROOT, "d", 0o755).expect("made");
    let f = root.file(d, "f").expect("made");
    let user = w.as_user(7);
    assert_eq!(user.file(d, "g"), Err(AccessDenied));
    assert_eq!(user.file(d, "f"), Err(Exists), "that the name is taken is told first");
    assert_eq!(user.unlink(d, "f"), Err(AccessDenied));
    assert_eq!(user.rename(d, "f", d, "g"), Err(AccessDenied));
    root.chmod(d, 0o766).expect("changed");
    assert_eq!(user.lookup(d, "f").err(), Some(AccessDenied));
    assert_eq!(user.unlink(d, "missing"), Err(AccessDenied));
    root.chmod(d, 0o777).expect("changed");
    assert_eq!(user.lookup(d, "f").map(|a| a.ino), Ok(f));
    user.unlink(d, "f").expect("removed by one who may write the directory");
}

#[test]
fn a_sticky_directory_keeps_what_others_own() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir_mode(ROOT, "tmp", 0o1777).expect("made");
    let (one, two) = (w.as_user(1), w.as_user(2));
    one.file(d, "f").expect("made");
    assert_eq!(two.unlink(d, "f"), Err(NotPermitted));
    assert_eq!(two.rename(d, "f", d, "g"), Err(NotPermitted));
    two.file(d, "mine").expect("made");
    assert_eq!(two.rename(d, "mine", d, "f"), Err(NotPermitted));
    one.rename(d, "f", d, "g").expect("the owner may");
    root.set(d, SetAttr { uid: Some(2), ..SetAttr::default() }).expect("changed");
    two.unlink(d, "g").expect("the owner of the directory may");
}

#[test]
fn a_setgid_directory_hands_down_its_group() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir_mode(ROOT, "d", 0o777).expect("made");
    root.chown(d, None, Some(50)).expect("changed");
    root.chmod(d, 0o2777).expect("changed");
    let user = w.as_user(7);
    let f = user.make(d, "f", NewNode::Regular, 0o2755).expect("made");
    assert_eq!((f.uid, f.gid, f.mode), (7, 50, 0o755), "setgid goes: the user is not in the group");
    let sub = user.make(d, "s", NewNode::Directory, 0o755).expect("made");
    assert_eq!((sub.gid, sub.mode), (50, 0o2755));
}

#[test]
fn names_survive_a_restart_and_a_crash() {
    let w = World::new();
    let (d, f) = {
        let root = w.as_root();
        let d = root.mkdir(ROOT, "d").expect("made");
        root.symlink(d, "l", "../t").expect("made");
        (d, root.file(d, "f").expect("made"))
    };
    let w = w.reopened();
    assert_eq!(w.as_root().lookup(d, "f").map(|a| a.ino), Ok(f));
    let new = w.as_root().file(d, "after").expect("made");
    assert!(new > f, "numbers are not used twice");
    w.sync();
    let w = w.crashed();
    let root = w.as_root();
    assert_eq!(root.names(d), ["l", "f", "after"]);
    assert_eq!(root.attr(ROOT).map(|a| a.nlink), Ok(3));
    let link = root.lookup(d, "l").expect("found");
    assert_eq!(support::now(fs_api::Vfs::readlink(&*w.engine, &root.cx, link.ino)), Ok("../t".into()));
}
