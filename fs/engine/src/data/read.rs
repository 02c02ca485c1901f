//! Reading: gathered bytes, then local segments, then the pool.
//!
//! A plan (which frame for which part of the answer) is made under the inode's stripe; bytes are fetched without any
//! lock. A frame that meanwhile left the local cache is found in the pool; one that compaction moved is looked up
//! again. Zeros come only from a range that no extent covers, or from a reservation: every other failure is an error
//! that names the file (H61).

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cache_journal::{FrameId, SegmentState};
use fs_api::{Context, Ino};
use futures::future::{Either, FutureExt, ready, select};
use objstore_base::{BoxFuture, Error, ErrorKind, Result, zeroed};

use super::pins::Pin;
use super::records::Extent;
use super::write::require_regular;
use crate::engine::Engine;
use crate::handles::FileUse;
use crate::records::Inode;

/// How often a plan is made again because a frame was not where the plan said.
const ATTEMPTS: u32 = 4;

/// Bytes `skip..` of a frame for a part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) out: Range<usize>,
    pub(crate) frame: FrameId,
    pub(crate) skip: u32,
}

struct Plan {
    inode: Inode,
    /// The answer with gathered bytes and zeros in place.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Engine {
    pub(crate) fn read_file<'a>(
        &'a self,
        cx: &'a Context,
        file: FileUse,
        offset: u64,
        len: u32,
    ) -> BoxFuture<'a, Result<Bytes>> {
        let mut plan = match self.plan(file.ino, offset, len) {
            Ok(plan) => plan,
            Err(error) => return ready(Err(error)).boxed(),
        };
        if let Err(error) = self.note_access(&plan.inode) {
            tracing::warn!(ino = file.ino.0, %error, "the access time could not be renewed");
        }
        match self.read_local(&mut plan) {
            Ok(away) if away.is_empty() => ready(Ok(Bytes::from(plan.bytes))).boxed(),
            Ok(away) => self.read_from_pool(cx, file, offset, len, plan.bytes, away).boxed(),
            Err(error) => ready(Err(named(error, file.ino, offset, len))).boxed(),
        }
    }

    /// What the answer is made of. Shorter than `len` only at the end of the file.
    fn plan(&self, ino: Ino, offset: u64, len: u32) -> Result<Plan> {
        let _stripe = self.stripes.read(ino);
        let inode = match self.data.gathers.shown(ino) {
            Some(inode) => inode,
            None => self.inode_locked(ino)?,
        };
        require_regular(&inode, "read file")?;
        let end = offset.saturating_add(len.into()).min(inode.size);
        if offset >= end {
            return Ok(Plan { inode, bytes: Vec::new(), pieces: Vec::new() });
        }
        let mut bytes = zeroed((end - offset) as usize);
        let mut covered = Vec::new();
        self.data.gathers.copy_into(ino, offset..end, &mut bytes, &mut |range| covered.push(range));
        let pieces = self.pieces_locked(ino, offset..end, &covered)?;
        Ok(Plan { inode, bytes, pieces })
    }

    /// The frames behind `range`, what is gathered over them left aside.
    pub(crate) fn pieces(&self, ino: Ino, range: Range<u64>) -> Result<Vec<Piece>> {
        let _stripe = self.stripes.read(ino);
        self.pieces_locked(ino, range, &[])
    }

    /// The frames behind what `covered` leaves of `range`. The caller holds the stripe, shared at least.
    fn pieces_locked(&self, ino: Ino, range: Range<u64>, covered: &[Range<u64>]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for placed in self.data.known.overlapping(&*self.meta, ino.0, range.clone())? {
            let Extent::Data { frame, skip, .. } = placed.extent else { continue };
            let frame = self.home(frame)?;
            let part = placed.offset.max(range.start)..placed.end().min(range.end);
            for part in uncovered(covered, part) {
                let skip = skip + (part.start - placed.offset) as u32;
                let out = (part.start - range.start) as usize..(part.end - range.start) as usize;
                pieces.push(Piece { out, frame, skip });
            }
        }
        Ok(pieces)
    }

    /// Fills in what is in local segments; gives the pieces that are not.
    fn read_local(&self, plan: &mut Plan) -> Result<Vec<Piece>> {
        let mut away = Vec::new();
        for piece in plan.pieces.drain(..) {
            let range = piece.skip..piece.skip + piece.out.len() as u32;
            let place = part_of(&mut plan.bytes, &piece)?;
            match self.journal.read(piece.frame, range, place) {
                Ok(Some(())) => {}
                Ok(None) => away.push(piece),
                // If the pool has no good copy, its error is the answer.
                Err(error) if self.pool_may_help(piece.frame, &error) => {
                    place.fill(0);
                    away.push(piece);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(away)
    }

    /// Whether a frame that could not be read here is to be looked for in the pool: where its bytes are damaged, and
    /// whatever the disk says of a segment that is only a cache.
    pub(crate) fn pool_may_help(&self, frame: FrameId, error: &Error) -> bool {
        let uploaded = || self.journal.segment(frame.segment).is_none_or(|s| s.state == SegmentState::Uploaded);
        if error.kind() != ErrorKind::Corrupt && !uploaded() {
            return false;
        }
        self.data.local_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%frame, %error, "a local frame cannot be read; trying the pool");
        true
    }

    async fn read_from_pool(
        &self,
        cx: &Context,
        file: FileUse,
        offset: u64,
        len: u32,
        bytes: Vec<u8>,
        away: Vec<Piece>,
    ) -> Result<Bytes> {
        if let Some(handle) = file.handle {
            self.data.ahead.note(file.ino, handle, offset..offset + bytes.len() as u64);
        }
        let (mut bytes, mut away) = (bytes, away);
        for attempt in 1.. {
            let pin = Pin::new(&self.data.pins, away.iter().map(|piece| piece.frame.segment));
            let fetched = self.within(cx.patience, self.fetch_pieces(&mut bytes, &away)).await;
            drop(pin);
            let error = match fetched {
                Ok(()) => break,
                Err(error) => error,
            };
            // Between plan and fetch the file may have changed and its old frames may be gone. Only a plan that
            // still says the same makes it damage.
            let mut plan = self.plan(file.ino, offset, len)?;
            let again = self.read_local(&mut plan)?;
            if attempt >= ATTEMPTS || again == away {
                return Err(named(error, file.ino, offset, len));
            }
            (bytes, away) = (plan.bytes, again);
        }
        Ok(Bytes::from(bytes))
    }
}

impl Engine {
    /// What `work` gives, unless that takes longer than the caller wants to wait.
    async fn within<T>(&self, patience: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        match select(pin!(work), self.env.clock.sleep(patience)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => {
                Err(Error::new(ErrorKind::TimedOut, "read from the pool").context("it did not answer in time"))
            }
        }
    }
}

/// The part of the answer that `piece` fills.
pub(crate) fn part_of<'a>(bytes: &'a mut [u8], piece: &Piece) -> Result<&'a mut [u8]> {
    bytes.get_mut(piece.out.clone()).ok_or_else(|| Error::new(ErrorKind::Internal, "read file"))
}

