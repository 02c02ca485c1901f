//! The extent map as pure functions over the index: what a range is made of, and how replacing a part of it changes
//! extents, frame use and the live bytes of segments.
//!
//! Extents of one inode never overlap; what no extent covers is a hole. An [`Edit`] is computed under the inode's lock
//! from one state of the index and encoded into the batch of the change, so accounting moves in the same record as
//! the extents it counts (I6). Live bytes belong to the segment where a frame lives now; that is asked for while
//! encoding, with the gate held, so that compaction cannot move a frame between the question and the applied batch.

use std::ops::{ControlFlow, Range};

use cache_journal::{FrameData, FrameId, SegmentId};
use fs_meta::{Batch, Column, Direction, MetaRead};
use objstore_base::Result;

use super::known::KnownExtents;
use super::records::{Extent, FrameUse, Placed, extent_key, frame_key, segment_key};

/// Where a frame lives now.
pub(crate) type Home<'a> = &'a dyn Fn(FrameId) -> Result<FrameId>;

/// The extents that overlap `range`, ascending and whole (not cut to the range).
pub(crate) fn overlapping(read: &dyn MetaRead, ino: u64, range: Range<u64>) -> Result<Vec<Placed>> {
    let mut found = Vec::new();
    if range.is_empty() {
        return Ok(found);
    }
    // Backward from the end: the scan ends at the one extent that can begin before the range and reach into it.
    walk(read, ino, 0..range.end, Direction::Backward, &mut |placed| {
        if placed.end() > range.start {
            found.push(placed);
        }
        if placed.offset <= range.start { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    found.reverse();
    Ok(found)
}

/// Up to `limit` extents that begin in `range`, ascending.
pub(crate) fn starting_in(read: &dyn MetaRead, ino: u64, range: Range<u64>, limit: usize) -> Result<Vec<Placed>> {
    let mut found = Vec::new();
    walk(read, ino, range, Direction::Forward, &mut |placed| {
        found.push(placed);
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

/// Visits the extents that begin in `range`, in the order of `direction`.
pub(crate) fn walk(
    read: &dyn MetaRead,
    ino: u64,
    range: Range<u64>,
    direction: Direction,
    visit: &mut dyn FnMut(Placed) -> ControlFlow<()>,
) -> Result<()> {
    let (start, end) = (extent_key(ino, range.start), extent_key(ino, range.end));
    let mut bad = None;
    read.scan(Column::Extent, &start..&end, direction, &mut |key, value| match Placed::decode(key, value) {
        Ok(placed) => visit(placed),
        Err(error) => {
            bad = Some(error);
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(()), Err)
}

/// One change of one inode's extents with everything it moves in the accounts.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    ino: u64,
    removed: Vec<u64>,
    placed: Vec<Placed>,
    /// Where the frames of the record itself go: offset in the file and bytes.
    filled: Vec<(u64, u32)>,
    uses: Vec<(FrameId, FrameUse)>,
    /// By how much the bytes allocated to the inode change.
    allocated: i64,
}

impl Edit {
    pub(crate) fn new(ino: u64) -> Self {
        Self { ino, ..Self::default() }
    }

    /// Takes everything in `ranges` (ascending, disjoint) out of the map: extents are removed, trimmed or split.
    /// At most once per edit, for it reads the index and not the edit.
    pub(crate) fn clear(&mut self, read: &dyn MetaRead, known: &KnownExtents, ranges: &[Range<u64>]) -> Result<()> {
        let mut old: Vec<Placed> = Vec::new();
        for range in ranges {
            let last = old.last().map(|p| p.offset);
            let found = known.overlapping(read, self.ino, range.clone())?;
            old.extend(found.into_iter().filter(|placed| last != Some(placed.offset)));
        }
        self.clear_known(&old, ranges);
        Ok(())
    }

    /// As [`Edit::clear`], of extents already looked up: `old` holds all that overlap `ranges`.
    pub(crate) fn clear_known(&mut self, old: &[Placed], ranges: &[Range<u64>]) {
        let mut first = 0;
        for placed in old {
            while ranges.get(first).is_some_and(|r| r.end <= placed.offset) {
                first += 1;
            }
            self.subtract(placed, ranges.get(first..).unwrap_or_default());
        }
    }

    /// Puts `placed` where the map is empty: a reservation, or one more reference to an existing frame.
    pub(crate) fn place(&mut self, placed: Placed) {
        if let Extent::Data { frame, len, .. } = placed.extent {
            self.count(frame, 1, len.into());
        }
        self.allocated += placed.extent.len() as i64;
        self.placed.push(placed);
    }

    /// Puts the frames of the very record of this edit where the map is empty, in their order.
    pub(crate) fn fill(&mut self, frames: &[FrameData<'_>]) {
        self.filled.extend(frames.iter().map(|frame| (frame.offset, frame.bytes.len() as u32)));
        self.allocated += frames.iter().map(|frame| frame.bytes.len() as i64).sum::<i64>();
    }

    pub(crate) const fn ino(&self) -> u64 {
        self.ino
    }

    /// Where extents began that are not there any more, or are others.
    pub(crate) fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Extents that are there now, with the next of `ids` for the frames of the record.
    pub(crate) fn put(&self, ids: &mut std::slice::Iter<'_, FrameId>) -> impl Iterator<Item = Placed> {
        let filled = self.filled.iter().zip(ids).map(|((offset, len), frame)| Placed {
            offset: *offset,
            extent: Extent::Data { frame: *frame, skip: 0, len: *len },
        });
        self.placed.iter().copied().chain(filled)
    }

    pub(crate) const fn allocated(&self) -> i64 {
        self.allocated
    }

    /// Extents that it removes or puts.
    pub(crate) fn extents(&self) -> usize {
        self.removed.len() + self.placed.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.placed.is_empty() && self.filled.is_empty()
    }

    /// Puts everything into `batch` but what depends on the names of the record's own frames, which goes to `unnamed`.
    pub(crate) fn encode(&self, home: Home<'_>, batch: &mut Batch, unnamed: &mut Unnamed) -> Result<()> {
        // What is put again at the same place is replaced: every entry that the index need not take counts.
        let mut put: Vec<u64> = self.placed.iter().map(|placed| placed.offset).collect();
        put.extend(self.filled.iter().map(|(offset, _)| *offset));
        put.sort_unstable();
        for offset in self.removed.iter().filter(|offset| put.binary_search(offset).is_err()) {
            batch.delete(Column::Extent, &extent_key(self.ino, *offset));
        }
        let mut value = Vec::with_capacity(32);
        for placed in &self.placed {
            value.clear();
            placed.extent.encode(&mut value);
            batch.put(Column::Extent, &extent_key(self.ino, placed.offset), &value);
        }
        for (frame, change) in self.uses.iter().filter(|(_, change)| *change != FrameUse::default()) {
            batch.add(Column::FrameRef, &frame_key(*frame), change.packed());
            unnamed.live.add(home(*frame)?.segment, change.bytes);
        }
        unnamed.places.extend(self.filled.iter().map(|(offset, len)| (extent_key(self.ino, *offset), *len)));
        Ok(())
    }

    /// Replaces `old` by what `ranges` (from the first that ends after its start) leave of it.
    fn subtract(&mut self, old: &Placed, ranges: &[Range<u64>]) {
        let mut at = old.offset;
        let (mut pieces, mut kept) = (0, 0);
        self.removed.push(old.offset);
        for range in ranges.iter().take_while(|r| r.start < old.end()) {
            if at < range.start {
                self.placed.push(old.cut(at, range.start));
                (pieces, kept) = (pieces + 1, kept + range.start - at);
            }
            at = range.end.max(at);
        }
        if at < old.end() {
            self.placed.push(old.cut(at, old.end()));
            (pieces, kept) = (pieces + 1, kept + old.end() - at);
        }
        // Lengths are below 2^63: files are.
        let lost = kept as i64 - old.extent.len() as i64;
        self.allocated += lost;
        if let Extent::Data { frame, .. } = old.extent {
            self.count(frame, pieces - 1, lost);
        }
    }

    fn count(&mut self, frame: FrameId, refs: i64, bytes: i64) {
        // Neighbours share a frame after a split; looking further back would only merge what addition merges anyway.
        match self.uses.last_mut() {
            Some((last, change)) if *last == frame => {
                change.refs += refs;
                change.bytes += bytes;
            }
            _ => self.uses.push((frame, FrameUse { refs, bytes })),
        }
    }
}

/// What the edits of a record leave to be said once the journal has named the frames of the record.
#[derive(Default)]
pub(crate) struct Unnamed {
    /// Per frame, the key of its extent and its bytes: a range that the map leaves empty.
    places: Vec<([u8; 16], u32)>,
    live: LiveBytes,
}

impl Unnamed {
    /// Puts it into `batch`, with the names of all frames of the record.
    pub(crate) fn encode(&self, ids: &[FrameId], batch: &mut Batch) {
        debug_assert_eq!(self.places.len(), ids.len(), "the journal names every frame");
        let mut live = self.live.clone();
        let mut value = Vec::with_capacity(32);
        for ((key, len), frame) in self.places.iter().zip(ids) {
            value.clear();
            Extent::Data { frame: *frame, skip: 0, len: *len }.encode(&mut value);
            batch.put(Column::Extent, key, &value);
            live.add(frame.segment, i64::from(*len));
        }
        live.encode(batch);
    }
}

/// Changes of live bytes, summed where neighbours fall on the same segment.
#[derive(Clone, Default)]
struct LiveBytes(Vec<(SegmentId, i64)>);

impl LiveBytes {
    fn add(&mut self, segment: SegmentId, bytes: i64) {
        match self.0.iter_mut().rev().take(8).find(|(id, _)| *id == segment) {
            Some((_, sum)) => *sum += bytes,
            None => self.0.push((segment, bytes)),
        }
    }

    fn encode(&self, batch: &mut Batch) {
        for (segment, bytes) in self.0.iter().filter(|(_, bytes)| *bytes != 0) {
            batch.add(Column::Segment, &segment_key(*segment), *bytes);
        }
    }
}

#[cfg(test)]
mod tests;
