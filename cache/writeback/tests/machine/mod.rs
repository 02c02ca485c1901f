//! A simulated machine with a journal, a store that can be slow, failing or away, and a write-back between them.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_journal::{FrameData, FrameId, FrameNo, Journal, JournalConfig, Lsn, SegmentId, SegmentState};
use cache_writeback::{DiskReserve, Liveness, SegmentBlobs, WriteBack, WriteBackConfig};
use objstore_base::{
    BlobClass, BlobId, BlobStat, BlobStore, BoxFuture, Capacity, Error, ErrorKind, MemoryBlobStore, Result,
};
use objstore_env::sim::SimWorld;
use objstore_env::{Clock, Env, Rng};
use parking_lot::Mutex;

pub const JOURNAL_DIR: &str = "/data/journal";
pub const KIB: u64 = 1 << 10;

/// How the store treats the next puts.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub put_ms_max: u64,
    pub fail_percent: u64,
}

pub const CALM: Weather = Weather { put_ms_max: 0, fail_percent: 0 };

/// A store that writes down what it was asked for.
pub struct SlowStore {
    pub inner: MemoryBlobStore,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    weather: Mutex<Weather>,
    pub begun: Mutex<Vec<BlobId>>,
    pub done: Mutex<Vec<BlobId>>,
    running: AtomicU64,
    pub running_max: AtomicU64,
}

impl SlowStore {
    pub fn new(env: &Env) -> Self {
        Self::around(MemoryBlobStore::new(), env)
    }

    pub fn around(inner: MemoryBlobStore, env: &Env) -> Self {
        Self {
            inner,
            clock: env.clock.clone(),
            rng: env.rng.clone(),
            weather: Mutex::new(CALM),
            begun: Mutex::default(),
            done: Mutex::default(),
            running: AtomicU64::new(0),
            running_max: AtomicU64::new(0),
        }
    }

    pub fn set_weather(&self, weather: Weather) {
        *self.weather.lock() = weather;
    }
}

struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BlobStore for SlowStore {
    fn put(&self, id: BlobId, parts: Vec<Bytes>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let weather = *self.weather.lock();
            self.begun.lock().push(id);
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            let running = Running(&self.running);
            self.running_max.fetch_max(now, Ordering::SeqCst);
            if weather.put_ms_max > 0 {
                self.clock.sleep(Duration::from_millis(self.rng.below(weather.put_ms_max))).await;
            }
            // Half of the failures happen after the effect: the reply was lost.
            let failing = self.rng.below(100) < weather.fail_percent;
            if !failing || self.rng.below(2) == 0 {
                self.inner.put(id, parts).await?;
            }
            drop(running);
            if failing {
                return Err(Error::new(ErrorKind::TimedOut, "put blob").entity(id));
            }
            self.done.lock().push(id);
            Ok(())
        })
    }

    fn make_whole(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        self.inner.make_whole(id)
    }

    fn get(&self, id: BlobId, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.inner.get(id, range)
    }

    fn stat(&self, id: BlobId) -> BoxFuture<'_, Result<BlobStat>> {
        self.inner.stat(id)
    }

    fn delete(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        self.inner.delete(id)
    }

    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        self.inner.list(class, after, limit)
    }

    fn capacity(&self) -> BoxFuture<'_, Result<Capacity>> {
        self.inner.capacity()
    }
}

/// Batches of these tests are names of frames that the record kills.
#[derive(Default)]
pub struct KillList {
    /// Killed, but a snapshot still names them.
    pub kept: Mutex<BTreeSet<FrameId>>,
    pub dead: Mutex<BTreeSet<FrameId>>,
}

impl Liveness for KillList {
    fn is_live(&self, frame: FrameId) -> Result<bool> {
        Ok(self.kept.lock().contains(&frame) || !self.dead.lock().contains(&frame))
    }

    fn killed_by(&self, segment: SegmentId, batch: &[u8], killed: &mut dyn FnMut(FrameNo)) -> Result<()> {
        for name in batch.as_chunks::<12>().0 {
            let (at, frame) = name.split_at(8);
            if at == segment.0.to_le_bytes() {
                killed(FrameNo(u32::from_le_bytes(frame.try_into().expect("four bytes"))));
            }
        }
        Ok(())
    }
}

