//! Segments empty, move, and go; nothing that anyone can still reach goes with them.

use std::sync::Arc;

use cache_journal::SegmentId;
use fs_api::Ino;
use fs_meta::MemoryStore;
use objstore_base::{BlobClass, BlobStore};
use objstore_env::{FailAction, Failpoints};

use super::world::{World, noise};
use crate::data::pins::Pin;
use crate::{Compaction, recover};

const LEN: usize = 120_000;

/// Fails at `place` at its hit number `nth`.
fn failing_at(place: &'static str, nth: u64) -> Failpoints {
    Failpoints::with(move |name, hit| match name == place && hit == nth {
        true => FailAction::Errno(5),
        false => FailAction::Continue,
    })
}

/// Ten files over a few segments, all in the pool and only there; then most of each file is overwritten.
fn sparse_world() -> (World, Vec<Ino>) {
    sparse(World::new())
}

fn sparse(world: World) -> (World, Vec<Ino>) {
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

/// A move stops halfway; then the copies die and their segment goes before the source does. What died must not count as
/// live again at the source.
#[test]
fn what_died_as_a_copy_stays_dead_where_it_came_from() {
    let (world, inos) = {
        let world = World::failing(failing_at("engine.compact.move", 2));
        // One segment with more live bytes than one record moves, in many files.
        let inos: Vec<Ino> = (0..12).map(|n| world.create(&format!("file-{n}"))).collect();
        for (n, ino) in inos.iter().enumerate() {
            world.write(*ino, 0, &noise(n as u64, LEN));
        }
        (world, inos)
    };
    world.upload_and_forget();
    let source = world.engine.extents(inos[0], 1).expect("extents")[0].at.expect("data").0.segment;
    world.runtime.block_on(world.engine.move_frames(source)).expect_err("it stops after the first record");
    world.upload_and_forget();
    let moved: Vec<usize> = (0..inos.len()).filter(|n| home(&world, inos[*n]) != source).collect();
    assert!(!moved.is_empty() && moved.len() < inos.len(), "{moved:?}");
    let copies = home(&world, inos[moved[0]]);
    for n in &moved {
        world.truncate(inos[*n], 0);
    }
    world.upload_and_forget();
    for _ in 0..3 {
        world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    }
    world.runtime.block_on(world.engine.delete_segment(copies)).expect("delete");
    expect_clean(&world);
    world.runtime.block_on(world.engine.move_frames(source)).expect("move the rest");
    expect_clean(&world);
    for n in (0..inos.len()).filter(|n| !moved.contains(n)) {
        assert!(world.read(inos[n], 0, u32::MAX) == noise(n as u64, LEN), "file {n}");
    }
}

fn home(world: &World, ino: Ino) -> SegmentId {
    world.engine.extents(ino, 1).expect("extents")[0].at.expect("data").0.segment
}

/// The process dies after a blob is gone and before the index knows; the segment was never noted in the index either.
#[test]
fn a_deletion_that_was_cut_short_leaves_nothing_behind() {
    let (world, inos) = sparse(World::failing(failing_at("engine.compact.deleted", 1)));
    run_out(&world);
    world.upload_and_forget();
    for _ in 0..3 {
        world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
    }
    let died = (0..10).any(|_| world.runtime.block_on(world.engine.compact_step()).is_err());
    assert!(died, "a segment was being deleted");
    let world = world.again(true);
    world.upload_and_forget();
    run_out(&world);
    expect_content(&world, &inos);
    let mut counted = Vec::new();
    crate::data::check::scan(&*world.engine.meta, fs_meta::Column::Segment, &mut |key, _| {
        counted.push(u64::from_be_bytes(key[..8].try_into().expect("a segment")));
        Ok(())
    })
    .expect("scan");
    let there = world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list");
    let local: Vec<u64> = world.engine.journal.segments().iter().map(|s| s.id.0).collect();
    counted.retain(|id| !there.iter().any(|blob| blob.number == *id) && !local.contains(id));
    assert_eq!(counted, [0; 0], "segments that are nowhere are still counted");
    expect_clean(&world);
}
