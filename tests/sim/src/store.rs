//! [`SimStore`]: everything below the doors, on a simulated machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_journal::JournalConfig;
use cache_writeback::{Compression, DiskReserve, WriteBackConfig};
use fs_engine::{Engine, EngineConfig};
use fs_meta::DurableImage;
use objstore_base::{BlobStore, Error, Result};
use objstore_env::sim::{SimDisk, SimWorld, Survival};
use objstore_env::{Disk, Failpoints, Rng};
use objstore_pool::{Pool, PoolConfig};
use objstore_shard::PoolUuid;

use crate::CommitLog;

pub(crate) const DRIVES: usize = 6;
const POOL_UUID: [u8; 16] = *b"simulated drives";

/// What differs from store to store; small, so that everything fills, rolls and is evicted within a hundred
/// operations.
#[derive(Clone, Debug)]
pub struct Settings {
    pub segment_bytes: u64,
    pub cache_bytes_max: u64,
    pub dirty_bytes_max: u64,
    pub gather_bytes_max: usize,
    pub upload_delay: Duration,
    pub compression: Compression,
    pub inode_cache_entries: usize,
    pub index_unflushed_bytes_max: u64,
}

impl Settings {
    /// One of many mixtures.
    pub fn random(rng: &dyn Rng) -> Self {
        let one_of = |choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
        Self {
            segment_bytes: one_of(&[512 << 10, 1 << 20]),
            cache_bytes_max: one_of(&[1 << 20, 4 << 20, 64 << 20]),
            dirty_bytes_max: 32 << 20,
            gather_bytes_max: one_of(&[16 << 10, 256 << 10, 64 << 20]) as usize,
            upload_delay: Duration::from_millis(one_of(&[50, 2000, 30_000])),
            compression: match rng.below(3) {
                0 => Compression::None,
                1 => Compression::Lz4,
                _ => Compression::Zstd { level: 1 },
            },
            inode_cache_entries: one_of(&[1, 64, 4096]) as usize,
            index_unflushed_bytes_max: one_of(&[1, 4 << 10, 64 << 20]),
        }
    }
}

/// A store that runs, and the machine that it runs on.
pub struct SimStore {
    world: SimWorld,
    image: DurableImage,
    settings: Settings,
    commits: Arc<CommitLog>,
    running: Option<Running>,
}

struct Running {
    engine: Arc<Engine>,
    pool: Arc<Pool>,
    /// The last record that the start found.
    recovered_lsn: u64,
}

impl SimStore {
    /// A new store on a new machine.
    ///
    /// # Errors
    /// It does not open: a finding.
    pub fn new(seed: u64, settings: Settings) -> Result<Self> {
        Self::with_failpoints(seed, settings, Failpoints::none())
    }

    /// As `new`; the failpoints are asked from the first start on.
    ///
    /// # Errors
    /// It does not open.
    pub fn with_failpoints(seed: u64, settings: Settings, failpoints: Failpoints) -> Result<Self> {
        let mut world = SimWorld::new(seed);
        for folder in ["/drives", "/pool", "/journal"] {
            let made = world.disk().create_dir_all(Path::new(folder));
            made.map_err(|e| Error::io("make folder on the simulated disk", e))?;
        }
        world.disk().settle();
        world.set_failpoints(failpoints);
        let mut store = Self { world, image: DurableImage::new(), settings, commits: Arc::default(), running: None };
        store.world.run(Pool::create(store.world.env(), store.pool_config()))?;
        store.start(true)?;
        Ok(store)
    }

    pub const fn world(&self) -> &SimWorld {
        &self.world
    }

    pub const fn disk(&self) -> &SimDisk {
        self.world.disk()
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.running.as_ref().expect("a store runs between starts").engine
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.running.as_ref().expect("a store runs between starts").pool
    }

    /// The last LSN that the last start found; it may have added a few of its own.
    pub fn recovered_lsn(&self) -> u64 {
        self.running.as_ref().expect("a store runs between starts").recovered_lsn
    }

    pub fn commits(&self) -> &CommitLog {
        &self.commits
    }

    /// Stops the engine as an unmount does, and starts it again.
    ///
    /// # Errors
    /// It does not stop, or does not open: a finding, unless the power went meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        let engine = Arc::clone(self.engine());
        self.world.run(engine.stop())?;
        self.world.run(self.pool().stop());
        drop(engine);
        self.running = None;
        self.start(false)
    }

    /// Kills everything at once, keeps of the disk what `survival` says, and starts again.
    ///
    /// # Errors
    /// It does not open: a finding, unless a fault was armed.
    pub fn crash(&mut self, survival: Survival) -> Result<()> {
        self.world.crash(survival);
        self.running = None;
        self.start(false)
    }

    /// As `crash`, but the power goes again after so many changes of the disk, in the middle of the start, if it is
    /// not over by then (F3). The store does not run afterwards; call `crash` next.
    pub fn crash_while_starting(&mut self, survival: Survival, changes: u64) {
        self.world.crash(survival);
        self.running = None;
        self.world.disk().power_off_after(changes);
        if let Err(error) = self.start(false) {
            assert!(self.disk().is_off(), "it does not start: {error}");
        }
        self.running = None;
    }

    fn start(&mut self, create: bool) -> Result<()> {
        let env = self.world.env();
        let pool = Arc::new(self.world.run(Pool::open(env.clone(), self.pool_config()))?);
        let blobs: Arc<dyn BlobStore> = Arc::clone(&pool) as _;
        let engine = Engine::open(env, Arc::new(self.image.open()), blobs, self.engine_config(create))?;
        let recovered_lsn = engine.journal().last().0;
        self.commits.clear();
        engine.start();
        self.running = Some(Running { engine, pool, recovered_lsn });
        Ok(())
    }

    fn pool_config(&self) -> PoolConfig {
        let drives = (0..DRIVES).map(drive_path).collect();
        let config = PoolConfig::new(PoolUuid(POOL_UUID), 4, 2, drives, PathBuf::from("/pool"));
        PoolConfig { cell_bytes: 64 << 10, ..config }
    }

    fn engine_config(&self, create: bool) -> EngineConfig {
        let settings = &self.settings;
        let journal = JournalConfig {
            create,
            segment_bytes: settings.segment_bytes,
            unsynced_bytes_max: 1 << 20,
            cache_bytes_max: settings.cache_bytes_max,
            ..JournalConfig::new("/journal", *b"simulated store!")
        };
        let write_back = WriteBackConfig {
            compression: settings.compression,
            upload_delay: settings.upload_delay,
            small_segment_bytes: 0,
            disk_reserve: DiskReserve { bytes_min: 0, percent: 0 },
            ..WriteBackConfig::new(settings.dirty_bytes_max)
        };
        EngineConfig {
            gather_bytes_max: settings.gather_bytes_max,
            inode_cache_entries: settings.inode_cache_entries,
            dentry_cache_entries: settings.inode_cache_entries,
            index_unflushed_bytes_max: settings.index_unflushed_bytes_max,
            root_mode: 0o777,
            observer: Some(Arc::clone(&self.commits) as _),
            ..EngineConfig::new(journal, write_back)
        }
    }
}

pub(crate) fn drive_path(drive: usize) -> PathBuf {
    PathBuf::from(format!("/drives/{drive}"))
}