/// A batch that kills one frame.
pub fn death_of(frame: FrameId) -> Vec<u8> {
    [&frame.segment.0.to_le_bytes()[..], &frame.frame.0.to_le_bytes()].concat()
}

pub struct Machine {
    pub world: SimWorld,
    pub env: Env,
    pub journal: Arc<Journal>,
    pub store: Arc<SlowStore>,
    pub liveness: Arc<KillList>,
    pub writeback: Arc<WriteBack>,
    pub written: Mutex<Vec<(FrameId, Vec<u8>)>>,
}

/// 4 MiB of dirty data in segments of 256 KiB; uploads let nobody go first.
pub fn small_config() -> WriteBackConfig {
    let disk_reserve = DiskReserve { bytes_min: 0, percent: 0 };
    let busy_delay = Duration::ZERO;
    WriteBackConfig { small_segment_bytes: 64 * KIB, busy_delay, disk_reserve, ..WriteBackConfig::new(4096 * KIB) }
}

pub fn journal_config() -> JournalConfig {
    JournalConfig { segment_bytes: 256 * KIB, cache_bytes_max: 8192 * KIB, ..JournalConfig::new(JOURNAL_DIR, [9; 16]) }
}

impl Machine {
    pub fn new(config: WriteBackConfig) -> Self {
        Self::on(SimWorld::new(seed()), None, config)
    }

    pub fn on(world: SimWorld, pool: Option<MemoryBlobStore>, config: WriteBackConfig) -> Self {
        let env = world.env();
        let opened = Journal::open(env.clone(), journal_config(), Lsn::ZERO, &mut |_, _| Ok(()));
        let (journal, _) = opened.expect("the journal opens");
        let store = Arc::new(SlowStore::around(pool.unwrap_or_default(), &env));
        let liveness = Arc::new(KillList::default());
        let writeback = WriteBack::new(env.clone(), journal.clone(), store.clone(), liveness.clone(), config);
        Self { world, env, journal, store, liveness, writeback, written: Mutex::default() }
    }

    /// One record with one frame of `len` bytes; it kills `killed`.
    pub fn append(&self, len: usize, killed: &[FrameId]) -> FrameId {
        let bytes = noise(len, self.env.rng.next_u64());
        let mut id = None;
        let frame = FrameData { ino: 5, offset: 0, bytes: &bytes, origin: None };
        let appended = self.journal.append(&[frame], &mut |ids, batch| {
            id = ids.first().copied();
            killed.iter().for_each(|frame| batch.extend_from_slice(&death_of(*frame)));
        });
        appended.expect("the journal takes it");
        let id = id.expect("one frame has one id");
        self.written.lock().push((id, bytes));
        id
    }

    /// A record without frames, as a delete is.
    pub fn append_metadata(&self, batch: &[u8]) -> Lsn {
        self.journal.append(&[], &mut |_, out| out.extend_from_slice(batch)).expect("the journal takes it").lsn
    }

    /// Appends until so many segments are sealed.
    pub fn fill(&self, segments: usize) {
        while self.sealed() < segments {
            self.append(32 << 10, &[]);
            self.journal.commit(self.journal.last()).expect("the disk is sound");
        }
    }

    pub fn sealed(&self) -> usize {
        self.journal.segments().iter().filter(|s| s.state != SegmentState::Active).count()
    }

    pub fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// Panics unless the uploaded segments are the first ones.
    pub fn assert_marked_in_order(&self) {
        let states: Vec<SegmentState> = self.journal.segments().iter().map(|s| s.state).collect();
        let first_dirty = states.iter().position(|s| *s != SegmentState::Uploaded).unwrap_or(states.len());
        assert!(states[first_dirty..].iter().all(|s| *s != SegmentState::Uploaded), "{states:?}");
    }

    /// Every frame written so far is in the pool, byte for byte.
    pub fn assert_pool_holds_everything(&self) {
        let blobs = SegmentBlobs::new(self.store.clone(), 1 << 20);
        for (id, bytes) in self.written.lock().iter() {
            let read = self.world.run(blobs.read_frames(id.segment, &[id.frame]));
            assert!(read.expect("it is in the pool")[0].1 == bytes, "{id} came back changed");
        }
    }
}

pub fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// `SEED=` repeats a run; it is printed when a test fails.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    println!("SEED={seed}");
    seed
}
