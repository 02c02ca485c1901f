//! [`Pool`]: made, opened, and used as a [`BlobStore`].

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use objstore_base::{BlobClass, BlobId, BlobStat, BlobStore, BoxFuture, Capacity, Error, ErrorKind, Result};
use objstore_env::Env;
use objstore_erasure::Codec;
use objstore_shard::{Drive, LocalDrive};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::heal_log::HealLog;
use crate::latency::Latency;
use crate::layout::Layout;
use crate::locks::BlobLocks;
use crate::slot::Slot;
use crate::status::Counters;
use crate::straggler::{Background, Room, Stragglers};
use crate::{BlobDescription, HealProgress, HealReport, PoolConfig, PoolStatus};

/// Layouts kept: about 200 bytes each, so a few MiB for a pool of a million segments (64 TiB).
const LAYOUTS_MAX: usize = 16 << 10;

/// Blobs on drives. Cheap to share by reference; all methods may run at once.
pub struct Pool {
    inner: Arc<Inner>,
    stop: tokio::sync::watch::Sender<bool>,
}

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) config: PoolConfig,
    pub(crate) codec: Arc<Codec>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) heal_log: Arc<HealLog>,
    pub(crate) locks: Arc<BlobLocks>,
    pub(crate) stragglers: Stragglers,
    pub(crate) background: Background,
    pub(crate) counters: Counters,
    pub(crate) latency: Mutex<Latency>,
    pub(crate) layouts: Cache<BlobId, Arc<Layout>>,
    pub(crate) read_room: Room,
    pub(crate) write_room: Room,
    /// Counts mounts: a layout found before the last one may lack shards.
    topology: AtomicU64,
    /// Counts changes of blobs: a layout found during one is not kept.
    pub(crate) changes: AtomicU64,
}

impl Pool {
    /// Initialises every drive and opens the pool. Repeating a creation that was cut short completes it.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work; `NotEmpty`, `NotDirectory`, `Mismatch` for a directory
    /// that cannot become that drive. Nothing is changed on any drive then.
    pub async fn create(env: Env, config: PoolConfig) -> Result<Self> {
        config.validate()?;
        for (slot, path) in config.drives.iter().enumerate() {
            LocalDrive::check_init(&env, path.clone(), config.uuid, slot as u16).await?;
        }
        for (slot, path) in config.drives.iter().enumerate() {
            LocalDrive::init(&env, path.clone(), config.uuid, slot as u16).await?;
        }
        Self::open(env, config).await
    }

    /// Opens the pool; up to m drives may be missing ([`Self::status`] and the log say which).
    ///
    /// # Errors
    /// `InvalidArgument`; `Mismatch`, `NotDirectory`, `NewerFormat`, `StoreLocked` where a drive is somebody else's;
    /// `Unavailable` naming all missing drives where more than m are.
    pub async fn open(env: Env, config: PoolConfig) -> Result<Self> {
        config.validate()?;
        let codec = Codec::new(config.k, config.m)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, "configure pool").source(e))?;
        let slots = open_slots(&env, &config).await?;
        let (log_env, dir, uuid) = (env.clone(), config.heal_dir.clone(), config.uuid);
        let heal_log = env.blocking(move || HealLog::open(&log_env, &dir, uuid)).await?;
        let (read_room, write_room) = (Room::new(config.in_flight_bytes_max), Room::new(config.in_flight_bytes_max));
        let inner = Inner {
            env,
            config,
            codec: Arc::new(codec),
            slots,
            heal_log: Arc::new(heal_log),
            locks: Arc::default(),
            stragglers: Stragglers::default(),
            background: Background::default(),
            counters: Counters::default(),
            latency: Mutex::default(),
            layouts: Cache::new(LAYOUTS_MAX),
            read_room,
            write_room,
            topology: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), stop: tokio::sync::watch::Sender::new(false) })
    }

    pub fn config(&self) -> &PoolConfig {
        &self.inner.config
    }

    pub async fn status(&self) -> PoolStatus {
        self.inner.status().await
    }

    /// Which shard of `id` is on which drive, and how it is: every shard is read and verified.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn describe(&self, id: BlobId) -> Result<BlobDescription> {
        self.inner.describe(id).await
    }

    /// Scrubs one blob: as [`Self::describe`], and what is missing or corrupt goes on the heal list.
    ///
    /// # Errors
    /// `NotFound`; what the heal list's disk says.
    pub async fn verify(&self, id: BlobId) -> Result<BlobDescription> {
        self.inner.scrub(id).await
    }

    /// Brings missing drives back, re-initialising missing or empty directories, and gives every blob all its shards,
    /// each read back after it was written. `progress` is called after each blob.
    ///
    /// # Errors
    /// Where the pool as a whole cannot be listed. A blob that cannot be healed is in the report.
    pub async fn heal(&self, progress: impl Fn(&HealProgress) + Send + Sync) -> Result<HealReport> {
        self.inner.heal(&progress).await
    }

    /// Heals what is on the heal list only.
    ///
    /// # Errors
    /// As [`Self::heal`].
    pub async fn heal_listed(&self) -> Result<HealReport> {
        self.inner.heal_listed().await
    }

    /// Starts the worker that heals what is on the heal list by itself, every half minute while all drives are well.
    pub fn start(&self) {
        let (inner, stop) = (Arc::clone(&self.inner), self.stop.subscribe());
        self.inner.background.spawn(&self.inner.env, "pool.healer", inner.healer(stop));
    }

    /// Ends the healer and waits for it and for writes that outlived their put. Nothing of the pool runs afterwards
    /// until it is used again.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.inner.background.drain().await;
    }
}