/// `range` without `covered` (ascending).
fn uncovered(covered: &[Range<u64>], range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    let first = covered.partition_point(|c| c.end <= range.start);
    let holes = covered.iter().skip(first).map(|c| c.start..c.end).chain(std::iter::once(range.end..range.end));
    holes.filter_map(move |c| {
        let gap = at..c.start.min(range.end);
        at = at.max(c.end);
        (gap.start < gap.end).then_some(gap)
    })
}

fn named(error: Error, ino: Ino, offset: u64, len: u32) -> Error {
    error.context(format!("needed for bytes {offset}..{} of {ino}", offset.saturating_add(len.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_covered_is_read() {
        let parts = |covered: &[(u64, u64)]| {
            let covered: Vec<Range<u64>> = covered.iter().map(|(start, end)| *start..*end).collect();
            uncovered(&covered, 3..9).map(|part| (part.start, part.end)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&[]), [(3, 9)]);
        assert_eq!(parts(&[(0, 4), (5, 6), (8, 20)]), [(4, 5), (6, 8)]);
        assert_eq!(parts(&[(0, 3), (9, 10)]), [(3, 9)]);
        assert_eq!(parts(&[(2, 10)]), []);
        assert_eq!(parts(&[(3, 4), (20, 30)]), [(4, 9)]);
    }
}
