//! Attributes: who may change them, and what else changes with them.

mod support;

use std::time::Duration;

use fs_api::{AccessMask, Credentials, OpenFlags, SetAttr, SetTime, Target, Time};
use objstore_base::ErrorKind::{
    AccessDenied, BadHandle, FileTooLarge, InvalidArgument, IsDirectory, NotPermitted, NotSupported, Stale,
};
use support::{READ, READ_WRITE, ROOT, User, World};

fn file(user: &User<'_>, name: &str, mode: u32) -> fs_api::Ino {
    let ino = user.file(ROOT, name).expect("made");
    user.chmod(ino, mode).expect("changed");
    ino
}

fn open_root(w: &World) {
    w.as_root().chmod(ROOT, 0o777).expect("changed");
}

#[test]
fn only_the_owner_and_root_change_the_mode() {
    let w = World::new();
    open_root(&w);
    let (one, two) = (w.as_user(1), w.as_user(2));
    let f = file(&one, "f", 0o600);
    assert_eq!(two.chmod(f, 0o777).err(), Some(NotPermitted));
    let before = one.attr(f).expect("there");
    let after = one.chmod(f, 0o640).expect("the owner may");
    assert_eq!((after.mode, after.mtime), (0o640, before.mtime));
    assert!(after.ctime > before.ctime && after.change > before.change);
    assert_eq!(w.as_root().chmod(f, 0o4755).map(|a| a.mode), Ok(0o4755));
    let l = one.symlink(ROOT, "l", "f").expect("made");
    assert_eq!(one.chmod(l, 0o600).err(), Some(NotSupported));
}

#[test]
fn setgid_needs_membership_in_the_group() {
    let w = World::new();
    open_root(&w);
    let one = w.as_user(1);
    let f = file(&one, "f", 0o755);
    w.as_root().chown(f, None, Some(9)).expect("changed");
    assert_eq!(one.chmod(f, 0o2755).map(|a| a.mode), Ok(0o755));
    let member = w.user(Credentials::user(1, 1, &[9]));
    assert_eq!(member.chmod(f, 0o2755).map(|a| a.mode), Ok(0o2755));
}

#[test]
fn a_change_of_owner_is_roots_and_drops_setuid() {
    let w = World::new();
    open_root(&w);
    let one = w.user(Credentials::user(1, 1, &[5]));
    let f = file(&one, "f", 0o6755);
    assert_eq!(one.chown(f, Some(2), None).err(), Some(NotPermitted));
    assert_eq!(one.chown(f, None, Some(6)).err(), Some(NotPermitted));
    let given = one.chown(f, None, Some(5)).expect("to a group of the owner");
    assert_eq!((given.gid, given.mode), (5, 0o755));
    w.as_root().chmod(f, 0o6755).expect("changed");
    let taken = w.as_root().chown(f, Some(3), Some(3)).expect("root may");
    assert_eq!((taken.uid, taken.gid, taken.mode), (3, 3, 0o755));
    let d = w.as_root().mkdir(ROOT, "d").expect("made");
    w.as_root().chmod(d, 0o6755).expect("changed");
    assert_eq!(w.as_root().chown(d, Some(3), None).map(|a| a.mode), Ok(0o6755), "a directory keeps its bits");
}

#[test]
fn times_are_kept_to_the_nanosecond_and_before_the_epoch() {
    let w = World::new();
    open_root(&w);
    let one = w.as_user(1);
    let f = file(&one, "f", 0o644);
    let (atime, mtime) = (Time { secs: -5, nanos: 999_999_999 }, Time { secs: 1 << 33, nanos: 1 });
    let before = one.attr(f).expect("there");
    let after = one.utimes(f, atime, mtime).expect("the owner may");
    assert_eq!((after.atime, after.mtime, after.btime), (atime, mtime, before.btime));
    assert!(after.ctime > before.ctime);
    let w = w.reopened();
    assert_eq!(w.as_user(1).attr(f).map(|a| (a.atime, a.mtime)), Ok((atime, mtime)));
}

#[test]
fn the_clocks_time_needs_less_than_an_explicit_one() {
    let w = World::new();
    open_root(&w);
    let f = file(&w.as_user(1), "f", 0o666);
    let two = w.as_user(2);
    let now = SetAttr { atime: Some(SetTime::Now), mtime: Some(SetTime::Now), ..SetAttr::default() };
    two.set(f, now).expect("whoever may write may touch");
    assert_eq!(two.utimes(f, Time::default(), Time::default()).err(), Some(NotPermitted));
    w.as_user(1).chmod(f, 0o644).expect("changed");
    assert_eq!(two.set(f, now).err(), Some(AccessDenied));
}