impl BlobStore for Pool {
    fn put(&self, id: BlobId, parts: Vec<Bytes>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.put(id, parts))
    }

    fn make_whole(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.make_whole(id))
    }

    fn get(&self, id: BlobId, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(self.inner.get(id, range))
    }

    fn stat(&self, id: BlobId) -> BoxFuture<'_, Result<BlobStat>> {
        Box::pin(self.inner.stat(id))
    }

    fn delete(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.delete(id))
    }

    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        Box::pin(self.inner.list(class, after, limit))
    }

    fn capacity(&self) -> BoxFuture<'_, Result<Capacity>> {
        Box::pin(self.inner.capacity())
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    pub(crate) fn hedge_delay(&self) -> Duration {
        self.latency.lock().hedge_delay()
    }

    /// Slot numbers come from this pool's own list, so that they are always inside it.
    pub(crate) fn slot(&self, number: u16) -> &Slot {
        &self.slots[usize::from(number)]
    }

    /// The drives' paths, for messages.
    pub(crate) fn places(&self, slots: &[u16]) -> String {
        let place = |slot: &u16| {
            let slot = self.slot(*slot);
            match slot.why_away() {
                Some(why) => format!("{} ({why})", slot.path.display()),
                None => slot.path.display().to_string(),
            }
        };
        slots.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn topology(&self) -> u64 {
        self.topology.load(Ordering::Acquire)
    }

    pub(crate) fn topology_changed(&self) {
        self.topology.fetch_add(1, Ordering::AcqRel);
    }

    async fn stat(&self, id: BlobId) -> Result<BlobStat> {
        let layout = self.locate(id).await?;
        Ok(BlobStat { len: layout.stripe.blob_len() })
    }
}

/// Opens every drive; one that is not there leaves an empty slot, one that is somebody else's stops the pool.
async fn open_slots(env: &Env, config: &PoolConfig) -> Result<Vec<Slot>> {
    let numbered = || (0_u16..).zip(&config.drives);
    let opened = join_all(numbered().map(|(slot, path)| mount(env, path.clone(), config, slot))).await;
    let mut slots = Vec::new();
    let mut away = Vec::new();
    for ((number, path), drive) in numbered().zip(opened) {
        let slot = Slot::away(number, path.clone(), String::new());
        match drive {
            Ok(drive) => {
                let space = drive.space().await.ok();
                slot.mount(drive, space);
            }
            Err(e) if is_refusal(e.kind()) => return Err(e),
            Err(error) => {
                tracing::warn!(drive = %path.display(), %error, "drive is missing: the pool runs degraded");
                away.push(error.to_string());
                slot.unmount(error.to_string());
            }
        }
        slots.push(slot);
    }
    if away.len() > config.m {
        let why = format!("{} drives are missing, code {}+{} bears {}", away.len(), config.k, config.m, config.m);
        return Err(Error::new(ErrorKind::Unavailable, "open pool").context(format!("{why}: {}", away.join("; "))));
    }
    Ok(slots)
}

pub(crate) async fn mount(env: &Env, path: PathBuf, config: &PoolConfig, slot: u16) -> Result<Arc<dyn Drive>> {
    Ok(Arc::new(LocalDrive::open(env, path, config.uuid, slot).await?))
}

/// An operator's mistake rather than a lost drive: going on would spread it.
pub(crate) const fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Mismatch | ErrorKind::NotDirectory | ErrorKind::NewerFormat | ErrorKind::StoreLocked)
}
