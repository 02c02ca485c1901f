//! Files of every released format version stay readable, and this version still writes its own, byte for byte.
#![allow(clippy::disallowed_methods, reason = "tests read their golden files")]

mod harness;

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use cache_journal::{FrameData, FrameId, FrameNo, JournalConfig, Lsn, SegmentId, SegmentState, segment_file_name};
use harness::*;
use objstore_env::OpenMode;
use objstore_env::sim::SimWorld;

const DIR: &str = "/journal";

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 128 << 10, ..JournalConfig::new(DIR, UUID) }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A batch alone, a small frame, two frames that go directly (one of them a compaction copy), the seal.
fn write_sample(world: &SimWorld) -> Vec<u8> {
    let log = open(&world.env(), &config(), Lsn::ZERO).unwrap();
    let journal = log.journal;
    append_batch(&journal, b"alone");
    let (small, a, b) = (pattern(1, 100), pattern(2, 16_385), pattern(3, 20_000));
    let frame = |ino, bytes, origin| FrameData { ino, offset: 4096, bytes, origin };
    journal.append(&[frame(7, &small, None)], &mut |_, out| out.extend_from_slice(b"small")).unwrap();
    journal.commit(Lsn(2)).unwrap();
    let origin = Some(FrameId::new(SegmentId(900), FrameNo(3)));
    let frames = [frame(8, &a, None), frame(9, &b, origin)];
    journal.append(&frames, &mut |_, out| out.extend_from_slice(b"direct")).unwrap();
    assert_eq!(journal.seal().unwrap(), Some(SegmentId(1)));
    world.env().disk.read_file(&Path::new(DIR).join(segment_file_name(SegmentId(1))), 1 << 20).unwrap()
}

#[test]
fn this_version_writes_what_it_wrote_when_it_was_released() {
    let written = write_sample(&SimWorld::new(1));
    let path = golden("segment-v1.tgj");
    if std::env::var_os("TIDEGATE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let released = std::fs::read(&path).unwrap();
    let differs = written.iter().zip(&released).position(|(a, b)| a != b);
    assert_eq!((differs, written.len()), (None, released.len()), "the format changed: give it a new version");
}

#[test]
fn version_1_is_read() {
    let world = SimWorld::new(2);
    let disk = world.env().disk;
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let file = disk.open(&Path::new(DIR).join(segment_file_name(SegmentId(1))), OpenMode::CreateNew).unwrap();
    file.write_all_at(&[IoSlice::new(&std::fs::read(golden("segment-v1.tgj")).unwrap())], 0).unwrap();
    let log = open(&world.env(), &config(), Lsn::ZERO).unwrap();
    let batches: Vec<_> = log.replayed.iter().map(|(lsn, batch)| (*lsn, batch.as_slice())).collect();
    assert_eq!(batches, [(1, &b"alone"[..]), (2, b"small"), (3, b"direct")]);
    let info = log.journal.segment(SegmentId(1)).unwrap();
    assert_eq!((info.state, info.frames, info.frame_bytes), (SegmentState::Sealed, 3, 36_485));
    for (no, seed, len) in [(0, 1, 100), (1, 2, 16_385), (2, 3, 20_000)] {
        let read = read_all(&log.journal, FrameId::new(SegmentId(1), FrameNo(no))).unwrap();
        assert_eq!(read, Some(pattern(seed, len)));
    }
    let reader = log.journal.sealed(SegmentId(1)).unwrap();
    let copy = reader.frames().get(FrameNo(2)).unwrap();
    assert_eq!((copy.ino, copy.offset), (9, 4096));
    assert_eq!(copy.origin, Some(FrameId::new(SegmentId(900), FrameNo(3))));
}
