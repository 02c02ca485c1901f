//! Bytes that are lost are an error that names the file, never zeros; `check` finds what does not add up.

use fs_api::Ino;
use fs_meta::{Batch, Column};
use objstore_base::{BlobClass, BlobId, BlobStore, ErrorKind};

use super::world::{World, noise};
use crate::data::records::{FrameUse, extent_key, segment_key};

fn blobs(world: &World) -> Vec<BlobId> {
    world.runtime.block_on(world.pool.list(BlobClass::Segment, None, 1000)).expect("list")
}

fn uploaded(files: u64) -> (World, Vec<Ino>) {
    let world = World::with(|config| {
        config.read_cache.memory_bytes_max = 0;
        config.read_cache.disk_bytes_max = 0;
    });
    let inos: Vec<Ino> = (0..files).map(|n| world.create(&format!("file-{n}"))).collect();
    for (n, ino) in inos.iter().enumerate() {
        world.write(*ino, 0, &noise(n as u64, 300_000));
        world.upload();
    }
    world.upload_and_forget();
    (world, inos)
}

#[test]
fn a_lost_blob_is_an_error_for_its_files_only_and_they_are_named() {
    let (world, inos) = uploaded(3);
    let lost = blobs(&world)[1];
    world.runtime.block_on(world.pool.delete(lost)).expect("delete");
    world.engine.data.blobs.forget(cache_journal::SegmentId(lost.number));
    let error = world.try_read(inos[1], 0, 300_000).expect_err("the bytes are gone");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains(&inos[1].to_string()), "{error}");
    for n in [0, 2] {
        assert!(world.read(inos[n], 0, 300_000) == noise(n as u64, 300_000));
    }
    let damaged = world.runtime.block_on(world.engine.damaged()).expect("search");
    let found: Vec<_> = damaged.iter().map(|file| (file.ino, file.paths.clone(), file.bytes)).collect();
    assert_eq!(found, [(inos[1], vec![b"/file-1".to_vec()], 300_000)]);
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert!(report.findings.iter().any(|f| f.starts_with("I1")), "{:?}", report.findings);
}

#[test]
fn a_flipped_bit_in_the_pool_is_never_served() {
    let (world, inos) = uploaded(1);
    let id = blobs(&world)[0];
    let len = world.runtime.block_on(world.pool.stat(id)).expect("stat").len;
    let good = world.runtime.block_on(world.pool.get(id, 0..len)).expect("get");
    for bit in (0..len * 8).step_by(40_009) {
        let mut bad = good.to_vec();
        bad[(bit / 8) as usize] ^= 1 << (bit % 8);
        world.runtime.block_on(world.pool.put(id, vec![bad.into()])).expect("put");
        world.engine.data.blobs.forget(cache_journal::SegmentId(id.number));
        match world.try_read(inos[0], 0, 300_000) {
            Ok(bytes) => assert!(bytes == noise(0, 300_000), "bit {bit}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error}"),
        }
    }
}

#[test]
fn check_finds_every_kind_of_wrong_account() {
    let (world, inos) = uploaded(2);
    let frame =
        match super::super::extents::starting_in(&*world.engine.meta, inos[0].0, 0..1, 1).expect("scan")[0].extent {
            super::super::records::Extent::Data { frame, .. } => frame,
            other => panic!("{other:?}"),
        };
    let findings = |batch: &Batch| {
        world.engine.meta.apply(batch).expect("apply");
        world.runtime.block_on(world.engine.check()).expect("check").findings
    };
    assert_eq!(findings(&Batch::new()), [""; 0]);
    let key = super::super::records::frame_key(frame);
    type Change<'a> = &'a dyn Fn(&mut Batch, i64);
    let wrong: [(&str, Change<'_>); 4] = [
        ("is used", &|batch, sign| batch.add(Column::FrameRef, &key, FrameUse { refs: sign, bytes: 0 }.packed())),
        ("live bytes", &|batch, sign| batch.add(Column::Segment, &segment_key(frame.segment), sign)),
        ("in the store", &|batch, sign| batch.add(Column::System, crate::system::BYTES, sign)),
        ("in the store", &|batch, sign| batch.add(Column::System, crate::system::INODES, sign)),
    ];
    for (what, change) in wrong {
        let (mut there, mut back) = (Batch::new(), Batch::new());
        change(&mut there, 1);
        change(&mut back, -1);
        let found = findings(&there);
        assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        assert_eq!(findings(&back), [""; 0]);
    }
    let mut lost = Batch::new();
    lost.delete(Column::Extent, &extent_key(inos[0].0, 0));
    assert!(findings(&lost).len() >= 3, "allocated bytes, use, live bytes, total");
}
