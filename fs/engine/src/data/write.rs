//! Writing: small writes are gathered, large ones become frames at once.
//!
//! The bytes of a large write are copied once, from the caller's slice into the journal's file; the extents that name
//! them are part of the same record (I5). Room is asked for before any lock is taken: by the write-back for the
//! cache, here for the pool.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

use cache_journal::Lsn;
use fs_api::{Context, FILE_BYTES_MAX, FileKind, Ino, Notice};
use futures::future::FutureExt;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use super::extents::Edit;
use super::settle::split_frames;
use crate::attrs::node;
use crate::change::Change;
use crate::engine::Engine;
use crate::handles::FileUse;
use crate::records::Inode;

const OP: &str = "write file";
/// Writes from this size on go to the journal at once: their frames are large enough.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// What may still be written before the pool is asked again how much room it has.
#[derive(Default)]
pub(crate) struct Room(AtomicI64);

impl Engine {
    pub(crate) fn write_file<'a>(
        &'a self,
        cx: &'a Context,
        file: FileUse,
        offset: u64,
        data: &'a [u8],
    ) -> BoxFuture<'a, Result<u32>> {
        async move {
            if data.is_empty() {
                return Ok(0);
            }
            let written = u32::try_from(data.len()).map_err(|_| Error::new(ErrorKind::InvalidArgument, OP))?;
            self.require_pool_room(written.into()).await?;
            self.write_back.admit(written.into(), cx.patience).await?;
            // Before anything is taken in: what the journal will not take would only pile up in memory.
            self.require_writable()?;
            self.relieve_gathers().await?;
            if let Some(synced) = self.journal.pace() {
                synced.await;
            }
            let lsn = self.within_quota(cx, || self.write_now(cx, file, offset, data)).await?;
            self.let_watchers_follow(cx).await;
            self.relieve_gathers().await?;
            if file.sync {
                self.journal.commit_async(lsn).await?;
            }
            Ok(written)
        }
        .boxed()
    }

    /// Gives an LSN that covers the write, unless it is only gathered.
    fn write_now(&self, cx: &Context, file: FileUse, offset: u64, data: &[u8]) -> Result<Lsn> {
        let _stripe = self.stripes.write_one(file.ino);
        self.finish_trim_locked(file.ino)?;
        let direct = data.len() >= DIRECT_BYTES_MIN;
        if direct {
            self.flush_gathered_locked(file.ino)?;
        } else {
            self.make_gather_room_locked(file.ino)?;
        }
        let mut inode = self.pending_inode_locked(file.ino)?;
        require_regular(&inode, OP)?;
        let offset = if file.append { inode.size } else { offset };
        let range = checked_range(offset, data.len() as u64, OP)?;
        self.touch_content(cx, &mut inode, range.end);
        if direct {
            return self.store_direct(cx, inode, range, data);
        }
        self.gather_locked(inode, offset, data, cx.request)?;
        if self.hub.is_heard(Some(cx.door)) {
            self.hub.tell(cx.door, &Notice::Content { ino: file.ino, range });
        }
        if file.sync {
            self.flush_gathered_locked(file.ino)?;
        }
        Ok(self.journal.last())
    }

    /// What every change of content by this caller does to the record, with the file reaching at least to `end`.
    pub(crate) fn touch_content(&self, cx: &Context, inode: &mut Inode, end: u64) {
        inode.size = inode.size.max(end);
        inode.mode = fs_access::mode_after_write(&cx.credentials, &node(inode));
        inode.touch_mtime(self.now());
    }

    fn store_direct(&self, cx: &Context, mut inode: Inode, range: Range<u64>, data: &[u8]) -> Result<Lsn> {
        let ino = inode.ino.0;
        let mut edit = Edit::new(ino);
        edit.clear(&*self.meta, &self.data.known, std::slice::from_ref(&range))?;
        let mut frames = Vec::with_capacity(data.len() / cache_journal::FRAME_BYTES_MAX + 2);
        split_frames(ino, range.start, data, &mut frames);
        edit.fill(&frames);
        let mut change = Change::new(cx);
        inode.allocated = inode.allocated.saturating_add_signed(edit.allocated());
        change.count_bytes(&inode, edit.allocated());
        change.put_inode(&inode);
        change.edit(edit);
        change.content(inode.ino, range);
        self.apply_frames(&frames, change)
    }

    /// Applies `edit`, which names no new bytes, together with the record of its inode.
    pub(crate) fn apply_edit(&self, inode: &mut Inode, edit: Edit, mut change: Change) -> Result<Lsn> {
        inode.allocated = inode.allocated.saturating_add_signed(edit.allocated());
        change.count_bytes(inode, edit.allocated());
        change.put_inode(inode);
        change.edit(edit);
        self.apply(change)
    }

    /// # Errors
    /// `NoSpace` where the pool cannot take `bytes` more on top of what waits to be uploaded.
    pub(crate) async fn require_pool_room(&self, bytes: u64) -> Result<()> {
        let wanted = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.data.room.0.fetch_sub(wanted, Ordering::Relaxed) >= wanted {
            return Ok(());
        }
        let room = self.ask_room().await?;
        self.data.room.0.store(room.saturating_sub(wanted), Ordering::Relaxed);
        if room >= wanted {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoSpace, OP).context("the pool is full; remove files or add a drive"))
    }

    /// Learns anew how much room there is. A pool that cannot be asked now does not stop writers: what is dirty is
    /// bounded by the cache.
    pub(crate) async fn refresh_room(&self) -> Result<()> {
        let room = self.ask_room().await?;
        self.data.room.0.store(room, Ordering::Relaxed);
        Ok(())
    }

    async fn ask_room(&self) -> Result<i64> {
        let free = match self.store.capacity().await {
            Ok(capacity) => capacity.free.saturating_sub(pool_reserve(capacity.total)),
            Err(e) if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut) => return Ok(1 << 30),
            Err(e) => return Err(e),
        };
        let room = free.saturating_sub(self.journal.dirty().bytes);
        Ok(i64::try_from(room).unwrap_or(i64::MAX))
    }
}

/// What files leave free of a pool of `total` bytes: room for the records of deletions, for checkpoints and for
/// compaction, without which a full pool could never become less full.
pub(crate) fn pool_reserve(total: u64) -> u64 {
    (total / 64).min(1 << 30)
}

/// `offset..offset + len`.
///
/// # Errors
/// `FileTooLarge` where it ends past the largest file.
pub(crate) fn checked_range(offset: u64, len: u64, op: &'static str) -> Result<Range<u64>> {
    match offset.checked_add(len) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(offset..end),
        _ => Err(Error::new(ErrorKind::FileTooLarge, op)),
    }
}

pub(crate) fn require_regular(inode: &Inode, op: &'static str) -> Result<()> {
    let (ino, kind): (Ino, FileKind) = (inode.ino, inode.kind);
    match kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, op).entity(ino)),
        _ => Err(Error::new(ErrorKind::InvalidArgument, op).entity(ino)),
    }
}
