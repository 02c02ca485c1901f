//! Settling: what is gathered becomes frames, when it is enough, when it is asked for, and after a second.
//!
//! Room in a quota is taken when a write is gathered, so settling never fails for want of it (F7).

use std::ops::Range;
use std::time::Duration;

use cache_journal::{FRAME_BYTES_MAX, FrameData};
use fs_api::Ino;
use objstore_base::Result;

use super::allocate::gaps;
use super::extents::Edit;
use super::gather::{FRAME_BYTES, Fill, Settling, SmallWrite};
use crate::change::Change;
use crate::engine::Engine;
use crate::quota::Growth;
use crate::records::Inode;

/// Inodes that could not be stored and are passed over in search of one that can.
const RELIEF_FAILURES_MAX: u32 = 8;
/// How long bytes wait.
const AGE_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// The record that a write of `ino` starts from. The caller holds the stripe exclusively.
    pub(crate) fn pending_inode_locked(&self, ino: Ino) -> Result<Inode> {
        match self.data.gathers.pending(ino) {
            Some(inode) => Ok(inode),
            None => self.inode_locked(ino),
        }
    }

    /// Makes room for another small write of `ino`, where an earlier attempt to store what is gathered failed: memory
    /// stays bounded, and the writer hears why. The caller holds the stripe exclusively.
    pub(crate) fn make_gather_room_locked(&self, ino: Ino) -> Result<()> {
        if self.data.gathers.is_full(ino) { self.flush_gathered_locked(ino) } else { Ok(()) }
    }

    /// Gathers a small write, and makes frames of what is gathered where that is enough.
    ///
    /// # Errors
    /// `QuotaExceeded` where it takes more than a quota allows: here and not when it is stored.
    pub(crate) fn gather_locked(&self, inode: Inode, offset: u64, data: &[u8], request: u64) -> Result<()> {
        let ino = inode.ino;
        let stored_size = self.inode_locked(ino)?.size;
        let now = self.env.clock.monotonic();
        let reserved = self.reserve_locked(&inode, offset..offset + data.len() as u64)?;
        let write = SmallWrite { inode, stored_size, offset, data, request, reserved };
        match self.data.gathers.add(write, now) {
            Fill::Room => Ok(()),
            Fill::Full => self.flush_gathered_locked(ino),
        }
    }

    /// Takes from the quota of `inode` what gathering `range` will add to its extents, exactly: what overwrites needs
    /// nothing. Gives the bytes taken.
    fn reserve_locked(&self, inode: &Inode, range: Range<u64>) -> Result<u64> {
        if !self.projects.is_limited(inode) {
            return Ok(0);
        }
        let old = self.data.known.overlapping(&*self.meta, inode.ino.0, range.clone())?;
        let gathered = self.data.gathers.ranges(inode.ino);
        let fresh = |gap: Range<u64>| {
            let inside = |run: &Range<u64>| run.end.min(gap.end).saturating_sub(run.start.max(gap.start));
            gap.end - gap.start - gathered.iter().map(inside).sum::<u64>()
        };
        let bytes = gaps(&old, range).map(fresh).sum();
        self.projects.reserve(inode, bytes)?;
        Ok(bytes)
    }

    /// Makes frames of what is gathered for `ino`: one record. The caller holds the stripe exclusively. On an error
    /// the bytes stay gathered.
    pub(crate) fn flush_gathered_locked(&self, ino: Ino) -> Result<()> {
        let Some(settling) = self.data.gathers.begin(ino) else { return Ok(()) };
        match self.store_runs(&settling) {
            Ok(()) => {
                self.data.gathers.end(ino, settling.runs.bytes());
                Ok(())
            }
            Err(error) => {
                self.data.gathers.undo(settling);
                Err(error)
            }
        }
    }

    fn store_runs(&self, settling: &Settling) -> Result<()> {
        self.hit("engine.gather.store")?;
        let Settling { inode, runs, requests, reserved } = settling;
        let mut inode = inode.clone();
        let ino = inode.ino.0;
        let ranges: Vec<Range<u64>> = runs.iter().map(|run| run.range()).collect();
        let mut edit = Edit::new(ino);
        edit.clear(&*self.meta, &self.data.known, &ranges)?;
        let mut frames = Vec::with_capacity(runs.bytes() / FRAME_BYTES_MAX + ranges.len());
        for run in runs.iter() {
            split_frames(ino, run.offset, &run.bytes, &mut frames);
        }
        edit.fill(&frames);
        inode.allocated = inode.allocated.saturating_add_signed(edit.allocated());
        let mut change = Change::of_requests(requests.clone());
        // These writes were answered.
        change.growth = Growth::Accepted;
        change.count_bytes(&inode, edit.allocated());
        change.redeem(&inode, *reserved);
        change.put_inode(&inode);
        change.edit(edit);
        self.apply_frames(&frames, change)?;
        Ok(())
    }

    /// Forgets what is gathered for an inode that goes. The caller holds the stripe exclusively.
    pub(crate) fn drop_gathered_locked(&self, ino: Ino) {
        if let Some(settling) = self.data.gathers.begin(ino) {
            self.data.gathers.end(ino, settling.runs.bytes());
            self.projects.release(&settling.inode, settling.reserved);
        }
    }

    /// Brings memory under its bound again, oldest first. What cannot be stored is passed over a few times. The caller
    /// holds no stripe.
    pub(crate) async fn relieve_gathers(&self) -> Result<()> {
        let mut failures = 0;
        while self.data.gathers.over_bound() {
            let Some(ino) = self.data.gathers.oldest(Duration::MAX) else { return Ok(()) };
            if let Err(error) = self.settle_paced(ino).await {
                failures += 1;
                if failures == RELIEF_FAILURES_MAX {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Settles what has waited long enough. What cannot be stored keeps nothing else waiting.
    ///
    /// # Errors
    /// Of the first inode that could not be settled.
    pub(crate) async fn gather_tick(&self) -> Result<()> {
        let Some(until) = self.env.clock.monotonic().checked_sub(AGE_MAX) else { return Ok(()) };
        let mut first = None;
        while let Some(ino) = self.data.gathers.oldest(until) {
            // One that fails is queued again as of now, so that this ends.
            if let Err(error) = self.settle_paced(ino).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Settles everything that was gathered before the call, also what another thread has taken from the queue and
    /// not stored yet: its stripe is waited for.
    pub(crate) fn flush_gathered_all(&self) -> Result<()> {
        for ino in self.data.gathers.inos() {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
        }
        Ok(())
    }

    /// Settling of many is bulk data too: it is held to what may be unsynced.
    async fn settle_paced(&self, ino: Ino) -> Result<()> {
        if let Some(synced) = self.journal.pace() {
            synced.await;
        }
        self.settle_one(ino)
    }

    fn settle_one(&self, ino: Ino) -> Result<()> {
        let _stripe = self.stripes.write_one(ino);
        let settled = self.flush_gathered_locked(ino);
        settled.inspect_err(|_| self.data.gathers.requeue(self.env.clock.monotonic(), ino))
    }
}

/// Cuts `bytes` at `offset` into frames that end at multiples of [`FRAME_BYTES`] of the file.
pub(crate) fn split_frames<'a>(ino: u64, offset: u64, bytes: &'a [u8], frames: &mut Vec<FrameData<'a>>) {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = (FRAME_BYTES - at % FRAME_BYTES) as usize;
        let (frame, behind) = rest.split_at(room.min(rest.len()));
        frames.push(FrameData { ino, offset: at, bytes: frame, origin: None });
        at += frame.len() as u64;
        rest = behind;
    }
}
