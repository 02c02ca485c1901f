//! [`SimStore`]: everything below the doors, on a simulated machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cache_journal::{Journal, JournalConfig, Lsn, SegmentId};
use cache_writeback::{Compression, DiskReserve, WriteBackConfig};
use fs_engine::{Engine, EngineConfig, RecoverReport, begin_timeline, recover};
use fs_meta::DurableImage;
use objstore_base::{BlobStore, Error, Result};
use objstore_env::sim::{SimDisk, SimWorld, Survival};
use objstore_env::{Disk, Failpoints, Rng};
use objstore_pool::{Pool, PoolConfig};
use objstore_shard::PoolUuid;

use crate::CommitLog;

pub(crate) const DRIVES: usize = 6;
const JOURNAL: &str = "/journal";
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

/// What is lost beside what a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The index; the journal is replayed on top of what the pool has.
    Index,
    /// The journal as well: the store goes on from the pool alone, in a timeline of its own.
    Machine,
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
        for folder in ["/drives", "/pool", JOURNAL] {
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

    /// As `crash`, and of what is local `loss` is gone too: the index is recovered by a program of its own, as `tidegate
    /// recover` is, and the power goes once more when it has ended.
    ///
    /// # Errors
    /// It is not recovered, or does not open: a finding, unless a fault was armed. The store does not run then; what is
    /// left of it can be lost again.
    pub fn lose(&mut self, loss: Loss, survival: Survival) -> Result<RecoverReport> {
        self.forget(survival);
        let report = self.recover(loss)?;
        self.crash(survival)?;
        Ok(report)
    }

    /// As `lose`, but the power goes after so many changes of the disk, in the middle of the recovery, if it is not over
    /// by then. The store does not run afterwards; call `lose` next.
    pub fn lose_while_recovering(&mut self, loss: Loss, survival: Survival, changes: u64) {
        self.forget(survival);
        self.world.disk().power_off_after(changes);
        if let Err(error) = self.recover(loss) {
            assert!(self.disk().is_off(), "it is not recovered: {error}");
        }
    }

    /// Crashes, and the index is gone.
    fn forget(&mut self, survival: Survival) {
        self.world.crash(survival);
        self.running = None;
        self.image = DurableImage::new();
    }

    fn recover(&self, loss: Loss) -> Result<RecoverReport> {
        let (env, journal) = (self.world.env(), self.engine_config(false).journal);
        if loss == Loss::Machine {
            self.remove_journal().map_err(|e| Error::io("lose the journal", e))?;
        }
        let pool = Arc::new(self.world.run(Pool::open(env.clone(), self.pool_config()))?);
        let index = self.image.open();
        let report = self.world.run(recover(&index, Arc::clone(&pool) as _))?;
        if loss == Loss::Machine {
            let begun = self.world.run(begin_timeline(&index, Arc::clone(&pool) as _, &report))?;
            Journal::begin_after(&env, &journal, Lsn(begun.lsn), SegmentId(begun.last_segment))?;
        }
        Ok(report)
    }

    fn remove_journal(&self) -> io::Result<()> {
        let (disk, dir) = (self.disk(), Path::new(JOURNAL));
        for file in disk.list(dir)? {
            disk.remove_file(&dir.join(file.name))?;
        }
        disk.sync_dir(dir)
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
            ..JournalConfig::new(JOURNAL, *b"simulated store!")
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
