//! The segment blob: what goes in comes out, and what was damaged never comes out as something else.
#![allow(clippy::disallowed_methods, reason = "golden files are read as they are in the checkout")]

use std::sync::Arc;

use bytes::Bytes;
use cache_journal::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId, chunk_crc};
use cache_writeback::{BlobWriter, BuiltBlob, Compression, FrameHead, Lineage, SegmentBlobs, SegmentLink};
use objstore_base::{BlobId, BlobStore, ErrorKind, MemoryBlobStore};
use proptest::prelude::*;

const SEGMENT: SegmentId = SegmentId(7);

#[derive(Debug)]
struct Content {
    batches: Vec<(Lsn, Vec<u8>)>,
    frames: Vec<(FrameNo, Vec<u8>, Option<FrameId>)>,
}

impl Content {
    fn build(&self, compression: Compression) -> BuiltBlob {
        let mut writer = BlobWriter::new(SEGMENT, lineage(), compression).expect("a known level");
        for (lsn, batch) in &self.batches {
            writer.batch(*lsn, batch).expect("ascending");
        }
        for (frame, raw, origin) in &self.frames {
            let chunk_crcs = chunk_crcs(FrameId::new(SEGMENT, *frame), raw);
            let (ino, offset) = (u64::from(frame.0) + 100, u64::from(frame.0) << 18);
            let head = FrameHead { frame: *frame, ino, offset, origin: *origin, chunk_crcs: &chunk_crcs };
            writer.frame(&head, raw).expect("ascending and sound");
        }
        writer.finish().expect("within the limits")
    }
}

fn lineage() -> Lineage {
    let previous = SegmentLink { segment: SegmentId(5), last_lsn: Lsn(39), records_crc: 0x1234_5678 };
    Lineage { timeline: 3, previous: Some(previous) }
}

fn chunk_crcs(id: FrameId, raw: &[u8]) -> Vec<u32> {
    raw.chunks(CHUNK_BYTES).enumerate().map(|(n, chunk)| chunk_crc(id, n as u32, chunk)).collect()
}

fn text(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|n| if n % 37 < 30 { b'a' + salt % 20 } else { (n * 7 + n / 256) as u8 }).collect()
}

fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

async fn stored(parts: Vec<Bytes>) -> (Arc<MemoryBlobStore>, SegmentBlobs) {
    let store = Arc::new(MemoryBlobStore::new());
    store.put(BlobId::segment(SEGMENT.0), parts).await.expect("the store has room");
    let blobs = SegmentBlobs::new(store.clone(), 1 << 20);
    (store, blobs)
}

fn sample() -> Content {
    Content {
        batches: vec![(Lsn(40), b"create a".to_vec()), (Lsn(41), Vec::new()), (Lsn(43), text(900, 3))],
        frames: vec![
            (FrameNo(0), text(1000, 1), None),
            (FrameNo(2), noise(300, 5), Some(FrameId::new(SegmentId(3), FrameNo(9)))),
            (FrameNo(3), text(CHUNK_BYTES + 10, 2), None),
        ],
    }
}

async fn check(blobs: &SegmentBlobs, content: &Content) {
    let numbers: Vec<FrameNo> = content.frames.iter().map(|(frame, ..)| *frame).collect();
    let read = blobs.read_frames(SEGMENT, &numbers).await.expect("a sound blob");
    assert_eq!(read.len(), content.frames.len());
    for ((id, bytes), (frame, raw, _)) in read.iter().zip(&content.frames) {
        assert_eq!(*id, FrameId::new(SEGMENT, *frame));
        assert!(bytes == raw, "frame {} came back changed", frame.0);
    }
    let batches: Vec<_> = blobs.batches(SEGMENT).await.expect("sound").map(|b| b.expect("sound")).collect();
    assert_eq!(batches, content.batches);
    let table = blobs.table(SEGMENT).await.expect("sound");
    for (entry, (frame, raw, origin)) in table.frames().iter().zip(&content.frames) {
        let wanted = (*frame, u64::from(frame.0) + 100, u64::from(frame.0) << 18, *origin, raw.len() as u32);
        assert_eq!((entry.frame, entry.ino, entry.offset, entry.origin, entry.raw_len()), wanted);
    }
}

