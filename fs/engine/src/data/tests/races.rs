//! Readers, writers, uploads, retirement, compaction and checkpoints at the same time (F29): every read gives bytes
//! that the file had, and the accounts add up afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fs_api::{Context, Credentials, Ino, Target, Vfs};

use super::world::{World, noise};
use crate::Engine;

/// A file is written as a whole number of blocks; each begins with its round and repeats it to the end.
const BLOCK: usize = 9_973;
const BLOCKS: u64 = 16;
const FILES: u64 = 6;

fn block(round: u64) -> Vec<u8> {
    let mut bytes = round.to_le_bytes().to_vec();
    bytes.extend(noise(round, BLOCK - 8));
    bytes
}

async fn read_some(engine: &Engine, ino: Ino, at: u64) -> u64 {
    let cx = Context::new(0, Credentials::root());
    let bytes = engine.read(&cx, Target::inode(ino), at * BLOCK as u64, BLOCK as u32).await.expect("read");
    let round = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert!(bytes == block(round), "block {at} of {ino} is a mixture");
    round
}

async fn write_round(engine: &Engine, ino: Ino, at: u64, round: u64) {
    let cx = Context::new(0, Credentials::root());
    engine.write(&cx, Target::inode(ino), at * BLOCK as u64, &block(round)).await.expect("write");
}

/// One pass of everything that happens in the background, local copies taken away as soon as they may go.
async fn housekeeping(engine: &Arc<Engine>) {
    engine.flush_gathered_all().expect("settle");
    engine.write_back.flush().await.expect("upload");
    engine.flush_index().await.expect("flush index");
    engine.journal.retire(0).expect("retire");
    engine.checkpoint().await.expect("checkpoint");
    for _ in 0..8 {
        engine.compact_step().await.expect("compact");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "readers that are really at the same time")]
fn reads_stay_whole_while_segments_come_move_and_go() {
    let world = World::with(|config| {
        config.journal.segment_bytes = 256 << 10;
        // Nearly nothing is kept, so that reads reach the pool.
        config.read_cache.memory_bytes_max = 64 << 10;
        config.read_cache.disk_bytes_max = 0;
    });
    let inos: Arc<Vec<Ino>> = Arc::new((0..FILES).map(|n| world.create(&n.to_string())).collect());
    for ino in inos.iter() {
        (0..BLOCKS).for_each(|at| world.runtime.block_on(write_round(&world.engine, *ino, at, 0)));
    }
    let rounds: u64 = if std::env::var_os("TIDEGATE_DEEP").is_some() { 400 } else { 12 };
    let ended = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for reader in 0..3 {
        let (engine, inos, ended, reads) =
            (Arc::clone(&world.engine), Arc::clone(&inos), Arc::clone(&ended), Arc::clone(&reads));
        let handle = world.runtime.handle().clone();
        readers.push(std::thread::spawn(move || {
            // What a reader has seen of a block may not become older.
            let mut seen = vec![0; (FILES * BLOCKS) as usize];
            let mut n = reader * 31;
            while !ended.load(Ordering::Relaxed) {
                n += 7;
                let (file, at) = (n % FILES, n / FILES % BLOCKS);
                let round = handle.block_on(read_some(&engine, inos[file as usize], at));
                let last = &mut seen[(file * BLOCKS + at) as usize];
                assert!(*last <= round, "block {at} went back from {last} to {round}");
                *last = round;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 1..=rounds {
        for at in 0..BLOCKS {
            // Some blocks stay old, so that segments end up sparse.
            for (n, ino) in inos.iter().enumerate().filter(|(n, _)| !(round + at + *n as u64).is_multiple_of(5)) {
                debug_assert!(n < FILES as usize);
                world.runtime.block_on(write_round(&world.engine, *ino, at, round));
            }
        }
        world.runtime.block_on(housekeeping(&world.engine));
    }
    ended.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().expect("a reader saw nothing wrong"));
    assert!(reads.load(Ordering::Relaxed) > 100);
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(report.findings, [""; 0]);
    let world = world.with_recovered_index();
    for ino in inos.iter() {
        for at in 0..BLOCKS {
            assert!(world.runtime.block_on(read_some(&world.engine, *ino, at)) <= rounds);
        }
    }
}
