//! `fallocate`: reserving, punching, zeroing.
//!
//! A reservation is an extent of its own that reads as zeros and counts as allocated. Only what is a hole is reserved;
//! bytes and reservations that are there stay.

use std::ops::Range;

use cache_journal::Lsn;
use fs_api::{Context, FallocateMode};
use futures::future::FutureExt;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use super::extents::{Edit, overlapping};
use super::records::{Extent, Placed};
use super::write::{checked_range, require_regular};
use crate::change::Change;
use crate::engine::Engine;
use crate::handles::FileUse;
use crate::records::Inode;

const OP: &str = "allocate file space";

impl Engine {
    pub(crate) fn fallocate_file<'a>(
        &'a self,
        cx: &'a Context,
        file: FileUse,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            if len == 0 {
                return Err(Error::new(ErrorKind::InvalidArgument, OP));
            }
            let range = checked_range(offset, len, OP)?;
            if !matches!(mode, FallocateMode::PunchHole) {
                let wanted = self.missing_bytes(file, range.clone())?;
                self.require_pool_room(wanted).await?;
                self.admit_metadata(cx, 0).await?;
            }
            let lsn = self.within_quota(cx, || self.fallocate_now(cx, file, range.clone(), mode)).await?;
            self.let_watchers_follow(cx).await;
            if file.sync {
                self.journal.commit_async(lsn).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn fallocate_now(&self, cx: &Context, file: FileUse, range: Range<u64>, mode: FallocateMode) -> Result<Lsn> {
        let _stripe = self.stripes.write_one(file.ino);
        self.finish_trim_locked(file.ino)?;
        self.flush_gathered_locked(file.ino)?;
        let mut inode = self.inode_locked(file.ino)?;
        require_regular(&inode, OP)?;
        let (edit, keep_size) = match mode {
            FallocateMode::Allocate { keep_size } => {
                let mut edit = Edit::new(file.ino.0);
                let old = overlapping(&*self.meta, file.ino.0, range.clone())?;
                gaps(&old, range.clone()).for_each(|gap| edit.place(reserved(gap)));
                (edit, keep_size)
            }
            FallocateMode::PunchHole => (self.clear_range_locked(&mut inode, range.clone())?, true),
            FallocateMode::ZeroRange { keep_size } => {
                self.require_room_to_place(&inode, &range, range.end - range.start)?;
                let mut edit = self.clear_range_locked(&mut inode, range.clone())?;
                edit.place(reserved(range.clone()));
                (edit, keep_size)
            }
        };
        self.touch_content(cx, &mut inode, if keep_size { 0 } else { range.end });
        let mut change = Change::new(cx);
        change.content(file.ino, range);
        self.apply_edit(&mut inode, edit, change)
    }

    /// Before `range` is cleared, maybe in several steps, for `placed` bytes that come there instead: what the quota of
    /// `inode` would refuse in the end clears nothing.
    pub(super) fn require_room_to_place(&self, inode: &Inode, range: &Range<u64>, placed: u64) -> Result<()> {
        if !self.projects.is_limited(inode) {
            return Ok(());
        }
        let old = overlapping(&*self.meta, inode.ino.0, range.clone())?;
        let missing: u64 = gaps(&old, range.clone()).map(|gap| gap.end - gap.start).sum();
        let more = placed.saturating_sub(range.end - range.start - missing);
        self.projects.reserve(inode, more)?;
        self.projects.release(inode, more);
        Ok(())
    }

    /// Bytes of `range` that no extent covers.
    fn missing_bytes(&self, file: FileUse, range: Range<u64>) -> Result<u64> {
        let _stripe = self.stripes.read(file.ino);
        let old = overlapping(&*self.meta, file.ino.0, range.clone())?;
        Ok(gaps(&old, range).map(|gap| gap.end - gap.start).sum())
    }
}

fn reserved(range: Range<u64>) -> Placed {
    Placed { offset: range.start, extent: Extent::Reserved { len: range.end - range.start } }
}

/// The parts of `range` that none of `old` (ascending) covers.
pub(super) fn gaps(old: &[Placed], range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    let starts = old.iter().map(|placed| (placed.offset, placed.end())).chain([(range.end, range.end)]);
    starts.filter_map(move |(start, end)| {
        let gap = at..start.min(range.end);
        at = at.max(end);
        (gap.start < gap.end).then_some(gap)
    })
}