fn any_content() -> impl Strategy<Value = Content> {
    let len =
        prop_oneof![4 => 1..2000_usize, 1 => 1..=FRAME_BYTES_MAX, 1 => Just(CHUNK_BYTES), 1 => Just(FRAME_BYTES_MAX)];
    let frame = (1..5_u32, len, any::<u64>(), any::<bool>(), any::<bool>());
    let batch = (1..4_u64, 0..3000_usize, any::<u8>());
    (prop::collection::vec(frame, 0..12), prop::collection::vec(batch, 0..12)).prop_map(|(frames, batches)| {
        let mut number = 0;
        let frames = frames.into_iter().map(|(step, len, seed, noisy, moved)| {
            number += step;
            let raw = if noisy { noise(len, seed) } else { text(len, seed as u8) };
            (FrameNo(number), raw, moved.then_some(FrameId::new(SegmentId(seed >> 8), FrameNo(seed as u32))))
        });
        let mut lsn = 0;
        let batches = batches.into_iter().map(|(step, len, salt)| {
            lsn += step;
            (Lsn(lsn), text(len, salt))
        });
        Content { frames: frames.collect(), batches: batches.collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_is_written_is_read(content in any_content(), codec in 0..3_u8) {
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }][codec as usize];
        block_on(async {
            let built = content.build(compression);
            let (_, blobs) = stored(built.parts).await;
            check(&blobs, &content).await;
        });
    }
}

#[test]
fn metadata_of_many_blocks_keeps_its_order() {
    let batches = (1..=300).map(|lsn| (Lsn(lsn), noise(20_000, lsn))).collect();
    let content = Content { batches, frames: vec![(FrameNo(0), text(10, 0), None)] };
    block_on(async {
        let (_, blobs) = stored(content.build(Compression::Lz4).parts).await;
        check(&blobs, &content).await;
    });
}

const CODECS: [(&str, Compression); 3] =
    [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd { level: 1 })];

fn golden(version: u16, name: &str) -> std::path::PathBuf {
    format!("{}/tests/golden/segment-v{version}-{name}.blob", env!("CARGO_MANIFEST_DIR")).into()
}

#[test]
fn version_1_is_read_for_ever() {
    for (name, _) in CODECS {
        let golden = std::fs::read(golden(1, name)).expect("the golden file of version 1");
        block_on(async {
            let (_, blobs) = stored(vec![golden.into()]).await;
            check(&blobs, &sample()).await;
            let head = blobs.head(SEGMENT).await.expect("sound");
            assert_eq!(head.lineage, Lineage { timeline: 1, previous: None }, "before there were timelines");
            assert_eq!((head.first_lsn, head.last_lsn, head.link()), (Lsn(40), Lsn(43), None));
        });
    }
}

#[test]
fn version_2_is_read_for_ever() {
    let content = sample();
    for (name, compression) in CODECS {
        let path = golden(2, name);
        if std::env::var_os("TIDEGATE_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, content.build(compression).parts.concat()).expect("a writable checkout");
        }
        let golden = std::fs::read(&path).expect("the golden file of version 2");
        if compression == Compression::None {
            assert!(golden == content.build(compression).parts.concat(), "the encoder no longer writes version 2");
        }
        block_on(async {
            let (_, blobs) = stored(vec![golden.into()]).await;
            check(&blobs, &content).await;
            let head = blobs.head(SEGMENT).await.expect("sound");
            assert_eq!(head.lineage, lineage());
            assert_eq!(head.link(), Some(content.build(compression).link()));
        });
    }
}

#[test]
fn a_segment_is_named_by_its_records_and_not_by_how_its_blob_was_built() {
    let mut content = sample();
    let link = content.build(Compression::None).link();
    content.frames.remove(0);
    assert_eq!(content.build(Compression::Lz4).link(), link, "a frame that died meanwhile is left out");
    content.batches[1].1 = vec![1];
    assert_ne!(content.build(Compression::Lz4).link(), link);
}

/// Wrong bytes are never served: every byte is flipped in turn, every reader either answers right or fails.
#[test]
fn no_flipped_byte_ever_yields_wrong_bytes() {
    let content = Content {
        batches: vec![(Lsn(1), text(200, 1)), (Lsn(2), text(100, 2))],
        frames: vec![
            (FrameNo(0), text(700, 1), None),
            (FrameNo(1), noise(90, 4), Some(FrameId::new(SegmentId(2), FrameNo(1)))),
        ],
    };
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }] {
        let sound = content.build(compression).parts.concat();
        let mut refused = 0;
        for at in 0..sound.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = sound.clone();
                bad[at] ^= flip;
                refused += usize::from(block_on(survives(&content, bad, at)));
            }
        }
        assert_eq!(refused, sound.len() * 3, "{compression:?}: every byte is covered by a checksum");
    }
}

