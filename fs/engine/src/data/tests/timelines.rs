//! A machine is lost while some of the pool cannot be read; the store goes on without it, and the unreadable part comes
//! back. Histories must not mix, and nothing may be said of new frames that was true of old ones.

use std::sync::Arc;

use bytes::Bytes;
use cache_journal::SegmentId;
use fs_meta::MemoryStore;
use objstore_base::{BlobClass, BlobId, BlobStore};

use super::recovery::{checkpoint, content, fill, recovered};
use super::world::{World, noise};
use crate::{Compaction, recover};

fn segments(world: &World) -> Vec<u64> {
    let ids = world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list");
    ids.into_iter().map(|id| id.number).collect()
}

fn bytes(world: &World, segment: u64) -> Bytes {
    let id = BlobId::segment(segment);
    let len = world.runtime.block_on(world.pool.stat(id)).expect("stat").len;
    world.runtime.block_on(world.pool.get(id, 0..len)).expect("get")
}

fn put(world: &World, segment: u64, bytes: &Bytes) {
    world.runtime.block_on(world.pool.put(BlobId::segment(segment), vec![bytes.clone()])).expect("put");
}

fn delete(world: &World, segment: u64) {
    world.runtime.block_on(world.pool.delete(BlobId::segment(segment))).expect("delete");
}

/// A store whose second upload of three is not there when its machine is lost; gives the new machine, and that upload.
fn forked() -> (World, u64, Bytes) {
    let world = World::new();
    fill(&world, 0, 3);
    world.upload();
    let past = segments(&world);
    fill(&world, 3, 5);
    world.upload();
    let lost = segments(&world).into_iter().find(|segment| !past.contains(segment)).expect("a second upload");
    fill(&world, 5, 9);
    world.upload();
    let held = bytes(&world, lost);
    delete(&world, lost);
    let (world, report) = world.on_a_new_machine();
    assert!(report.stopped.is_some() && !report.left_behind.is_empty(), "{report:?}");
    (world, lost, held)
}

fn expect_recovery(world: &World, when: &str) {
    let (meta, report) = recovered(world);
    assert!(content(&meta) == content(&*world.engine.meta), "another state {when}: {report:?}");
    assert_eq!(report.lsn, world.engine.journal.last().0, "{when}");
    assert_eq!(report.stopped, None, "{when}");
}

#[test]
fn what_a_recovery_left_behind_is_never_replayed_over_what_came_after() {
    let (world, lost, held) = forked();
    // Nothing of the new machine is in the pool but the record that it began.
    expect_recovery(&world, "before the first upload");
    put(&world, lost, &held);
    expect_recovery(&world, "when the lost segment is back");
    fill(&world, 20, 30);
    world.unlink("file-1");
    world.upload();
    expect_recovery(&world, "after an upload");
    let (world, report) = world.on_a_new_machine();
    assert_eq!(report.timeline, 2);
    fill(&world, 30, 32);
    world.upload();
    expect_recovery(&world, "on a third machine");
}

/// Each LSN of the part left behind is once the one right behind a checkpoint of the new history.
#[test]
fn a_checkpoint_is_followed_by_its_own_history_only() {
    let (world, lost, held) = forked();
    put(&world, lost, &held);
    for n in 0..16 {
        world.create(&format!("later-{n}"));
        checkpoint(&world);
        expect_recovery(&world, &format!("after checkpoint {n}"));
    }
}

#[test]
fn a_timeline_whose_beginning_is_lost_is_not_entered() {
    let (world, _, _) = forked();
    let begun = *segments(&world).last().expect("the segment that begins it");
    let before = recovered(&world).1.lsn - 1;
    fill(&world, 20, 22);
    world.upload();
    delete(&world, begun);
    let (_, report) = recovered(&world);
    assert_eq!(report.lsn, before, "{report:?}");
    assert!(report.stopped.is_some());
}

#[test]
fn a_segment_of_another_history_with_the_same_numbers_ends_the_replay() {
    let world = World::new();
    fill(&world, 0, 3);
    world.upload();
    let past = segments(&world);
    fill(&world, 3, 5);
    world.upload();
    let middle = segments(&world).into_iter().find(|segment| !past.contains(segment)).expect("a second upload");
    fill(&world, 5, 7);
    world.upload();
    // The same machine, started from an old image of its disk, wrote other records under the same numbers.
    let (head, records) = world.runtime.block_on(async {
        let batches = world.engine.data.blobs.batches(SegmentId(middle)).await.expect("sound");
        let head = *batches.head();
        (head, batches.map(|record| record.expect("sound").0).collect::<Vec<_>>())
    });
    let compression = cache_writeback::Compression::None;
    let mut writer = cache_writeback::BlobWriter::new(SegmentId(middle), head.lineage, compression).expect("no level");
    records.iter().for_each(|lsn| writer.batch(*lsn, fs_meta::Batch::new().as_bytes()).expect("ascending"));
    writer.span(head.first_lsn, head.last_lsn);
    let forged = writer.finish().expect("fits").parts.concat();
    put(&world, middle, &forged.into());
    let (_, report) = recovered(&world);
    assert_eq!(report.lsn, head.last_lsn.0);
    assert!(report.stopped.is_some_and(|why| why.contains("another history")));
}

/// A segment that was emptied and deleted left accounts of its dead frames in the state that a recovery comes back to.
#[test]
fn no_segment_id_is_used_twice_after_the_newest_segment_was_deleted() {
    let world = World::new();
    let kept = world.create("kept");
    world.write(kept, 0, &noise(1, 300_000));
    world.upload();
    let ino = world.create("brief");
    world.write(ino, 0, &noise(2, 300_000));
    world.unlink("brief");
    while world.engine.drain_orphans().expect("free") {}
    for _ in 0..3 {
        checkpoint(&world);
    }
    let newest = *segments(&world).last().expect("a segment");
    let steps = std::iter::repeat_with(|| world.runtime.block_on(world.engine.compact_step()).expect("compact"));
    let deleted = steps.take(10).any(|step| step == Compaction::Deleted { segment: newest });
    assert!(deleted && !segments(&world).contains(&newest));
    let (world, report) = world.on_a_new_machine();
    assert!(report.last_segment >= newest, "{report:?}");
    let ino = world.create("new");
    world.write(ino, 0, &noise(3, 300_000));
    world.upload();
    assert!(world.read(ino, 0, 300_000) == noise(3, 300_000));
    let check = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(check.findings, [""; 0]);
}

#[test]
fn a_recovery_that_was_cut_short_is_no_store() {
    let world = World::new();
    fill(&world, 0, 3);
    checkpoint(&world);
    let meta = Arc::new(MemoryStore::new());
    world.pool.set_unavailable(true);
    let failed = world.runtime.block_on(recover(&*meta, Arc::clone(&world.pool) as _));
    assert!(failed.is_err());
    let error = crate::system::require_finished(&*meta).expect_err("nothing was recovered");
    assert!(error.to_string().contains("tidegate recover"), "{error}");
}

/// Somebody may have a handle of what was lost.
#[test]
fn a_number_that_was_lost_with_its_machine_is_not_given_again() {
    let world = World::new();
    fill(&world, 0, 3);
    world.upload();
    let (world, _) = world.on_a_new_machine();
    let lost = world.create("never uploaded");
    let (world, _) = world.on_a_new_machine();
    assert!(world.create("the next") > lost);
}
