//! When something below says no: what one file cannot have costs no other file anything, and memory stays bounded.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fs_api::{Context, DoorId, FallocateMode, Ino, Target, Vfs};
use objstore_base::ErrorKind;
use objstore_env::{FailAction, Failpoints};

use super::world::{World, noise};
use crate::Engine;

fn expect_clean(world: &World) {
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(report.findings, [""; 0]);
}

/// A file of `count` extents of four bytes.
fn scattered(world: &World, name: &str, count: u64) -> Ino {
    let ino = world.create(name);
    for n in 0..count {
        world.write(ino, n * 8, b"tide");
    }
    world.sync();
    ino
}

#[test]
fn a_local_segment_that_cannot_be_read_is_read_from_the_pool() {
    let world = World::with(|config| config.journal.open_files_max = 1);
    let inos: Vec<Ino> = (0..2).map(|n| world.create(&format!("file-{n}"))).collect();
    for (n, ino) in inos.iter().enumerate() {
        world.write(*ino, 0, &noise(n as u64, 300_000));
        world.upload();
    }
    // The first segment is not open any more: opening it is an error that is no damage.
    world.remove_journal_files();
    assert!(world.read(inos[0], 0, 300_000) == noise(0, 300_000));
    assert!(world.engine.status().local_read_failures > 0);
}

#[test]
fn small_writes_do_not_pile_up_while_they_cannot_be_stored() {
    let (world, broken) = World::breaking(&["engine.gather.store"]);
    let ino = world.create("file");
    broken.store(true, Ordering::SeqCst);
    let mut refused = 0;
    for n in 0..200u64 {
        refused += u32::from(world.try_write(ino, n * 4096, &noise(n, 4096)).is_err());
    }
    assert!(refused >= 130, "{refused} of 200 writes were refused");
    assert!(world.size(ino) <= 256 << 10, "{} bytes are held in memory", world.size(ino));
    broken.store(false, Ordering::SeqCst);
    world.write(ino, 0, b"again");
    world.sync();
    assert_eq!(world.read(ino, 0, 5), b"again");
    expect_clean(&world);
}

#[test]
fn a_journal_that_takes_nothing_more_takes_no_small_write_either() {
    let (world, broken) = World::breaking(&["journal.sync.before", "journal.repair"]);
    let ino = world.create("file");
    world.write(ino, 0, b"before");
    broken.store(true, Ordering::SeqCst);
    world.runtime.block_on(world.engine.sync(&world.cx())).expect_err("nothing can be synced");
    assert!(world.engine.journal.healthy().is_err());
    assert_eq!(world.try_write(ino, 100, b"after"), Err(ErrorKind::Io));
    assert_eq!(world.size(ino), 6);
}

#[test]
fn a_file_that_cannot_be_trimmed_keeps_no_other_from_it() {
    let broken = Failpoints::with(|name, nth| match (name, nth) {
        ("engine.trim.step", 1) => FailAction::Errno(5),
        _ => FailAction::Continue,
    });
    let world = World::failing(broken);
    let files = [scattered(&world, "first", 4200), scattered(&world, "second", 4200)];
    for ino in files {
        world.truncate(ino, 0);
    }
    assert!(files.iter().all(|ino| world.attr(*ino).blocks > 0));
    world.engine.drain_trims(8).expect_err("the first one failed");
    assert_eq!(files.map(|ino| world.attr(ino).blocks > 0), [true, false]);
    assert!(!world.engine.drain_trims(8).expect("trims"));
    assert_eq!(files.map(|ino| world.attr(ino).blocks), [0, 0]);
    expect_clean(&world);
}

#[test]
fn trims_take_turns() {
    let world = World::new();
    let files = [scattered(&world, "first", 8300), scattered(&world, "second", 4200)];
    for ino in files {
        world.truncate(ino, 0);
    }
    let before = files.map(|ino| world.attr(ino).blocks);
    assert!(world.engine.drain_trims(1).expect("trims"));
    assert!(world.engine.drain_trims(1).expect("trims"));
    let after = files.map(|ino| world.attr(ino).blocks);
    assert!(after[0] < before[0] && after[1] < before[1], "{before:?} became {after:?}");
}

#[test]
fn many_orphans_of_many_extents_are_freed_in_records_that_fit() {
    let world = World::with(|config| config.journal.segment_bytes = 128 << 10);
    let inos: Vec<Ino> = (0..40).map(|n| scattered(&world, &format!("file-{n}"), 120)).collect();
    for (n, ino) in inos.iter().enumerate() {
        world.engine.hold(DoorId::default(), *ino, 1);
        world.unlink(&format!("file-{n}"));
    }
    inos.iter().for_each(|ino| world.engine.unhold(DoorId::default(), *ino, 1));
    while world.engine.drain_orphans().expect("free") {}
    while world.engine.drain_trims(8).expect("trim") {}
    assert_eq!(world.engine.status().orphans, 0);
    assert_eq!(world.engine.status().bytes, 0);
    expect_clean(&world);
}

/// A door ties an inode at the moment in which its last name goes, after that was found to free it.
#[test]
fn a_hold_that_comes_while_the_last_name_goes_leaves_no_inode_behind() {
    let engine: Arc<OnceLock<(Arc<Engine>, Ino)>> = Arc::default();
    let late = Arc::clone(&engine);
    let world = World::failing(Failpoints::with(move |name, _| {
        if let Some((engine, ino)) = late.get().filter(|_| name == "engine.names.bury") {
            engine.hold(DoorId::default(), *ino, 1);
        }
        FailAction::Continue
    }));
    let ino = world.create("file");
    world.write(ino, 0, b"gathered");
    assert!(engine.set((Arc::clone(&world.engine), ino)).is_ok());
    world.unlink("file");
    world.engine.unhold(DoorId::default(), ino, 1);
    while world.engine.drain_orphans().expect("free") {}
    expect_clean(&world);
    assert_eq!(world.engine.status().inodes, 1, "the root alone");
    assert_eq!(world.engine.status().orphans, 0);
}

#[test]
fn copies_and_reservations_wait_for_room_like_writes_do() {
    let world = World::with(|config| config.write_back.max_dirty_bytes = 2 << 20);
    let (file, copy) = (world.create("file"), world.create("copy"));
    world.write(file, 0, &noise(1, 100_000));
    world.pool.set_unavailable(true);
    let hasty = || Context { patience: Duration::ZERO, ..world.cx() };
    let fill = |n: u64| {
        let data = noise(n, 100_000);
        world.runtime.block_on(world.engine.write(&hasty(), Target::inode(file), n * 100_000, &data)).is_ok()
    };
    let fitted = (0..100).take_while(|n| fill(*n)).count();
    assert!(fitted < 100, "the cache never filled up");
    let (from, to) = (Target::inode(file), Target::inode(copy));
    let copied = world.runtime.block_on(world.engine.copy_range(&hasty(), from, 0, to, 0, 50_000));
    assert_eq!(copied.map_err(|e| e.kind()), Err(ErrorKind::NoSpace));
    let allocate = |mode| {
        let done = world.runtime.block_on(world.engine.fallocate(&hasty(), to, 0, 50_000, mode));
        done.map_err(|e| e.kind())
    };
    assert_eq!(allocate(FallocateMode::Allocate { keep_size: false }), Err(ErrorKind::NoSpace));
    assert_eq!(allocate(FallocateMode::PunchHole), Ok(()), "what makes room is never kept waiting");
}
