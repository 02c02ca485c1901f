//! The machine is lost; the pool is not.

use std::sync::Arc;

use cache_journal::SegmentId;
use fs_api::Ino;
use fs_meta::{MemoryStore, MetaRead};
use objstore_base::{BlobClass, BlobId, BlobStore};

use super::world::{World, noise};
use crate::data::check::scan;
use crate::{RecoverReport, recover};

pub(super) fn recovered(world: &World) -> (MemoryStore, RecoverReport) {
    let meta = MemoryStore::new();
    let report = world.runtime.block_on(recover(&meta, Arc::clone(&world.pool) as _)).expect("recover");
    (meta, report)
}

pub(super) fn content(read: &dyn MetaRead) -> Vec<(fs_meta::Column, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for column in fs_meta::Column::ALL {
        scan(read, column, &mut |key, value| {
            all.push((column, key.to_vec(), value.to_vec()));
            Ok(())
        })
        .expect("scan");
    }
    all
}

pub(super) fn fill(world: &World, from: u64, to: u64) -> Vec<Ino> {
    let inos = (from..to).map(|n| {
        let ino = world.create(&format!("file-{n}"));
        world.write(ino, n, &noise(n, 150_000));
        world.write(ino, 10, b"small");
        ino
    });
    inos.collect()
}

pub(super) fn checkpoint(world: &World) -> crate::CheckpointReport {
    world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint")
}

#[test]
fn the_pool_alone_gives_the_index_as_it_was() {
    let world = World::new();
    fill(&world, 0, 20);
    world.upload();
    let (meta, report) = recovered(&world);
    assert_eq!(content(&meta), content(&*world.engine.meta));
    assert_eq!((report.checkpoint, report.stopped), (None, None));
    checkpoint(&world);
    fill(&world, 20, 40);
    world.unlink("file-3");
    world.upload();
    let (meta, report) = recovered(&world);
    assert_eq!(content(&meta), content(&*world.engine.meta));
    assert_eq!((report.checkpoint, report.stopped), (Some(1), None));
    assert!(report.records > 0 && report.lsn == world.engine.journal.last().0);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_said() {
    let world = World::new();
    fill(&world, 0, 3);
    checkpoint(&world);
    fill(&world, 3, 6);
    let second = checkpoint(&world);
    fill(&world, 6, 9);
    world.upload();
    for id in [BlobId::new(BlobClass::CheckpointPart, 2 << 24), BlobId::new(BlobClass::CheckpointManifest, 2)] {
        let len = world.runtime.block_on(world.pool.stat(id)).expect("stat").len;
        let good = world.runtime.block_on(world.pool.get(id, 0..len)).expect("get");
        let mut bad = good.to_vec();
        bad[20] ^= 1;
        world.runtime.block_on(world.pool.put(id, vec![bad.into()])).expect("put");
        let (meta, report) = recovered(&world);
        assert_eq!(content(&meta), content(&*world.engine.meta));
        assert_eq!((report.checkpoint, report.passed_over.len()), (Some(1), 1), "{:?}", report.passed_over);
        world.runtime.block_on(world.pool.put(id, vec![good])).expect("put");
    }
    assert_eq!(recovered(&world).1.checkpoint, Some(second.number));
}

#[test]
fn three_checkpoints_are_kept() {
    let world = World::new();
    for n in 0..5 {
        fill(&world, n, n + 1);
        checkpoint(&world);
    }
    let list = |class| world.runtime.block_on(world.pool.list(class, None, 100)).expect("list");
    let manifests: Vec<u64> = list(BlobClass::CheckpointManifest).into_iter().map(|id| id.number).collect();
    assert_eq!(manifests, [3, 4, 5]);
    assert!(list(BlobClass::CheckpointPart).into_iter().all(|id| id.number >> 24 >= 3));
}

#[test]
fn a_missing_segment_ends_the_replay_with_a_state_that_was() {
    let world = World::new();
    let before = fill(&world, 0, 5);
    world.upload();
    let lsn = world.engine.journal.last();
    fill(&world, 5, 10);
    world.upload();
    let gap = world.engine.journal.segments().iter().find(|s| s.first_lsn > lsn).expect("a later segment").id;
    fill(&world, 10, 12);
    world.upload();
    world.runtime.block_on(world.pool.delete(BlobId::segment(gap.0))).expect("delete");
    let (meta, report) = recovered(&world);
    assert!(report.stopped.is_some_and(|why| why.contains("missing")));
    assert_eq!(report.lsn, lsn.0);
    let last = fs_meta::Column::Inode;
    let inodes = content(&meta).into_iter().filter(|(column, _, _)| *column == last).count();
    assert_eq!(inodes, before.len() + 1);
    assert!(SegmentId(report.last_segment) > gap);
    assert!(!report.left_behind.is_empty() && report.left_behind.iter().all(|left| *left > gap.0));
}

#[test]
fn a_lost_index_is_rebuilt_from_the_pool_and_the_local_journal() {
    let world = World::new();
    let mut inos = fill(&world, 0, 8);
    world.upload_and_forget();
    inos.extend(fill(&world, 8, 12));
    world.sync();
    let world = world.with_recovered_index();
    for (n, ino) in inos.into_iter().enumerate() {
        let mut expected = vec![0; n];
        expected.extend_from_slice(&noise(n as u64, 150_000));
        expected[10..15].copy_from_slice(b"small");
        assert!(world.read(ino, 0, u32::MAX) == expected, "file {n}");
    }
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(report.findings, [""; 0]);
}

#[test]
fn a_lost_machine_goes_on_elsewhere_and_may_be_lost_again() {
    let mut world = World::new();
    let mut inos = Vec::new();
    for generation in 0..3 {
        inos.extend(fill(&world, generation * 5, generation * 5 + 5));
        if generation == 1 {
            world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
        }
        let setting = [crate::SettingChange::put(format!("generation/{generation}"), "kept")];
        world.runtime.block_on(world.engine.change_settings(&setting)).expect("a setting");
        world.upload();
        // What was never uploaded is lost with the machine, the segment it was about to put included.
        let lost = world.create(&format!("lost-{generation}"));
        let torn = BlobId::segment(world.engine.journal.segments().last().expect("an active one").id.0);
        world.runtime.block_on(world.pool.put(torn, vec![b"torn".to_vec().into()])).expect("put");
        let (next, report) = world.on_a_new_machine();
        world = next;
        assert!(report.last_segment >= torn.number);
        assert!(world.try_read(lost, 0, 1).is_err());
        assert_eq!(world.engine.settings("generation/").expect("settings").len() as u64, generation + 1);
        for (n, ino) in inos.iter().enumerate() {
            let bytes = world.read(*ino, n as u64 + 100, 1000);
            assert!(bytes == noise(n as u64, 1100)[100..], "generation {generation}, file {n}");
        }
        let check = world.runtime.block_on(world.engine.check()).expect("check");
        assert_eq!(check.findings, [""; 0]);
    }
}
