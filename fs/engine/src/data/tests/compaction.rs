//! Segments empty, move, and go; nothing that anyone can still reach goes with them.

use std::sync::Arc;

use fs_api::Ino;
use fs_meta::MemoryStore;
use objstore_base::{BlobClass, BlobStore};

use super::world::{World, noise};
use crate::data::pins::Pin;
use crate::{Compaction, recover};

const LEN: usize = 120_000;

/// Ten files over a few segments, all in the pool and only there; then most of each file is overwritten.
fn sparse_world() -> (World, Vec<Ino>) {
    let world = World::new();
    let inos: Vec<Ino> = (0..10).map(|n| world.create(&format!("file-{n}"))).collect();
    for round in 0..4 {
        for (n, ino) in inos.iter().enumerate() {
            world.write(*ino, round * LEN as u64, &noise(n as u64, LEN));
        }
    }
    world.upload_and_forget();
    for (n, ino) in inos.iter().enumerate() {
        world.write(*ino, 0, &noise(100 + n as u64, 3 * LEN));
    }
    world.upload_and_forget();
    (world, inos)
}

fn expect_content(world: &World, inos: &[Ino]) {
    for (n, ino) in inos.iter().enumerate() {
        let mut expected = noise(100 + n as u64, 3 * LEN);
        expected.extend(noise(n as u64, LEN));
        assert!(world.read(*ino, 0, u32::MAX) == expected, "file {n}");
    }
}

fn step(world: &World) -> Compaction {
    world.runtime.block_on(world.engine.compact_step()).expect("compact")
}

fn run_out(world: &World) -> Vec<Compaction> {
    let steps = std::iter::repeat_with(|| step(world)).take(100).take_while(|step| *step != Compaction::Idle);
    steps.collect()
}

fn segments(world: &World) -> usize {
    world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list").len()
}

fn expect_clean(world: &World) {
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(report.findings, [""; 0]);
}

#[test]
fn a_sparse_segment_is_moved_and_deleted_only_when_nothing_needs_it() {
    let (world, inos) = sparse_world();
    let before = segments(&world);
    let steps = run_out(&world);
    assert!(steps.iter().any(|step| matches!(step, Compaction::Moved { .. })), "{steps:?}");
    assert!(steps.iter().all(|step| !matches!(step, Compaction::Deleted { .. })), "its copies are not in the pool");
    expect_clean(&world);
    expect_content(&world, &inos);
    world.upload_and_forget();
    expect_content(&world, &inos);
    assert_eq!(run_out(&world), [], "no checkpoint covers the records of the segments");
    world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    let steps = run_out(&world);
    assert!(steps.iter().any(|step| matches!(step, Compaction::Deleted { .. })), "{steps:?}");
    assert!(segments(&world) < before);
    expect_clean(&world);
    expect_content(&world, &inos);
    let world = world.again(true);
    expect_content(&world, &inos);
    expect_clean(&world);
}

#[test]
fn moved_frames_move_again_and_die_without_a_trace() {
    let (world, inos) = sparse_world();
    let mut generation = 0;
    for (round, keep) in [7, 4, 1].into_iter().enumerate() {
        run_out(&world);
        world.upload_and_forget();
        for n in keep..inos.len().min(keep + 3) {
            world.unlink(&format!("file-{n}"));
        }
        world.engine.drain_orphans().expect("free");
        world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
        world.upload_and_forget();
        generation += run_out(&world).len();
        expect_clean(&world);
        expect_content(&world, &inos[..keep]);
        assert!(generation > 0, "round {round}");
    }
    world.unlink("file-0");
    world.engine.drain_orphans().expect("free");
    for _ in 0..4 {
        world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
        world.upload_and_forget();
        run_out(&world);
    }
    expect_clean(&world);
    for column in [fs_meta::Column::Forward, fs_meta::Column::FrameRef] {
        let mut left = 0;
        crate::data::check::scan(&*world.engine.meta, column, &mut |_, _| {
            left += 1;
            Ok(())
        })
        .expect("scan");
        assert_eq!(left, 0, "{column:?}");
    }
}

#[test]
fn a_pinned_segment_stays_in_the_pool() {
    let (world, inos) = sparse_world();
    run_out(&world);
    world.upload_and_forget();
    world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    let ids = world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list");
    let pin = Pin::new(&world.engine.data.pins, ids.iter().map(|id| cache_journal::SegmentId(id.number)));
    assert_eq!(run_out(&world), []);
    assert_eq!(segments(&world), ids.len());
    drop(pin);
    assert!(!run_out(&world).is_empty());
    assert!(segments(&world) < ids.len());
    expect_content(&world, &inos);
}

#[test]
fn the_pool_alone_gives_every_byte_after_a_compaction() {
    let (world, inos) = sparse_world();
    run_out(&world);
    world.upload_and_forget();
    world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    run_out(&world);
    world.upload_and_forget();
    let meta = MemoryStore::new();
    let report = world.runtime.block_on(recover(&meta, Arc::clone(&world.pool) as _)).expect("recover");
    assert_eq!(report.stopped, None);
    let world = world.with_recovered_index();
    world.engine.journal.retire(0).expect("retire");
    expect_content(&world, &inos);
    expect_clean(&world);
}

#[test]
fn an_unreadable_segment_is_left_alone_and_stops_nobody() {
    let (world, inos) = sparse_world();
    let ids = world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list");
    let last = ids.last().expect("a segment").number;
    let torn = objstore_base::BlobId::segment(last + 1_000_000);
    world.runtime.block_on(world.pool.put(torn, vec![b"torn".to_vec().into()])).expect("put");
    run_out(&world);
    world.upload_and_forget();
    world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    let steps = run_out(&world);
    assert!(steps.iter().any(|step| matches!(step, Compaction::Deleted { .. })), "{steps:?}");
    assert!(world.runtime.block_on(world.pool.stat(torn)).is_ok());
    expect_content(&world, &inos);
}
