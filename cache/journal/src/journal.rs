//! [`Journal`]: its state, and what it tells about itself.
//!
//! Lock order, outermost first: `preparing` or `retiring`, then `writer`, then `appender`, then one of `flights`,
//! `segments`, a segment's `body` or `file`. `sync` is held alone, never across I/O. Disk I/O happens under
//! `preparing`, `retiring` and `writer` only; `appender` covers memory alone, so that an append waits for no disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Env;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::ahead::Habit;
use crate::commit::SyncState;
use crate::config::JournalConfig;
use crate::files::Files;
use crate::flights::Flights;
use crate::ids::{FrameId, Lsn, SegmentId};
use crate::info::{DirtyInfo, SegmentInfo};
use crate::recent::Recent;
use crate::segment::{Phase, Segment};
use crate::table::FrameTable;
use crate::tail::Tail;

/// Where the next record goes.
pub(crate) struct Appender {
    pub(crate) active: Arc<Segment>,
    /// The segment after the active one, ready in advance.
    pub(crate) next: Option<Arc<Segment>>,
    /// Full segments that are not sealed yet, in order.
    pub(crate) rolled: Vec<Arc<Segment>>,
    pub(crate) position: u64,
    pub(crate) next_lsn: Lsn,
    pub(crate) tail: Tail,
    /// Reused between appends.
    pub(crate) batch: Vec<u8>,
    pub(crate) ids: Vec<FrameId>,
    /// A repair runs: nothing is appended.
    pub(crate) frozen: bool,
    pub(crate) habit: Habit,
    pub(crate) unsynced_since: Option<Duration>,
    /// The last record that carries something, and the durable LSN that the last record of all names.
    pub(crate) last_data: Lsn,
    pub(crate) last_watermark: Lsn,
    /// Record bytes ever appended.
    pub(crate) appended_bytes: u64,
}

/// The journal of one store. All methods block at most for the disk; see each.
pub struct Journal {
    pub(crate) env: Env,
    pub(crate) config: JournalConfig,
    pub(crate) files: Files,
    pub(crate) appender: Mutex<Appender>,
    pub(crate) thaw: Condvar,
    /// What has left the appender for the page cache.
    pub(crate) writer: Mutex<Tail>,
    pub(crate) flights: Flights,
    pub(crate) sync: Mutex<SyncState>,
    pub(crate) synced: Condvar,
    pub(crate) preparing: Mutex<()>,
    pub(crate) retiring: Mutex<()>,
    pub(crate) segments: RwLock<BTreeMap<SegmentId, Arc<Segment>>>,
    pub(crate) tables: Recent<Arc<FrameTable>>,
    pub(crate) next_segment: AtomicU64,
    pub(crate) last: AtomicU64,
    pub(crate) durable: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) synced_bytes: AtomicU64,
    pub(crate) index_flushed: AtomicU64,
    pub(crate) read_tick: AtomicU64,
    pub(crate) poison: OnceLock<String>,
    pub(crate) sealed_tx: watch::Sender<SegmentId>,
}

impl Journal {
    /// The last record appended.
    pub fn last(&self) -> Lsn {
        Lsn(self.last.load(Ordering::Acquire))
    }

    /// Everything up to here is synced.
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The metadata up to `lsn` is durable in the index: segments up to it are no longer needed for replay.
    pub fn index_flushed(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.durable(), "the index must not be ahead of the log");
        self.index_flushed.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// What is local, in order.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.read().values().map(|s| s.info()).collect()
    }

    pub fn segment(&self, id: SegmentId) -> Option<SegmentInfo> {
        self.find(id).map(|s| s.info())
    }

    pub(crate) fn find(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.segments.read().get(&id).cloned()
    }

    /// Sees the newest sealed segment; changes whenever one is sealed. Segment 0 stands for none yet.
    pub fn watch_sealed(&self) -> watch::Receiver<SegmentId> {
        self.sealed_tx.subscribe()
    }

    /// What would be lost with this disk.
    pub fn dirty(&self) -> DirtyInfo {
        let mut dirty = DirtyInfo::default();
        let mut oldest: Option<Duration> = None;
        for segment in self.segments.read().values() {
            let body = segment.body.read();
            if body.phase == Phase::Uploaded || !body.holds_data {
                continue;
            }
            dirty.bytes += body.end;
            dirty.segments += 1;
            oldest = Some(oldest.map_or(body.oldest_at, |o| o.min(body.oldest_at)));
        }
        dirty.oldest_age = oldest.map(|at| self.env.clock.monotonic().saturating_sub(at));
        dirty
    }

    /// Bytes of segment files, spares not counted.
    pub fn local_bytes(&self) -> u64 {
        self.segments.read().values().map(|s| s.body.read().file_bytes).sum()
    }

    /// Bytes appended since the journal was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Acquire)
    }

    /// Bytes appended and not synced.
    pub fn unsynced_bytes(&self) -> u64 {
        self.appended_bytes().saturating_sub(self.synced_bytes.load(Ordering::Acquire))
    }

    pub fn config(&self) -> &JournalConfig {
        &self.config
    }

    /// # Errors
    /// `Io` once a sync failed and the unsynced part could not be saved either.
    pub fn healthy(&self) -> Result<()> {
        match self.poison.get() {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Io, "append to journal").context(why.clone())),
        }
    }

    pub(crate) fn hit(&self, name: &'static str) -> Result<()> {
        self.env.failpoints.hit(name).map_err(|e| Error::io(name, e))
    }
}
