//! `copy_file_range`: extents are copied, bytes are not.
//!
//! Holes and reservations of the source become holes of the target. Every copied extent is one more reference to its
//! frame; a frame that has a million of them is refused, and the caller copies bytes instead.

use std::ops::Range;

use cache_journal::Lsn;
use fs_api::Context;
use fs_meta::Column;
use futures::future::FutureExt;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use super::extents::overlapping;
use super::gather::FRAME_BYTES;
use super::records::{Extent, FRAME_REFS_MAX, FrameUse, Placed, frame_key};
use super::write::{checked_range, require_regular};
use crate::change::Change;
use crate::engine::Engine;
use crate::handles::FileUse;

const OP: &str = "copy file range";
/// What a copied extent takes in the journal, about: its record and one more reference to its frame.
const EXTENT_RECORD_BYTES: usize = 64;
/// Bytes looked at in one record: bounds its extents together with `step_extents`.
const STEP_BYTES: u64 = 1 << 30;

impl Engine {
    pub(crate) fn copy_file_range<'a>(
        &'a self,
        cx: &'a Context,
        source: FileUse,
        source_offset: u64,
        target: FileUse,
        target_offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<u64>> {
        async move {
            let extents = usize::try_from(len / FRAME_BYTES).unwrap_or(usize::MAX).min(self.step_extents());
            self.admit_metadata(cx, extents * EXTENT_RECORD_BYTES).await?;
            let copy = || self.copy_now(cx, source, source_offset, target, target_offset, len);
            let (copied, lsn) = self.within_quota(cx, copy).await?;
            self.let_watchers_follow(cx).await;
            if let Some(lsn) = lsn.filter(|_| target.sync) {
                self.journal.commit_async(lsn).await?;
            }
            Ok(copied)
        }
        .boxed()
    }

    fn copy_now(
        &self,
        cx: &Context,
        source: FileUse,
        source_offset: u64,
        target: FileUse,
        target_offset: u64,
        len: u64,
    ) -> Result<(u64, Option<Lsn>)> {
        if target.append {
            let error = Error::new(ErrorKind::BadHandle, OP);
            return Err(error.context("a file opened for appending takes no bytes at an offset"));
        }
        let _stripes = self.stripes.write([source.ino, target.ino]);
        for ino in [source.ino, target.ino] {
            self.finish_trim_locked(ino)?;
            self.flush_gathered_locked(ino)?;
        }
        let size = self.inode_locked(source.ino)?.size;
        let mut inode = self.inode_locked(target.ino)?;
        require_regular(&inode, OP)?;
        let len = len.min(size.saturating_sub(source_offset));
        let from = source_offset..source_offset.saturating_add(len);
        let to = if target.append { inode.size } else { target_offset };
        let to = checked_range(to, len, OP)?;
        if source.ino == target.ino && from.start < to.end && to.start < from.end {
            return Err(Error::new(ErrorKind::InvalidArgument, OP).context("source and target overlap"));
        }
        let (mut done, mut lsn) = (0, None);
        while done < len {
            let (step, old) = self.copy_step(source, from.start + done..from.end)?;
            let target = to.start + done..to.start + done + step;
            let fits = self.require_room_to_place(&inode, &target, old.iter().map(|placed| placed.extent.len()).sum());
            let mut edit = match fits.and_then(|()| self.clear_range_locked(&mut inode, target.clone())) {
                Ok(edit) => edit,
                // As much as there is room for; the next call hears that there is none.
                Err(error) if error.kind() == ErrorKind::QuotaExceeded && done > 0 => break,
                Err(error) => return Err(error),
            };
            for placed in old {
                edit.place(Placed { offset: placed.offset - (from.start + done) + target.start, ..placed });
            }
            self.touch_content(cx, &mut inode, target.end);
            let mut change = Change::new(cx);
            change.content(inode.ino, target);
            match self.apply_edit(&mut inode, edit, change) {
                Ok(applied) => lsn = Some(applied),
                Err(error) if error.kind() == ErrorKind::QuotaExceeded && done > 0 => break,
                Err(error) => return Err(error),
            }
            done += step;
        }
        Ok((done, lsn))
    }

    /// How many bytes of `range` the next record takes, and the data extents in them, cut to it.
    fn copy_step(&self, source: FileUse, range: Range<u64>) -> Result<(u64, Vec<Placed>)> {
        let mut end = range.end.min(range.start.saturating_add(STEP_BYTES));
        let mut old = overlapping(&*self.meta, source.ino.0, range.start..end)?;
        if old.len() > self.step_extents() {
            old.truncate(self.step_extents());
            end = old.last().map_or(end, Placed::end).min(end);
        }
        old.retain(|placed| matches!(placed.extent, Extent::Data { .. }));
        for placed in &mut old {
            *placed = placed.cut(range.start, end);
            self.require_few_references(placed)?;
        }
        Ok((end - range.start, old))
    }

    fn require_few_references(&self, placed: &Placed) -> Result<()> {
        let Extent::Data { frame, .. } = placed.extent else { return Ok(()) };
        let key = frame_key(frame);
        let stored = self.meta.get(Column::FrameRef, &key)?;
        if FrameUse::stored(&key, stored.as_deref())?.refs < FRAME_REFS_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotSupported, OP).entity(frame).context("too many files share these bytes"))
    }
}
