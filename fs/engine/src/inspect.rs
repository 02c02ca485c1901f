//! What people ask the engine: how it is, and what it knows of one file.

use std::sync::Arc;
use std::time::Duration;

use cache_journal::{FrameId, Journal};
use cache_writeback::WriteBack;
use fs_api::{Ino, StatFs};
use objstore_base::{Error, Result};

use crate::config::SharedDisk;
use crate::data::{Extent, pool_reserve, starting_in};
use crate::engine::Engine;
use crate::records::Inode;

/// The state of one store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStatus {
    /// Inodes, the root and removed but open files included.
    pub inodes: u64,
    /// Bytes that files occupy.
    pub bytes: u64,
    /// Bytes that are not in the pool yet.
    pub dirty_bytes: u64,
    pub dirty_oldest_age: Option<Duration>,
    /// When the pool will have caught up, at the rate of late.
    pub dirty_eta: Option<Duration>,
    pub journal_bytes: u64,
    pub journal_last_lsn: u64,
    pub journal_durable_lsn: u64,
    pub index_unflushed_bytes: u64,
    pub index_flushed_lsn: u64,
    /// Removed files that something still ties.
    pub orphans: u64,
    /// Reads since the start that the local disk failed and the pool was asked for: a sign that the disk goes.
    pub local_read_failures: u64,
}

/// One run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentInfo {
    pub offset: u64,
    pub len: u64,
    /// The frame where the bytes are now, and how many of its bytes come before; `None` for reserved zeros.
    pub at: Option<(FrameId, u32)>,
}

impl Engine {
    /// Everything into the pool, gathered writes included. Waits while the pool is away; the caller sets the limit by
    /// dropping the future.
    ///
    /// # Errors
    /// A failure that waiting does not mend.
    pub async fn flush(&self) -> Result<()> {
        self.flush_gathered_all()?;
        self.write_back.flush().await
    }

    /// Forgets every local copy of what the pool has, in the journal's folder and in memory, and gives the bytes freed
    /// on disk. What is not in the pool yet stays.
    ///
    /// # Errors
    /// Of the journal's disk and of the index.
    pub async fn drop_local_copies(self: &Arc<Self>) -> Result<u64> {
        self.flush_index().await?;
        self.drop_fetched().await?;
        let journal = Arc::clone(&self.journal);
        self.env.blocking(move || journal.retire(0)).await
    }

    pub fn write_back(&self) -> &Arc<WriteBack> {
        &self.write_back
    }

    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Up to `limit` extents of `ino` from its start; what lies between them are holes.
    ///
    /// # Errors
    /// `Corrupt` where the index is.
    pub fn extents(&self, ino: Ino, limit: usize) -> Result<Vec<ExtentInfo>> {
        self.flush_gathered_all()?;
        let found = starting_in(&*self.meta, ino.0, 0..u64::MAX, limit)?;
        let place = |extent: Extent| match extent {
            Extent::Data { frame, skip, .. } => Ok(Some((self.home(frame)?, skip))),
            Extent::Reserved { .. } => Ok(None),
        };
        found
            .into_iter()
            .map(|e| Ok(ExtentInfo { offset: e.offset, len: e.extent.len(), at: place(e.extent)? }))
            .collect()
    }

    pub fn status(&self) -> EngineStatus {
        let write_back = self.write_back.status();
        EngineStatus {
            inodes: self.counters.inodes(),
            bytes: self.counters.bytes(),
            dirty_bytes: write_back.dirty_bytes,
            dirty_oldest_age: write_back.oldest_age,
            dirty_eta: write_back.eta,
            journal_bytes: self.journal.local_bytes(),
            journal_last_lsn: self.journal.last().0,
            journal_durable_lsn: self.journal.durable().0,
            index_unflushed_bytes: self.meta.unflushed_bytes(),
            index_flushed_lsn: self.meta.flushed_lsn(),
            orphans: self.orphans.nameless(),
            local_read_failures: self.data.local_failures(),
        }
    }

    /// The record of `ino` as readers see it.
    ///
    /// # Errors
    /// `Stale` where there is no such inode.
    pub fn inspect(&self, ino: Ino) -> Result<Inode> {
        self.inode(ino)
    }

    pub(crate) async fn stat_at(&self, ino: Ino) -> Result<StatFs> {
        self.within_quota_of(ino, self.stat_store().await?)
    }

    pub(crate) async fn stat_store(&self) -> Result<StatFs> {
        let capacity = self.store.capacity().await?;
        // What is dirty has no place in the pool yet, but it will take one.
        let free = capacity.free.saturating_sub(pool_reserve(capacity.total) + self.journal.dirty().bytes);
        let free = free.min(self.room_on_shared_disk().await?);
        let inodes_used = self.counters.inodes();
        // What other programs keep on the drives is no use of this filesystem: its size is what it holds and what it
        // can still take.
        let bytes_total = self.counters.bytes().saturating_add(free);
        Ok(StatFs { bytes_total, bytes_free: free, inodes_used, inodes_free: free / INODE_BYTES })
    }

    /// Bytes of files until writers wait for the journal's disk, where the pool fills that disk too.
    async fn room_on_shared_disk(&self) -> Result<u64> {
        let Some(SharedDisk { files, disk: taken }) = self.config.shared_disk else { return Ok(u64::MAX) };
        let (disk, dir) = (Arc::clone(&self.env.disk), self.config.journal.dir.clone());
        let space = self.env.blocking(move || disk.space(&dir)).await;
        let space =
            space.map_err(|e| Error::io("look at the space left", e).entity(self.config.journal.dir.display()))?;
        let room = space.available.saturating_sub(self.config.write_back.disk_reserve.of(space.total));
        let room = u128::from(room) * u128::from(files) / u128::from(taken.max(1));
        Ok(u64::try_from(room).unwrap_or(u64::MAX))
    }
}

/// What one more small file takes of the pool, about: `statfs` tells from it how many fit.
const INODE_BYTES: u64 = 512;
