//! Sizes, allocated space, appends, limits.

use std::time::Duration;

use fs_api::{FILE_BYTES_MAX, FallocateMode, Target, Vfs};
use objstore_base::ErrorKind;

use super::world::{World, noise};
use crate::SharedDisk;

#[test]
fn a_small_write_is_seen_at_once_and_needs_no_wait() {
    let world = World::new();
    let ino = world.create("a");
    world.write(ino, 3, b"tide");
    let attr = world.attr(ino);
    assert_eq!((attr.size, attr.blocks), (7, 1));
    assert_eq!(world.read(ino, 0, 100), b"\0\0\0tide");
    let before = world.engine.journal.last();
    world.write(ino, 7, b"gate");
    assert_eq!(world.engine.journal.last(), before, "gathered, not journalled");
    world.sync();
    assert!(world.engine.journal.durable() > before);
    assert_eq!(world.read(ino, 3, 8), b"tidegate");
}

#[test]
fn sequential_small_writes_become_whole_frames() {
    let world = World::new();
    let ino = world.create("a");
    let data = noise(1, 1 << 20);
    for (n, part) in data.chunks(4096).enumerate() {
        world.write(ino, n as u64 * 4096, part);
    }
    world.sync();
    let extents = super::super::extents::starting_in(&*world.engine.meta, ino.0, 0..u64::MAX, 100).expect("scan");
    assert_eq!(extents.iter().map(|p| p.extent.len()).collect::<Vec<_>>(), [256 << 10; 4]);
    assert_eq!(world.read(ino, 0, 2 << 20), data);
    assert_eq!(world.attr(ino).blocks, (1 << 20) / 512);
}

#[test]
fn appends_go_to_the_end_wherever_it_is() {
    let world = World::new();
    let ino = world.create("a");
    let handle = world.open_append(ino);
    let append = |data: &[u8]| {
        let cx = world.cx();
        world.runtime.block_on(world.engine.write(&cx, Target::opened(ino, handle), 0, data)).expect("append")
    };
    append(b"one");
    world.write(ino, 3, b"two");
    append(&noise(1, 100_000));
    append(b"end");
    assert_eq!(world.size(ino), 100_009);
    assert_eq!(world.read(ino, 100_006, 10), b"end");
}

#[test]
fn reserved_space_counts_and_goes_with_a_truncation() {
    let world = World::new();
    let ino = world.create("a");
    world.write(ino, 0, &[1; 4096]);
    world.fallocate(ino, 0, 1 << 20, FallocateMode::Allocate { keep_size: true }).expect("allocate");
    assert_eq!((world.size(ino), world.attr(ino).blocks), (4096, 2048));
    world.truncate(ino, 4096);
    assert_eq!(world.attr(ino).blocks, 8);
    world.fallocate(ino, 0, 1 << 20, FallocateMode::ZeroRange { keep_size: false }).expect("zero");
    assert_eq!((world.size(ino), world.attr(ino).blocks), (1 << 20, 2048));
    world.unlink("a");
    assert!(world.engine.drain_orphans().is_ok());
    assert_eq!(world.engine.status().bytes, 0);
}

#[test]
fn the_last_block_is_zero_when_a_shortened_file_grows_again() {
    let world = World::new();
    let ino = world.create("a");
    for len in [10_000, 300_000] {
        world.write(ino, 0, &vec![7; len]);
        world.truncate(ino, 5);
        world.truncate(ino, len as u64);
        let mut expected = vec![0; len];
        expected[..5].fill(7);
        assert_eq!(world.read(ino, 0, u32::MAX), expected);
    }
}

#[test]
fn a_file_of_many_extents_is_truncated_at_once_and_trimmed_in_steps() {
    let world = World::new();
    let ino = world.create("a");
    for n in 0..9000u64 {
        world.write(ino, n * 10, &[n as u8; 5]);
        if n % 4000 == 0 {
            world.sync();
        }
    }
    world.truncate(ino, 1000);
    assert_eq!((world.size(ino), world.attr(ino).blocks > 20), (1000, true), "the trim is still to come");
    let world = world.again(true);
    while world.engine.drain_trims(1).expect("trim") {}
    assert_eq!(world.attr(ino).blocks, 1);
    world.truncate(ino, 2000);
    assert_eq!(world.read(ino, 1000, 1000), vec![0; 1000]);
}