/// Whether some reader refused the blob; panics if one believed wrong bytes.
async fn survives(content: &Content, bad: Vec<u8>, at: usize) -> bool {
    let (_, blobs) = stored(vec![bad.into()]).await;
    let mut refused = false;
    for (frame, raw, _) in &content.frames {
        match blobs.read_frames(SEGMENT, &[*frame]).await {
            Ok(read) => assert!(read[0].1 == raw, "byte {at}: wrong bytes of frame {}", frame.0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
                assert!(error.to_string().contains("segment 7"), "{error}");
                refused = true;
            }
        }
    }
    let batches = match blobs.batches(SEGMENT).await {
        Ok(batches) => batches.collect::<Result<Vec<_>, _>>(),
        Err(error) => Err(error),
    };
    match batches {
        Ok(batches) => assert!(batches == content.batches, "byte {at}: wrong batches"),
        Err(_) => refused = true,
    }
    refused
}

#[test]
fn every_truncation_is_refused() {
    let content = sample();
    let sound = content.build(Compression::Lz4).parts.concat();
    for len in 0..sound.len() {
        block_on(async {
            let (_, blobs) = stored(vec![sound[..len].to_vec().into()]).await;
            let error = blobs.read_frames(SEGMENT, &[FrameNo(0)]).await.expect_err("the footer is not whole");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error}");
        });
    }
}

#[test]
fn blob_of_another_segment_is_refused() {
    block_on(async {
        let store = Arc::new(MemoryBlobStore::new());
        store.put(BlobId::segment(8), sample().build(Compression::Lz4).parts).await.expect("room");
        let blobs = SegmentBlobs::new(store, 1 << 20);
        let error = blobs.read_frames(SegmentId(8), &[FrameNo(0)]).await.expect_err("it says that it is segment 7");
        assert_eq!(error.kind(), ErrorKind::Mismatch);
    });
}

#[test]
fn missing_blobs_and_frames_are_damage_and_say_which() {
    block_on(async {
        let (store, blobs) = stored(sample().build(Compression::Lz4).parts).await;
        let error = blobs.read_frames(SEGMENT, &[FrameNo(0), FrameNo(1)]).await.expect_err("frame 1 was left out");
        assert_eq!((error.kind(), error.entity_name()), (ErrorKind::Damaged, "frame 7/1"));
        let error = blobs.read_frames(SegmentId(9), &[FrameNo(0)]).await.expect_err("there is no segment 9");
        assert_eq!((error.kind(), error.entity_name()), (ErrorKind::Damaged, "segment 9"));
        store.set_unavailable(true);
        let error = blobs.read_frames(SEGMENT, &[FrameNo(0)]).await.expect_err("the store is away");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "worth a retry");
    });
}

/// A put whose reply came too late was repeated with a blob that was built anew: a frame had died meanwhile.
#[test]
fn the_table_of_a_blob_that_was_put_twice_is_looked_up_again() {
    block_on(async {
        let mut content = sample();
        let (store, blobs) = stored(content.build(Compression::None).parts).await;
        check(&blobs, &content).await;
        content.frames.remove(0);
        store.put(BlobId::segment(SEGMENT.0), content.build(Compression::Lz4).parts).await.expect("room");
        check(&blobs, &content).await;
    });
}

#[test]
fn contiguous_frames_cost_one_get_and_the_table_is_fetched_once() {
    let frames = (0..64).map(|n| (FrameNo(n), noise(64 << 10, u64::from(n)), None)).collect();
    let content = Content { batches: vec![(Lsn(1), vec![1])], frames };
    block_on(async {
        let (store, blobs) = stored(content.build(Compression::Lz4).parts).await;
        let numbers: Vec<FrameNo> = (0..64).map(FrameNo).collect();
        blobs.read_frames(SEGMENT, &numbers).await.expect("sound");
        assert_eq!(store.calls().1, 2, "one get for footer and table, one for the run of 4 MiB");
        let far_apart = [FrameNo(60), FrameNo(2), FrameNo(2), FrameNo(3)];
        let read = blobs.read_frames(SEGMENT, &far_apart).await.expect("sound");
        assert_eq!(read.iter().map(|(id, _)| id.frame).collect::<Vec<_>>(), far_apart);
        assert_eq!(store.calls().1, 4, "a gap of 3 MiB is worth a second get");
    });
}

#[test]
fn rot_between_journal_and_blob_is_not_made_to_look_healthy() {
    let raw = text(5000, 1);
    let chunk_crcs = chunk_crcs(FrameId::new(SEGMENT, FrameNo(4)), &raw);
    let mut rotten = raw;
    rotten[4321] ^= 4;
    let mut writer = BlobWriter::new(SEGMENT, lineage(), Compression::Lz4).expect("no level to get wrong");
    let head = FrameHead { frame: FrameNo(4), ino: 1, offset: 0, origin: None, chunk_crcs: &chunk_crcs };
    let error = writer.frame(&head, &rotten).expect_err("the journal's checksum does not fit");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("frame 4: chunk 0"), "{error}");
}
