//! Reads that reach the pool: few ranged gets, one fetch for all who wait, and what comes next before it is asked for.

use fs_api::{OpenFlags, Target, Vfs};
use objstore_base::ErrorKind;

use super::world::{World, noise};

const MIB: usize = 1 << 20;

/// A file of four mebibytes that is only in the pool, with its frame table already known.
fn cold_file(segment_bytes: u64) -> (World, fs_api::Ino, Vec<u8>) {
    let world = World::with(|config| config.journal.segment_bytes = segment_bytes);
    let ino = world.create("cold");
    let data = noise(5, 4 * MIB);
    for (n, part) in data.chunks(MIB).enumerate() {
        world.write(ino, (n * MIB) as u64, part);
    }
    world.upload_and_forget();
    world.runtime.block_on(world.engine.check()).expect("check");
    (world, ino, data)
}

fn gets(world: &World) -> u64 {
    world.pool.calls().1
}

#[test]
fn neighbouring_frames_come_with_one_get_and_only_once() {
    let (world, ino, data) = cold_file(16 << 20);
    let before = gets(&world);
    assert!(world.read(ino, 0, (4 * MIB) as u32) == data);
    assert_eq!(gets(&world) - before, 1, "sixteen frames in one run");
    assert!(world.read(ino, 1000, 5000) == data[1000..6000]);
    assert_eq!(gets(&world) - before, 1, "kept");
}

#[test]
fn readers_of_the_same_frames_share_one_fetch() {
    let (world, ino, data) = cold_file(16 << 20);
    let before = gets(&world);
    let cx = world.cx();
    let read = |at: u64| world.engine.read(&cx, Target::inode(ino), at, 100_000);
    let all = futures::future::join_all([0, 1, 50_000, 100_000, 150_000].map(read));
    let answers = world.runtime.block_on(all);
    for (at, bytes) in [0, 1, 50_000, 100_000, 150_000].into_iter().zip(answers) {
        assert!(bytes.expect("read") == data[at..at + 100_000]);
    }
    assert_eq!(gets(&world) - before, 1);
}

#[test]
fn a_forward_reader_finds_what_comes_next_already_there() {
    let (world, ino, data) = cold_file(16 << 20);
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    let cx = world.cx();
    let handle = world.runtime.block_on(world.engine.open(&cx, ino, flags)).expect("open").id;
    let read = |at: usize| {
        let target = Target::opened(ino, handle);
        world.runtime.block_on(world.engine.read(&cx, target, at as u64, MIB as u32)).expect("read")
    };
    assert!(read(0) == data[..MIB]);
    world.runtime.block_on(world.engine.read_ahead());
    let before = gets(&world);
    assert!(read(MIB) == data[MIB..2 * MIB]);
    assert_eq!(gets(&world), before, "it was read ahead");
    world.runtime.block_on(world.engine.read_ahead());
    assert!(read(2 * MIB) == data[2 * MIB..3 * MIB]);
    assert!(gets(&world) - before <= 1);
}

#[test]
fn a_pool_that_is_away_is_an_error_and_never_zeros() {
    let (world, ino, data) = cold_file(16 << 20);
    world.pool.set_unavailable(true);
    assert_eq!(world.try_read(ino, 0, 10).map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
    world.write(ino, 5, b"tide");
    assert_eq!(world.read(ino, 5, 4), b"tide", "what is local needs no pool");
    world.pool.set_unavailable(false);
    let mut expected = data;
    expected[5..9].copy_from_slice(b"tide");
    assert!(world.read(ino, 0, (4 * MIB) as u32) == expected);
}
