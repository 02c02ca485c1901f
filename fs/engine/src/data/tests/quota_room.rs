//! What is refused for a quota while something is going anyway: what is waited for, what is freed first, and what not.

use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use fs_api::{Context, DoorId, Ino, ROOT_INO, Target, Vfs};
use futures::future::poll_immediate;
use objstore_base::ErrorKind::QuotaExceeded;
use objstore_env::{FailAction, Failpoints};

use super::world::World;

/// More extents than go in one record.
const EXTENTS: u64 = 4200;

/// A directory that may hold `bytes`.
fn limited(world: &World, name: &str, bytes: u64) -> Ino {
    let directory = world.mkdir(ROOT_INO, name);
    world.set_quota(directory, Some(bytes), None).expect("set");
    directory
}

/// A file of `EXTENTS` bytes, each an extent.
fn scattered(world: &World, directory: Ino, name: &str) -> Ino {
    let file = world.file(directory, name);
    (0..EXTENTS).for_each(|n| world.write(file, n * 2, b"x"));
    world.sync();
    file
}

#[test]
fn room_that_another_thread_is_making_is_waited_for() {
    let (taken, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let world = {
        let (taken, go_on) = (Arc::clone(&taken), Arc::clone(&go_on));
        World::failing(Failpoints::with(move |name, _| {
            if name == "engine.orphans.free" {
                taken.wait();
                go_on.wait();
            }
            FailAction::Continue
        }))
    };
    let directory = limited(&world, "d", 1000);
    let (old, new) = (world.file(directory, "old"), world.file(directory, "new"));
    world.write(old, 0, &[1; 1000]);
    world.engine.hold(DoorId::default(), old, 1);
    world.unlink_in(directory, "old").expect("unlinked");
    world.engine.unhold(DoorId::default(), old, 1);
    let cx = world.cx();
    std::thread::scope(|scope| {
        let freeing = scope.spawn(|| world.engine.drain_orphans());
        taken.wait();
        let mut write = pin!(world.engine.write(&cx, Target::inode(new), 0, &[2; 1000]));
        let at_once = world.runtime.block_on(poll_immediate(&mut write));
        go_on.wait();
        assert!(freeing.join().expect("it ends").expect("freed"));
        assert!(at_once.is_none(), "{at_once:?}");
        assert_eq!(world.runtime.block_on(write).expect("there is room now"), 1000);
    });
    world.check();
}

#[test]
fn a_writer_at_its_limit_frees_as_much_as_its_patience_allows() {
    let world = World::new();
    let directory = limited(&world, "d", 1 << 20);
    let files = ["a", "b", "c"].map(|name| scattered(&world, directory, name));
    let full = limited(&world, "full", 0);
    let file = world.file(full, "f");
    files.iter().for_each(|file| world.truncate(*file, 0));
    let left = || files.iter().filter(|file| world.attr(**file).blocks > 0).count();
    let hasty = Context { patience: Duration::ZERO, ..world.cx() };
    let written = world.runtime.block_on(world.engine.write(&hasty, Target::inode(file), 0, b"x"));
    assert_eq!(written.map_err(|e| e.kind()), Err(QuotaExceeded));
    assert!(left() >= 2, "one step at the most");
    assert_eq!(world.try_write(file, 0, b"x"), Err(QuotaExceeded));
    assert_eq!(left(), 0, "with patience all that might have made room was freed");
    world.check();
}

#[test]
fn a_writer_at_its_limit_frees_nothing_that_counts_for_no_quota() {
    let world = World::new();
    let directory = limited(&world, "d", EXTENTS);
    let removed = scattered(&world, directory, "removed");
    let free = scattered(&world, ROOT_INO, "free");
    world.unlink_in(directory, "removed").expect("unlinked");
    world.truncate(free, 0);
    let file = world.file(directory, "f");
    world.write(file, 0, &[1; EXTENTS as usize]);
    assert_eq!(world.try_write(file, EXTENTS, b"x"), Err(QuotaExceeded));
    let extents = |ino: Ino| world.engine.extents(ino, 10_000).expect("they can be read").len();
    assert!(extents(removed) > 0 && extents(free) > 0, "this is the worker's");
    while world.engine.drain_trims(8).expect("trimmed") {}
    world.check();
}
