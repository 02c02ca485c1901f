//! File bytes: gathering, extents, reading, writing, and what keeps the space they take in order.
//!
//! What the core calls, all on `Engine`; "locked" means: with the inode's stripe held exclusively.
//!
//! | call | when |
//! |---|---|
//! | `read_file`, `write_file`, `fallocate_file`, `seek_file`, `copy_file_range` | the `Vfs` methods of these names, after the handle was looked up and permission decided |
//! | `resize_locked(inode, size, change)` | setattr with a size, open with truncate; gathered writes are settled before |
//! | `free_locked(inode, change)` | the inode record goes (last name, handle and hold): its extents go with it |
//! | `flush_gathered_locked(ino)` | before any other change of that inode, in fsync, flush, release |
//! | `data.gathers.shown(ino)` | wherever attributes are shown |
//! | `encode_edits(change)` | in `apply_frames`, with the gate held, before the journal sees the batch |
//! | `gather_tick()`, `drain_trims(budget)`, `flush_gathered_all()` | by the worker; the last in sync and stop |
//! | `data_on_open()` | after replay, before the first request |

mod ahead;
mod allocate;
mod check;
mod checkpoint;
mod compact;
mod copy;
mod damaged;
mod extents;
mod fetch;
mod forward;
mod gather;
mod image;
mod known;
mod lineage;
mod liveness;
mod pins;
mod read;
mod records;
mod recover;
mod resize;
mod runs;
mod seek;
mod settle;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_journal::SegmentId;
use cache_readcache::{ReadCache, ReadCacheStats};
use cache_writeback::SegmentBlobs;
use fs_api::HandleId;
use futures::future::FutureExt;
use objstore_base::{BlobClass, BlobStore, Error, ErrorKind, Result};
use objstore_env::Env;

pub use check::CheckReport;
pub use checkpoint::CheckpointReport;
pub use compact::Compaction;
pub use damaged::DamagedFile;
use extents::Unnamed;
pub(crate) use extents::{Edit, starting_in};
pub use lineage::{Begun, begin_timeline};
pub(crate) use liveness::liveness;
pub(crate) use records::Extent;
pub use recover::{RecoverReport, recover};
pub(crate) use write::pool_reserve;

use crate::change::Change;
use crate::config::EngineConfig;
use crate::engine::Engine;

/// Memory for the frame tables of segments in the pool: those of about 60 GiB of large files.
const TABLE_CACHE_BYTES: u64 = 24 << 20;

/// How often the pool is asked how much room it has.
const ROOM_TICK: Duration = Duration::from_secs(2);

/// How often compaction looks for work, and the steps it takes then.
const COMPACT_TICK: Duration = Duration::from_secs(5);
const COMPACT_BUDGET: usize = 8;

/// What this module keeps in memory.
pub(crate) struct DataState {
    pub(crate) gathers: gather::Gathers,
    trims: resize::Trims,
    moved: forward::Moved,
    pub(crate) known: known::KnownExtents,
    pins: pins::Pins,
    room: write::Room,
    blobs: Arc<SegmentBlobs>,
    read_cache: Arc<ReadCache>,
    ahead: ahead::ReadAhead,
    /// Reads of local frames that failed and were turned to the pool.
    local_failures: AtomicU64,
    /// One checkpoint at a time.
    checkpoints: tokio::sync::Mutex<()>,
    /// LSN of the newest one known; 0 before.
    checkpoint_lsn: AtomicU64,
    compactor: tokio::sync::Mutex<compact::Compactor>,
}

impl DataState {
    pub(crate) fn new(env: &Env, config: &EngineConfig, store: Arc<dyn BlobStore>) -> Self {
        Self {
            gathers: gather::Gathers::new(config.gather_bytes_max),
            trims: resize::Trims::default(),
            moved: forward::Moved::default(),
            known: known::KnownExtents::default(),
            pins: pins::Pins::default(),
            room: write::Room::default(),
            blobs: Arc::new(SegmentBlobs::new(store, TABLE_CACHE_BYTES)),
            read_cache: ReadCache::open(env.clone(), config.read_cache.clone()),
            ahead: ahead::ReadAhead::default(),
            local_failures: AtomicU64::new(0),
            checkpoints: tokio::sync::Mutex::new(()),
            checkpoint_lsn: AtomicU64::new(0),
            compactor: tokio::sync::Mutex::default(),
        }
    }

    /// A trim note was stored: its extents may be removed from now on.
    pub(crate) fn note_trim(&self, ino: fs_api::Ino, from: u64) {
        self.trims.note(ino, from);
    }

    pub(crate) fn local_failures(&self) -> u64 {
        self.local_failures.load(Ordering::Relaxed)
    }

    fn checkpoint_lsn(&self) -> u64 {
        self.checkpoint_lsn.load(Ordering::Acquire)
    }

    fn note_checkpoint(&self, lsn: u64) {
        self.checkpoint_lsn.fetch_max(lsn, Ordering::AcqRel);
    }
}

impl Engine {
    /// Passes the failpoint `name`.
    fn hit(&self, name: &'static str) -> Result<()> {
        self.env.failpoints.hit(name).map_err(|error| Error::io(name, error))
    }

    /// Learns from the replayed index what this module has to know before the first request.
    pub(crate) fn data_on_open(&self) -> Result<()> {
        self.data.moved.load(&*self.meta)?;
        self.load_trims()
    }

    /// Puts the extents that `change` edits into its batch; gives what waits for the names of its frames. Called with
    /// the gate held.
    pub(crate) fn encode_edits(&self, change: &mut Change) -> Result<Unnamed> {
        let mut unnamed = Unnamed::default();
        for edit in &change.edits {
            edit.encode(&|frame| self.home(frame), &mut change.batch, &mut unnamed)?;
        }
        Ok(unnamed)
    }

    /// Forgets what was learned of how `handle` reads.
    pub(crate) fn forget_handle(&self, handle: HandleId) {
        self.data.ahead.forget(handle);
    }

    /// What the read cache holds and how often it helped.
    pub fn read_cache_stats(&self) -> ReadCacheStats {
        self.data.read_cache.stats()
    }

    /// Forgets the frames that were fetched from the pool.
    pub(crate) async fn drop_fetched(&self) -> Result<()> {
        for id in checkpoint::list_all(&*self.store, BlobClass::Segment).await? {
            self.data.read_cache.forget(SegmentId(id.number));
        }
        Ok(())
    }

    /// Ends what this module runs beside the workers.
    pub(crate) async fn stop_data(&self) {
        self.data.read_cache.stop().await;
    }

    /// Starts the workers of this module.
    pub(crate) fn start_data(self: &Arc<Self>) {
        self.spawn("room", ROOM_TICK, |engine| async move { engine.refresh_room().await }.boxed());
        for name in ["read-ahead-1", "read-ahead-2"] {
            let engine = Arc::clone(self);
            self.run(name, move |mut stop| {
                async move {
                    while stop.unless_stopped(engine.data.ahead.wake.notified().boxed()).await {
                        engine.read_ahead().await;
                    }
                }
                .boxed()
            });
        }
        self.spawn("compact", COMPACT_TICK, |engine| {
            async move {
                match engine.compaction_tick(COMPACT_BUDGET).await {
                    // It comes back; the upload worker says so loudly enough.
                    Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut) => Ok(()),
                    done => done,
                }
            }
            .boxed()
        });
    }
}

#[cfg(test)]
mod tests;