#[test]
fn ctime_never_goes_back_with_the_clock() {
    let w = World::new();
    let root = w.as_root();
    let f = file(&root, "f", 0o644);
    let before = root.attr(f).expect("there");
    w.clock.set_back(Duration::from_secs(7200));
    let after = root.chmod(f, 0o600).expect("changed");
    assert!(after.ctime >= before.ctime);
    let after = root.truncate(f, 5).expect("changed");
    assert!(after.mtime >= before.mtime && after.change > before.change);
}

#[test]
fn the_length_is_that_of_regular_files_only() {
    let w = World::new();
    open_root(&w);
    let one = w.as_user(1);
    let f = file(&one, "f", 0o4755);
    let before = one.attr(f).expect("there");
    let after = one.truncate(f, 10_000).expect("changed");
    assert_eq!((after.size, after.blocks, after.mode), (10_000, 0, 0o755));
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    assert_eq!(one.truncate(f, 1 << 63).err(), Some(FileTooLarge));
    assert_eq!(w.as_user(2).truncate(f, 0).err(), Some(AccessDenied));
    let d = one.mkdir(ROOT, "d").expect("made");
    assert_eq!(one.truncate(d, 0).err(), Some(IsDirectory));
    let p = one.make(ROOT, "p", fs_api::NewNode::Fifo, 0o644).expect("made").ino;
    assert_eq!(one.truncate(p, 0).err(), Some(InvalidArgument));
}

#[test]
fn a_handle_carries_the_permission_it_was_opened_with() {
    let w = World::new();
    open_root(&w);
    let one = w.as_user(1);
    let f = file(&one, "f", 0o600);
    let handle = one.open(f, READ_WRITE).expect("opened");
    one.chmod(f, 0).expect("changed");
    let by_handle = Target::opened(f, handle.id);
    let size = SetAttr { size: Some(3), ..SetAttr::default() };
    support::now(fs_api::Vfs::setattr(&*w.engine, &one.cx, by_handle, size)).expect("the handle may write");
    assert_eq!(one.write(by_handle, 0, b"abc"), Ok(3));
    assert_eq!(one.read(by_handle, 0, 10).as_deref(), Ok(&b"abc"[..]));
    assert_eq!(one.write(Target::inode(f), 0, b"abc"), Err(AccessDenied));
    let reader = w.as_root().open(f, READ).expect("root may");
    assert_eq!(one.write(Target::opened(f, reader.id), 0, b"x"), Err(BadHandle));
    one.release(f, handle).expect("open");
    assert_eq!(one.release(f, handle), Err(BadHandle));
    assert_eq!(one.read(by_handle, 0, 1), Err(BadHandle));
}

#[test]
fn opening_with_truncation_empties_the_file() {
    let w = World::new();
    let root = w.as_root();
    let f = file(&root, "f", 0o644);
    root.write(Target::inode(f), 0, &[7; 5000]).expect("written");
    assert_eq!(root.attr(f).map(|a| a.size), Ok(5000));
    let flags = OpenFlags { truncate: true, ..READ_WRITE };
    root.open(f, flags).expect("opened");
    assert_eq!(root.attr(f).map(|a| (a.size, a.blocks)), Ok((0, 0)));
}

#[test]
fn a_write_by_another_drops_setuid() {
    let w = World::new();
    open_root(&w);
    let f = file(&w.as_root(), "f", 0o6777);
    w.as_root().write(Target::inode(f), 0, b"x").expect("written");
    assert_eq!(w.as_root().attr(f).map(|a| a.mode), Ok(0o6777));
    w.as_user(1).write(Target::inode(f), 0, b"x").expect("written");
    assert_eq!(w.as_root().attr(f).map(|a| a.mode), Ok(0o777));
}

#[test]
fn root_executes_only_what_someone_may() {
    let w = World::new();
    let root = w.as_root();
    let f = file(&root, "f", 0o600);
    let execute = AccessMask { execute: true, ..AccessMask::default() };
    assert_eq!(root.access(f, execute), Err(AccessDenied));
    root.chmod(f, 0o601).expect("changed");
    assert_eq!(root.access(f, execute), Ok(()));
    assert_eq!(root.access(fs_api::Ino(999_999), execute), Err(Stale));
}

#[test]
fn reading_renews_the_access_time_once() {
    let w = World::new();
    let root = w.as_root();
    let f = file(&root, "f", 0o644);
    root.write(Target::inode(f), 0, b"abc").expect("written");
    let written = root.attr(f).expect("there");
    root.read(Target::inode(f), 0, 3).expect("read");
    let first = root.attr(f).expect("there");
    assert!(first.atime > written.mtime);
    root.read(Target::inode(f), 0, 3).expect("read");
    assert_eq!(root.attr(f), Ok(first), "it is after the last change already");
    w.clock.advance(Duration::from_secs(25 * 3600));
    root.read(Target::inode(f), 0, 3).expect("read");
    assert!(root.attr(f).expect("there").atime.secs >= first.atime.secs + 25 * 3600);
}
