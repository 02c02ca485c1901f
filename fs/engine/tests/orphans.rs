//! Files that lost their last name: kept while something ties them, gone afterwards.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_api::{DoorId, Target, Vfs};
use objstore_base::ErrorKind::{NotFound, Stale};
use support::{READ_WRITE, ROOT, World};

fn settle(w: &World) {
    w.engine.start();
    w.runtime.block_on(async {
        while w.engine.status().orphans > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_open_file_keeps_its_bytes_until_the_last_release() {
    let w = World::new();
    let root = w.as_root();
    let made = root.create(ROOT, "f", READ_WRITE, true).expect("created");
    let f = made.attr.ino;
    let target = Target::opened(f, made.handle.id);
    root.write(target, 0, b"still here").expect("written");
    let other = root.open(f, READ_WRITE).expect("opened");
    root.unlink(ROOT, "f").expect("removed");
    root.release(f, made.handle).expect("released");
    let target = Target::opened(f, other.id);
    assert_eq!(root.read(target, 0, 100).as_deref(), Ok(&b"still here"[..]));
    root.write(target, 10, b"!").expect("written");
    assert_eq!(root.attr(f).map(|a| (a.nlink, a.size)), Ok((0, 11)));
    root.release(f, other).expect("released");
    settle(&w);
    assert_eq!(root.attr(f), Err(Stale));
    assert_eq!((w.engine.status().inodes, w.engine.status().bytes), (1, 0));
}

#[test]
fn a_held_inode_stays_reachable_by_number() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    w.engine.hold(DoorId::default(), f, 3);
    root.unlink(ROOT, "f").expect("removed");
    w.engine.unhold(DoorId::default(), f, 2);
    assert_eq!(root.attr(f).map(|a| a.nlink), Ok(0));
    w.engine.unhold(DoorId::default(), f, 1);
    settle(&w);
    assert_eq!(root.attr(f), Err(Stale));
}

/// Whoever names an inode by number hears that the number leads nowhere any more (`ESTALE`); whoever names it by its
/// name hears that the name is not there (`ENOENT`). A hold that comes too late brings nothing back and keeps nothing.
#[test]
fn a_number_that_was_looked_up_before_the_last_name_went_is_stale_and_its_name_is_missing() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    root.unlink(ROOT, "f").expect("removed between the look-up and the hold");
    w.engine.hold(DoorId::default(), f, 1);
    assert_eq!(root.attr(f), Err(Stale));
    assert_eq!(root.open(f, READ_WRITE).map(drop), Err(Stale));
    assert_eq!(root.lookup(ROOT, "f").map(drop), Err(NotFound));
    w.engine.unhold(DoorId::default(), f, 1);
    assert_eq!((w.engine.status().inodes, w.engine.status().orphans), (1, 0));
}

/// An unmounted kernel gives nothing back.
#[test]
fn what_a_door_held_and_had_open_goes_when_it_leaves() {
    const GONE: DoorId = DoorId(7);
    const STAYS: DoorId = DoorId(8);
    let w = World::new();
    let mut root = w.as_root();
    root.cx.door = GONE;
    let [held, shared] = ["held", "shared"].map(|name| root.file(ROOT, name).expect("made"));
    let open = root.create(ROOT, "open", READ_WRITE, true).expect("created").attr.ino;
    w.engine.hold(GONE, held, 3);
    w.engine.hold(GONE, shared, 1);
    w.engine.hold(STAYS, shared, 2);
    ["held", "shared", "open"].iter().for_each(|name| root.unlink(ROOT, name).expect("removed"));
    assert_eq!(w.engine.status().orphans, 3);
    w.engine.leave(GONE);
    assert_eq!(w.engine.held(GONE), []);
    assert_eq!(w.engine.held(STAYS), [shared]);
    w.engine.start();
    w.runtime.block_on(async {
        while w.engine.status().orphans > 1 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!([held, open].map(|ino| root.attr(ino)), [Err(Stale), Err(Stale)]);
    assert_eq!(root.attr(shared).map(|attr| attr.nlink), Ok(0));
    w.engine.leave(STAYS);
    settle(&w);
    assert_eq!(w.engine.status().inodes, 1);
}

#[test]
fn what_a_crash_leaves_is_freed_by_the_next_start() {
    let w = World::new();
    let root = w.as_root();
    for n in 0..200 {
        let made = root.create(ROOT, &format!("f{n}"), READ_WRITE, true).expect("created");
        root.write(Target::opened(made.attr.ino, made.handle.id), 0, &[n as u8; 3000]).expect("written");
        root.unlink(ROOT, &format!("f{n}")).expect("removed");
    }
    w.sync();
    assert_eq!(w.engine.status().inodes, 201);
    let w = w.crashed();
    settle(&w);
    assert_eq!((w.engine.status().inodes, w.engine.status().bytes), (1, 0));
}

#[test]
fn a_replaced_file_goes_like_a_removed_one() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    root.write(Target::inode(f), 0, &[1; 100_000]).expect("written");
    let g = root.create(ROOT, "g", READ_WRITE, true).expect("created");
    root.write(Target::inode(g.attr.ino), 0, &[2; 50_000]).expect("written");
    root.rename(ROOT, "f", ROOT, "g").expect("renamed");
    let open = Target::opened(g.attr.ino, g.handle.id);
    assert_eq!(root.read(open, 49_999, 10).as_deref(), Ok(&[2][..]));
    root.release(g.attr.ino, g.handle).expect("released");
    settle(&w);
    assert_eq!((w.engine.status().inodes, w.engine.status().bytes), (2, 100_000));
}

#[test]
fn a_name_that_is_replaced_over_and_over_is_never_missing() {
    let w = World::new();
    let root = w.as_root();
    root.file(ROOT, "target").expect("made");
    let done = AtomicBool::new(false);
    let engine = Arc::clone(&w.engine);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let user = w.as_root();
            let mut looks = 0u64;
            while !done.load(Ordering::Relaxed) {
                user.lookup(ROOT, "target").expect("at no instant is the name missing");
                looks += 1;
            }
            looks
        });
        for n in 0..10_000 {
            let name = if n % 2 == 0 { "a" } else { "b" };
            root.file(ROOT, name).expect("made");
            root.rename(ROOT, name, ROOT, "target").expect("renamed");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader found the name each time") > 0);
    });
    assert_eq!(engine.status().inodes, 2);
}
