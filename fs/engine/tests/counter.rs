//! The change counter of an inode goes up by exactly one with every change of it, and with nothing else.
//!
//! NFS tells clients attributes from before a change only where that proves that nothing came between.

#![allow(clippy::disallowed_methods)]

mod support;

use fs_api::{FallocateMode, Ino, LockOwner, NewNode, OpenFlags, RenameMode, SetAttr, Target, Time, Vfs, XattrMode};
use support::{READ_WRITE, ROOT, User, World, now};

/// What is watched, with the counter that each had last.
struct Counters<'a> {
    root: &'a User<'a>,
    known: Vec<(Ino, u64)>,
}

impl Counters<'_> {
    fn watch(&mut self, ino: Ino) -> Ino {
        self.known.push((ino, self.root.attr(ino).expect("it is there").change));
        ino
    }

    /// All of `changed` went up by one since the last look, and nothing else moved.
    fn expect(&mut self, what: &str, changed: &[Ino]) {
        for (ino, before) in &mut self.known {
            let Ok(attr) = self.root.attr(*ino) else {
                assert!(!changed.contains(ino), "{what}: inode {} is gone", ino.0);
                continue;
            };
            let steps = attr.change.wrapping_sub(*before);
            assert_eq!(steps, u64::from(changed.contains(ino)), "{what}: inode {}", ino.0);
            *before = attr.change;
        }
    }
}

#[test]
fn every_change_of_names_is_one_step_of_each_inode_in_it() {
    let w = World::new();
    let root = w.as_root();
    let mut seen = Counters { root: &root, known: Vec::new() };
    let (a, b) = (root.mkdir(ROOT, "a").unwrap(), root.mkdir(ROOT, "b").unwrap());
    for ino in [ROOT, a, b] {
        seen.watch(ino);
    }
    let f = root.file(a, "f").unwrap();
    seen.expect("make", &[a]);
    seen.watch(f);
    let opened = root.create(a, "g", READ_WRITE, true).unwrap();
    seen.expect("create", &[a]);
    let g = seen.watch(opened.attr.ino);
    root.create(a, "g", READ_WRITE, false).unwrap();
    seen.expect("create of what is there", &[]);
    let d = root.mkdir(a, "d").unwrap();
    seen.expect("mkdir", &[a]);
    seen.watch(d);
    root.symlink(a, "s", "f").unwrap();
    seen.expect("symlink", &[a]);
    root.make(a, "p", NewNode::Fifo, 0o600).unwrap();
    seen.expect("mknod", &[a]);
    root.link(f, b, "h").unwrap();
    seen.expect("link", &[b, f]);
    root.rename(a, "f", a, "e").unwrap();
    seen.expect("rename within a directory", &[a, f]);
    root.rename(a, "e", b, "e").unwrap();
    seen.expect("rename between directories", &[a, b, f]);
    root.rename(b, "e", b, "h").unwrap();
    seen.expect("rename onto another name of the same file", &[]);
    root.rename(a, "d", b, "d").unwrap();
    seen.expect("rename of a directory", &[a, b, d]);
    root.rename_as(a, "g", a, "s", RenameMode::Exchange).unwrap();
    seen.expect("exchange within a directory", &[a, g]);
    root.rename_as(a, "s", b, "d", RenameMode::Exchange).unwrap();
    seen.expect("exchange between directories", &[a, b, d, g]);
    root.link(g, a, "g2").unwrap();
    seen.expect("link", &[a, g]);
    root.rename(b, "h", b, "d").unwrap();
    seen.expect("rename over a file that has another name", &[b, f, g]);
    root.unlink(a, "g2").unwrap();
    seen.expect("unlink of the last name of an open file", &[a, g]);
    root.rmdir(a, "s").unwrap();
    seen.expect("rmdir", &[a]);
    assert!(root.unlink(a, "s").is_err() && root.rmdir(ROOT, "b").is_err());
    seen.expect("refusals", &[]);
}

#[test]
fn every_change_of_content_and_attributes_is_one_step() {
    let w = World::new();
    let root = w.as_root();
    let mut seen = Counters { root: &root, known: Vec::new() };
    let made = root.create(ROOT, "f", READ_WRITE, true).unwrap();
    let (f, opened) = (made.attr.ino, Target::opened(made.attr.ino, made.handle.id));
    let other = root.file(ROOT, "other").unwrap();
    for ino in [ROOT, f, other] {
        seen.watch(ino);
    }
    root.write(opened, 0, b"small").unwrap();
    seen.expect("a small write", &[f]);
    root.write(opened, 3, b"second").unwrap();
    seen.expect("a small write beside it", &[f]);
    now(Vfs::flush(&*w.engine, &root.cx, opened, LockOwner { door: 1, owner: 1 })).unwrap();
    w.runtime.block_on(w.engine.fsync(&root.cx, opened, false)).unwrap();
    seen.expect("their way into the log", &[]);
    root.write(opened, 100, b"gathered").unwrap();
    seen.expect("a small write", &[f]);
    root.write(opened, 0, &[7; 200_000]).unwrap();
    seen.expect("a large write over a small one", &[f]);
    root.write(opened, 10, b"gathered").unwrap();
    seen.expect("a small write", &[f]);
    root.truncate(f, 5000).unwrap();
    seen.expect("truncate over a small write", &[f]);
    root.truncate(f, 5000).unwrap();
    seen.expect("truncate to the same size", &[f]);
    for mode in [
        FallocateMode::PunchHole,
        FallocateMode::ZeroRange { keep_size: false },
        FallocateMode::Allocate { keep_size: false },
    ] {
        now(w.engine.fallocate(&root.cx, opened, 100, 50, mode)).unwrap();
        seen.expect("fallocate", &[f]);
    }
    now(w.engine.copy_range(&root.cx, opened, 0, Target::inode(other), 20, 3000)).unwrap();
    seen.expect("copy", &[other]);
    let (atime, mtime) = (Time { secs: 1, nanos: 2 }, Time { secs: 3, nanos: 4 });
    root.utimes(f, atime, mtime).unwrap();
    seen.expect("times", &[f]);
    root.set(f, SetAttr { mode: Some(0o6777), uid: Some(7), gid: Some(8), size: Some(9), ..SetAttr::default() })
        .unwrap();
    seen.expect("all at once", &[f]);
    root.chmod(f, 0o6777).unwrap();
    seen.expect("chmod", &[f]);
    w.as_user(9).write(Target::inode(f), 0, b"takes setuid away").unwrap();
    seen.expect("a write that changes the mode", &[f]);
    assert_eq!(root.attr(f).unwrap().mode, 0o777);
    root.setxattr(f, "user.a", b"1", XattrMode::Set).unwrap();
    seen.expect("setxattr", &[f]);
    root.removexattr(f, "user.a").unwrap();
    seen.expect("removexattr", &[f]);
    root.open(f, OpenFlags { truncate: true, ..READ_WRITE }).unwrap();
    seen.expect("open with truncation", &[f]);
    root.read(Target::inode(other), 0, 100).unwrap();
    root.release(f, made.handle).unwrap();
    seen.expect("a look and a close", &[]);
    assert!(w.as_user(9).chmod(f, 0).is_err());
    seen.expect("refusals", &[]);
}
