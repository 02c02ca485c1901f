//! A door hears of every change that another door makes, and of none of its own.

#![allow(clippy::disallowed_methods)]

mod support;

use std::sync::Arc;

use fs_api::{
    Context, DoorId, FallocateMode, Ino, NewNode, Notice, RenameMode, SetAttr, Target, Vfs, Watcher, XattrMode,
};
use futures::FutureExt;
use objstore_base::BoxFuture;
use parking_lot::Mutex;
use support::{READ_WRITE, ROOT, User, World, now};

/// Remembers what it is told, as text.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Ear {
    fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.0.lock());
        heard.sort();
        heard.dedup();
        heard
    }
}

impl Watcher for Ear {
    fn notice(&self, notice: Notice<'_>) {
        let text = match notice {
            Notice::Attributes(ino) => format!("attributes {}", ino.0),
            Notice::Content { ino, range } if range.end == u64::MAX => {
                format!("content {} from {}", ino.0, range.start)
            }
            Notice::Content { ino, range } => format!("content {} {range:?}", ino.0),
            Notice::Name { parent, name } => format!("name {} {}", parent.0, String::from_utf8_lossy(name)),
        };
        self.0.lock().push(text);
    }

    fn behind(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

fn through(user: User<'_>, door: u32) -> User<'_> {
    let cx = Context { door: DoorId(door), ..user.cx.clone() };
    User { cx, ..user }
}

#[test]
fn every_change_is_told_to_the_other_door_and_not_to_its_own() {
    let w = World::new();
    let (own, other) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
    let _own = w.engine.watch(DoorId(1), Arc::clone(&own) as _);
    let registration = w.engine.watch(DoorId(2), Arc::clone(&other) as _);
    let root = through(w.as_root(), 1);
    let told = |what: &str, wanted: &[String]| {
        let heard = other.heard();
        assert_eq!(heard, wanted, "{what}");
        assert!(own.heard().is_empty(), "{what}: the door was told of its own change");
    };
    let attributes = |ino: Ino| format!("attributes {}", ino.0);

    let f = root.file(ROOT, "f").unwrap();
    told("make", &[attributes(ROOT), attributes(f), "name 1 f".into()]);
    let g = root.create(ROOT, "g", READ_WRITE, true).unwrap();
    told("create", &[attributes(ROOT), attributes(g.attr.ino), "name 1 g".into()]);
    let opened = Target::opened(g.attr.ino, g.handle.id);
    let g = g.attr.ino;
    root.write(opened, 10, b"small").unwrap();
    told("a small write, at once", &[format!("content {} 10..15", g.0)]);
    now(Vfs::flush(&*w.engine, &root.cx, opened, fs_api::LockOwner { door: 1, owner: 1 })).unwrap();
    told("its way into the log", &[]);
    root.write(opened, 0, &[7; 100_000]).unwrap();
    told("a large write", &[attributes(g), format!("content {} 0..100000", g.0)]);
    root.truncate(g, 5000).unwrap();
    told("truncate", &[attributes(g), format!("content {} from 5000", g.0)]);
    now(w.engine.fallocate(&root.cx, opened, 100, 50, FallocateMode::PunchHole)).unwrap();
    told("punch", &[attributes(g), format!("content {} 100..150", g.0)]);
    now(w.engine.copy_range(&root.cx, opened, 0, Target::inode(f), 20, 30)).unwrap();
    told("copy", &[attributes(f), format!("content {} 20..50", f.0)]);
    root.chmod(f, 0o600).unwrap();
    told("chmod", &[attributes(f)]);
    root.setxattr(f, "user.a", b"1", XattrMode::Set).unwrap();
    told("setxattr", &[attributes(f)]);
    root.removexattr(f, "user.a").unwrap();
    told("removexattr", &[attributes(f)]);
    root.link(f, ROOT, "h").unwrap();
    told("link", &[attributes(ROOT), attributes(f), "name 1 h".into()]);
    root.rename(ROOT, "h", ROOT, "i").unwrap();
    told("rename", &[attributes(ROOT), attributes(f), "name 1 h".into(), "name 1 i".into()]);
    root.rename_as(ROOT, "g", ROOT, "i", RenameMode::Exchange).unwrap();
    told("exchange", &[attributes(ROOT), attributes(f), attributes(g), "name 1 g".into(), "name 1 i".into()]);
    root.unlink(ROOT, "g").unwrap();
    told("unlink of one name of two", &[attributes(ROOT), attributes(f), "name 1 g".into()]);
    root.unlink(ROOT, "i").unwrap();
    told("unlink of an open file", &[attributes(ROOT), attributes(g), "name 1 i".into()]);
    let d = root.mkdir(ROOT, "d").unwrap();
    told("mkdir", &[attributes(ROOT), attributes(d), "name 1 d".into()]);
    root.rmdir(ROOT, "d").unwrap();
    told("rmdir", &[attributes(ROOT), "name 1 d".into()]);
    let again = root.open(f, fs_api::OpenFlags { truncate: true, ..READ_WRITE }).unwrap();
    told("open with truncation", &[attributes(f), format!("content {} from 0", f.0)]);
    root.release(f, again).unwrap();
    root.symlink(ROOT, "s", "f").unwrap();
    other.heard();

    // What the store does by itself changes nothing that can be seen.
    w.runtime.block_on(w.engine.sync(&root.cx)).unwrap();
    root.attr(f).unwrap();
    told("looking", &[]);
    drop(registration);
    root.set(f, SetAttr { mode: Some(0o640), ..SetAttr::default() }).unwrap();
    told("after its end", &[]);
}

#[test]
fn an_unwatched_door_is_heard_by_all() {
    let w = World::new();
    let ear = Arc::new(Ear::default());
    let _registration = w.engine.watch(DoorId(1), Arc::clone(&ear) as _);
    w.as_root().make(ROOT, "f", NewNode::Regular, 0o644).unwrap();
    assert!(ear.heard().contains(&"name 1 f".to_owned()));
}

/// Far behind until it is let go.
struct Slow(tokio::sync::watch::Sender<bool>);

impl Watcher for Slow {
    fn notice(&self, _: Notice<'_>) {}

    fn behind(&self) -> Option<BoxFuture<'static, ()>> {
        let mut free = self.0.subscribe();
        if *free.borrow() {
            return None;
        }
        Some(async move { drop(free.wait_for(|free| *free).await.map(|_| ())) }.boxed())
    }
}

#[test]
fn a_change_waits_for_a_watcher_that_is_behind_but_not_longer_than_it_is_patient() {
    let w = World::new();
    let slow = Arc::new(Slow(tokio::sync::watch::Sender::new(false)));
    let _registration = w.engine.watch(DoorId(1), Arc::clone(&slow) as _);
    let patient = w.as_root().cx.clone();
    let mut change = w.engine.make(&patient, ROOT, b"a", NewNode::Regular, 0o644, 0);
    {
        let _runtime = w.runtime.enter();
        assert!((&mut change).now_or_never().is_none(), "the watcher is behind");
    }
    assert!(w.as_root().lookup(ROOT, "a").is_ok(), "the change is visible already");
    slow.0.send_replace(true);
    w.runtime.block_on(change).unwrap();
    slow.0.send_replace(false);
    let hasty = Context { patience: std::time::Duration::from_millis(1), ..patient };
    w.runtime.block_on(w.engine.make(&hasty, ROOT, b"b", NewNode::Regular, 0o644, 0)).unwrap();
}
