//! The same code on a real disk with real threads: writers, worker, flushes and readers at once.
#![allow(clippy::disallowed_methods, reason = "real threads, a real disk, and a stopwatch")]

use std::sync::Arc;
use std::time::Duration;

use cache_journal::{FrameData, FrameId, Journal, JournalConfig, Lsn};
use cache_writeback::{
    Compression, DiskReserve, Lineage, Liveness, SegmentBlobs, WriteBack, WriteBackConfig, build_blob,
};
use objstore_base::{MemoryBlobStore, Result};
use objstore_env::{Env, real};
use tokio::runtime::{Builder, Runtime};

const PATIENCE: Duration = Duration::from_secs(30);

struct AllLive;

impl Liveness for AllLive {
    fn is_live(&self, _: FrameId) -> Result<bool> {
        Ok(true)
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("threads")
}

fn journal(env: &Env, dir: &tempfile::TempDir, segment_bytes: u64) -> Arc<Journal> {
    let config = JournalConfig { segment_bytes, ..JournalConfig::new(dir.path(), [3; 16]) };
    Journal::open(env.clone(), config, Lsn::ZERO, &mut |_, _| Ok(())).expect("a writable folder").0
}

fn bytes_of(writer: u64, n: u64, len: usize) -> Vec<u8> {
    let mut state = writer << 32 | n;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn append(journal: &Journal, bytes: &[u8]) -> FrameId {
    let mut id = None;
    let frame = FrameData { ino: 1, offset: 0, bytes, origin: None };
    let appended = journal.append(&[frame], &mut |ids, batch| {
        id = ids.first().copied();
        batch.extend_from_slice(b"a change of some file, as long as such a batch is");
    });
    appended.expect("the disk has room");
    id.expect("one frame has one id")
}

#[test]
fn writers_on_many_threads_go_through_a_small_cache_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let env = real::env(runtime.handle().clone()).expect("a machine with chance");
    let journal = journal(&env, &dir, 256 << 10);
    let store = Arc::new(MemoryBlobStore::new());
    let disk_reserve = DiskReserve { bytes_min: 0, percent: 0 };
    let config = WriteBackConfig { disk_reserve, ..WriteBackConfig::new(2 << 20) };
    let writeback = WriteBack::new(env, journal.clone(), store.clone(), Arc::new(AllLive), config);
    writeback.start();
    let written = runtime.block_on(async {
        let writers: Vec<_> = (0..8_u64)
            .map(|writer| {
                let (writeback, journal) = (writeback.clone(), journal.clone());
                runtime.spawn(async move {
                    let mut written = Vec::new();
                    for n in 0..60 {
                        let bytes = bytes_of(writer, n, 10_000 + (n as usize * 997) % 30_000);
                        writeback.admit(bytes.len() as u64, PATIENCE).await.expect("uploads make room");
                        written.push((append(&journal, &bytes), n));
                        if n % 7 == 0 {
                            journal.commit_async(journal.last()).await.expect("the disk is sound");
                        }
                        if n == 30 {
                            writeback.flush().await.expect("the store is up");
                        }
                    }
                    written
                })
            })
            .collect();
        let mut all = Vec::new();
        for (writer, task) in writers.into_iter().enumerate() {
            all.push((writer as u64, task.await.expect("no writer failed")));
        }
        writeback.flush().await.expect("the store is up");
        writeback.stop().await;
        all
    });
    let status = writeback.status();
    assert_eq!((status.dirty_bytes, status.in_pool, status.last_error.clone()), (0, status.last, None), "{status:?}");
    assert!(status.totals.segments >= 40, "{status:?}");
    let blobs = SegmentBlobs::new(store, 1 << 20);
    runtime.block_on(async {
        for (writer, frames) in written {
            for (id, n) in frames {
                let read = blobs.read_frames(id.segment, &[id.frame]).await.expect("it is in the pool");
                assert!(read[0].1 == bytes_of(writer, n, 10_000 + (n as usize * 997) % 30_000), "{id}");
            }
        }
    });
}

/// `TIDEGATE_DEEP=1 cargo nextest run -p cache-writeback --no-capture pace_of_building`: MB/s of one core.
#[test]
fn pace_of_building_and_reading_a_blob() {
    let deep = std::env::var_os("TIDEGATE_DEEP").is_some();
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let env = real::env(runtime.handle().clone()).expect("a machine with chance");
    let segment_bytes = if deep { 64 << 20 } else { 2 << 20 };
    let journal = journal(&env, &dir, segment_bytes);
    let noise = bytes_of(1, 1, 1 << 20);
    let text: Vec<u8> = (0_u64..100_000)
        .flat_map(|n| format!("{} inode {} offset {:x};", n, n * 37 % 1013, n * n).into_bytes())
        .collect();
    for (name, source) in [("text", &text), ("noise", &noise)] {
        for frame_bytes in [256 << 10, 4096] {
            // A new segment, filled with this.
            journal.seal().expect("a sound disk");
            let mut at = 0;
            for _ in 0..segment_bytes / 10 * 8 / frame_bytes as u64 {
                at = if at + frame_bytes > source.len() { at % 977 } else { at };
                append(&journal, &source[at..at + frame_bytes]);
                at += frame_bytes;
            }
            let segment = journal.seal().expect("a sound disk").expect("it holds something");
            let reader = journal.sealed(segment).expect("it is sealed");
            for compression in
                [Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }, Compression::Zstd { level: 3 }]
            {
                let began = cpu_time();
                let blob = build_blob(&reader, Lineage::default(), &AllLive, compression).expect("it is sound");
                let built = mb_per_s(blob.raw_bytes, cpu_time() - began);
                let (raw, len, parts) = (blob.raw_bytes, blob.len, blob.parts);
                let store = Arc::new(MemoryBlobStore::new());
                let (read, frames) = runtime.block_on(async {
                    use objstore_base::{BlobId, BlobStore};
                    store.put(BlobId::segment(segment.0), parts).await.expect("room");
                    let blobs = SegmentBlobs::new(store.clone(), 8 << 20);
                    let table = blobs.table(segment).await.expect("sound");
                    let numbers: Vec<_> = table.frames().iter().map(|f| f.frame).collect();
                    let began = cpu_time();
                    let frames = blobs.read_frames(segment, &numbers).await.expect("sound");
                    (mb_per_s(raw, cpu_time() - began), frames)
                });
                assert_eq!(frames.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>(), raw);
                let ratio = raw as f64 / len as f64;
                println!(
                    "{name} {frame_bytes} {compression:?}: build {built} MB/s, read {read} MB/s, ratio {ratio:.2}"
                );
                assert!(name == "noise" || compression == Compression::None || ratio > 1.5, "{ratio}");
            }
        }
    }
}

/// What this thread has spent of its core: other programs do not count.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps it");
    let nanos = stat.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("the first field is a number"))
}

fn mb_per_s(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64().max(1e-6) / 1e6) as u64
}