#[test]
fn growing_finishes_a_pending_trim_first() {
    let world = World::new();
    let ino = world.create("a");
    for n in 0..5000u64 {
        world.write(ino, n * 10, &[1; 5]);
    }
    world.truncate(ino, 10);
    world.write(ino, 40_000, &[2; 5]);
    let mut expected = vec![0; 40_005];
    expected[..5].fill(1);
    expected[40_000..].fill(2);
    assert_eq!(world.read(ino, 0, u32::MAX), expected);
}

#[test]
fn what_was_gathered_for_a_second_becomes_a_frame() {
    let world = World::new();
    let ino = world.create("a");
    world.write(ino, 0, b"x");
    world.runtime.block_on(world.engine.gather_tick()).expect("tick");
    assert!(world.engine.data.gathers.shown(ino).is_some(), "too young");
    world.runtime.block_on(world.engine.env.clock.sleep(Duration::from_millis(1001)));
    world.runtime.block_on(world.engine.gather_tick()).expect("tick");
    assert!(world.engine.data.gathers.shown(ino).is_none());
}

#[test]
fn gathered_memory_is_bounded_in_total() {
    let world = World::with(|config| config.gather_bytes_max = 100_000);
    let inos: Vec<_> = (0..20).map(|n| world.create(&n.to_string())).collect();
    for ino in &inos {
        world.write(*ino, 0, &[1; 10_000]);
    }
    let gathered: usize = inos.iter().filter(|ino| world.engine.data.gathers.shown(**ino).is_some()).count();
    assert_eq!(gathered, 10);
    assert!(world.engine.data.gathers.shown(inos[0]).is_none(), "the oldest goes first");
}

#[test]
fn no_file_grows_past_the_largest_offset() {
    let world = World::new();
    let ino = world.create("a");
    assert_eq!(world.try_write(ino, FILE_BYTES_MAX, b"x"), Err(ErrorKind::FileTooLarge));
    assert_eq!(world.try_write(ino, u64::MAX, b"x"), Err(ErrorKind::FileTooLarge));
    assert_eq!(world.try_write(ino, FILE_BYTES_MAX - 1, b"x"), Ok(()));
    assert_eq!(world.size(ino), FILE_BYTES_MAX);
    world.sync();
    assert_eq!(world.read(ino, FILE_BYTES_MAX - 2, 10), b"\0x");
    let allocate = FallocateMode::Allocate { keep_size: false };
    assert_eq!(world.fallocate(ino, FILE_BYTES_MAX, 1, allocate), Err(ErrorKind::FileTooLarge));
    assert_eq!(world.fallocate(ino, 0, 0, allocate), Err(ErrorKind::InvalidArgument));
    assert_eq!(world.fallocate(ino, 0, 1 << 60, allocate), Err(ErrorKind::NoSpace));
}

#[test]
fn statfs_counts_what_files_hold_and_what_they_can_still_take() {
    let used = |world: &World| {
        let space = world.runtime.block_on(world.engine.stat_store()).expect("statfs");
        (space.bytes_total - space.bytes_free, space.bytes_free)
    };
    let world = World::new();
    let ino = world.create("a");
    assert_eq!(used(&world).0, 0, "what the pool keeps for itself is not in use");
    world.write(ino, 0, &noise(1, 1 << 20));
    world.sync();
    assert_eq!(used(&world).0, world.engine.status().bytes);
    // A disk under the journal that has nothing left bounds a pool that lies on it too.
    let full = SharedDisk { files: 0, disk: 1 };
    let world = World::with(|config| config.shared_disk = Some(full));
    assert_eq!(used(&world), (0, 0));
}
