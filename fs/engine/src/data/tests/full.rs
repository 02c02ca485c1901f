//! A full pool (F7): writers hear of it at the write, what was written stays, and removing files makes room again.

use objstore_base::{ErrorKind, MemoryBlobStore};

use super::world::{World, noise};

const FILE: usize = 600_000;

/// Writes files until there is no room; gives how many fitted.
fn fill(world: &World, round: u64) -> u64 {
    for n in 0..1000 {
        let ino = world.create(&format!("{round}-{n}"));
        match world.try_write(ino, 0, &noise(round * 1000 + n, FILE)) {
            Ok(()) => world.upload(),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::NoSpace);
                world.unlink(&format!("{round}-{n}"));
                return n;
            }
        }
    }
    panic!("the pool never filled up");
}

#[test]
fn a_full_pool_refuses_writes_and_removing_files_makes_room() {
    let world = World::over(MemoryBlobStore::with_capacity(24 << 20), |_| {});
    for round in 0..3 {
        let fitted = fill(&world, round);
        assert!(fitted >= 30, "round {round}: {fitted} files of {FILE} bytes fitted");
        world.upload_and_forget();
        for n in 0..fitted {
            let ino = world.lookup(&format!("{round}-{n}"));
            assert!(world.read(ino, 0, FILE as u32) == noise(round * 1000 + n, FILE), "file {n}");
            world.unlink(&format!("{round}-{n}"));
        }
        while world.engine.drain_orphans().expect("free") {}
        for _ in 0..4 {
            world.upload_and_forget();
            world.runtime.block_on(world.engine.compaction_tick(1000)).expect("compact");
        }
        world.runtime.block_on(world.engine.refresh_room()).expect("room");
        let report = world.runtime.block_on(world.engine.check()).expect("check");
        assert_eq!(report.findings, [""; 0]);
    }
}
