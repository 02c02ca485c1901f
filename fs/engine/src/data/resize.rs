//! Truncating and freeing: the extents behind a new end go, with their accounts.
//!
//! A few thousand extents go in the record of the change itself. A larger file leaves a trim note in that record: its
//! size is right at once and after any crash, its extents follow in bounded steps, in the background and after the
//! next start. Until they are gone they lie behind the end of the file, so whatever lets the file grow again finishes
//! the trim first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow, Range};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fs_api::{FileKind, Ino};
use fs_meta::{Column, Direction};
use objstore_base::{ErrorKind, Result};
use parking_lot::Mutex;

use super::extents::{Edit, overlapping, starting_in};
use super::records::{Placed, corrupt};
use crate::change::{Change, Effect};
use crate::engine::Engine;
use crate::quota::ProjectId;
use crate::records::Inode;

/// Key prefix of trim notes in the system column: then the inode, big-endian. The value is where the trim begins.
const TRIM_PREFIX: &[u8] = b"trim/";
/// Extents that one record removes: a batch of about half a mebibyte.
const STEP_EXTENTS_MAX: usize = 4096;
/// What an extent takes in a record at most is less than half of this: a record fills a segment to a half.
const STEP_SEGMENT_BYTES: u64 = 256;

/// Trims that are not finished.
#[derive(Default)]
pub(crate) struct Trims {
    pending: Mutex<BTreeMap<Ino, u64>>,
    count: AtomicUsize,
    /// The inode that had the last turn: the next one comes after it.
    turn: AtomicU64,
}

impl Trims {
    pub(super) fn note(&self, ino: Ino, from: u64) {
        let mut pending = self.pending.lock();
        pending.entry(ino).and_modify(|old| *old = from.min(*old)).or_insert(from);
        self.count.store(pending.len(), Ordering::Release);
    }

    fn of(&self, ino: Ino) -> Option<u64> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.pending.lock().get(&ino).copied()
    }

    fn done(&self, ino: Ino) {
        let mut pending = self.pending.lock();
        pending.remove(&ino);
        self.count.store(pending.len(), Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn inos(&self) -> Vec<Ino> {
        if self.is_empty() { Vec::new() } else { self.pending.lock().keys().copied().collect() }
    }

    /// The inode whose turn it is, none of `failed`.
    fn next(&self, failed: &BTreeSet<Ino>) -> Option<Ino> {
        let last = Ino(self.turn.load(Ordering::Relaxed));
        let pending = self.pending.lock();
        let behind = pending.range((Bound::Excluded(last), Bound::Unbounded));
        let next = behind.chain(pending.range(..=last)).map(|(ino, _)| *ino).find(|ino| !failed.contains(ino))?;
        self.turn.store(next.0, Ordering::Relaxed);
        Some(next)
    }
}

fn trim_key(ino: Ino) -> Vec<u8> {
    [TRIM_PREFIX, &ino.0.to_be_bytes()].concat()
}

impl Engine {
    /// Extents that one record takes out of the map or puts into it: a record has to fit in a segment.
    pub(crate) fn step_extents(&self) -> usize {
        usize::try_from(self.config.journal.segment_bytes / STEP_SEGMENT_BYTES)
            .unwrap_or(usize::MAX)
            .min(STEP_EXTENTS_MAX)
    }

    /// Sets the size of `inode` (not its times), whose gathered writes are settled. The caller holds the stripe
    /// exclusively, puts the record into `change` and applies it.
    pub(crate) fn resize_locked(&self, inode: &mut Inode, size: u64, change: &mut Change) -> Result<()> {
        if self.data.trims.of(inode.ino).is_some() {
            self.finish_trim_locked(inode.ino)?;
            inode.allocated = self.inode_locked(inode.ino)?.allocated;
        }
        if size <= inode.size {
            let edit = self.cut_from_locked(inode.ino, size, change)?;
            inode.allocated = inode.allocated.saturating_add_signed(edit.allocated());
            change.count_bytes(inode, edit.allocated());
            change.edit(edit);
        }
        change.content(inode.ino, size.min(inode.size)..u64::MAX);
        inode.size = size;
        Ok(())
    }

    /// Frees all that `inode` holds; its record goes with `change`. The caller holds the stripe exclusively.
    pub(crate) fn free_locked(&self, inode: &Inode, change: &mut Change) -> Result<()> {
        if inode.kind != FileKind::Regular {
            return Ok(());
        }
        change.effects.push(Effect::GatheredGone(inode.ino));
        let edit = self.cut_from_locked(inode.ino, 0, change)?;
        change.count_nobodys_bytes(edit.allocated());
        change.edit(edit);
        Ok(())
    }

    /// Removes the extents from `from` on, or leaves a trim note where they are too many.
    fn cut_from_locked(&self, ino: Ino, from: u64, change: &mut Change) -> Result<Edit> {
        let mut edit = Edit::new(ino.0);
        let old = self.extents_from(ino, from, self.step_extents() + 1)?;
        if old.len() <= self.step_extents() {
            edit.clear_known(&old, std::slice::from_ref(&(from..u64::MAX)));
        } else {
            change.batch.put(Column::System, &trim_key(ino), &from.to_le_bytes());
            change.effects.push(Effect::Trim { ino, from });
        }
        Ok(edit)
    }

    /// Up to `limit` extents that end behind `from`, ascending.
    fn extents_from(&self, ino: Ino, from: u64, limit: usize) -> Result<Vec<Placed>> {
        // The one that reaches over `from`, then those that begin behind it.
        let mut old = if from == 0 { Vec::new() } else { overlapping(&*self.meta, ino.0, from..from + 1)? };
        old.retain(|placed| placed.offset < from);
        old.extend(starting_in(&*self.meta, ino.0, from..u64::MAX, limit - old.len().min(limit))?);
        Ok(old)
    }

    /// Finishes the trim of `ino`, if there is one. The caller holds the stripe exclusively.
    pub(crate) fn finish_trim_locked(&self, ino: Ino) -> Result<()> {
        if self.data.trims.of(ino).is_some() {
            self.flush_gathered_locked(ino)?;
            while self.trim_step_locked(ino)? {}
        }
        Ok(())
    }

    /// Removes some of the extents of a pending trim; gives whether there may be more.
    fn trim_step_locked(&self, ino: Ino) -> Result<bool> {
        let Some(from) = self.data.trims.of(ino) else { return Ok(false) };
        self.hit("engine.trim.step")?;
        let old = self.extents_from(ino, from, self.step_extents())?;
        let more = old.len() == self.step_extents();
        let mut edit = Edit::new(ino.0);
        edit.clear_known(&old, std::slice::from_ref(&(from..u64::MAX)));
        let mut change = Change::background();
        if !more {
            change.batch.delete(Column::System, &trim_key(ino));
        }
        match self.inode_locked(ino) {
            Ok(mut inode) => {
                inode.allocated = inode.allocated.saturating_add_signed(edit.allocated());
                change.count_bytes(&inode, edit.allocated());
                change.put_inode(&inode);
            }
            // The file was removed; only its extents are left.
            Err(e) if e.kind() == ErrorKind::Stale => change.count_nobodys_bytes(edit.allocated()),
            Err(e) => return Err(e),
        }
        change.edit(edit);
        self.apply(change)?;
        if !more {
            self.data.trims.done(ino);
        }
        Ok(more)
    }

    /// Takes up to `budget` steps of pending trims, of one file after the other; gives whether any is left. A file whose
    /// step fails keeps no other from its turn.
    ///
    /// # Errors
    /// Of the first step that failed.
    pub(crate) fn drain_trims(&self, budget: usize) -> Result<bool> {
        let mut failed = BTreeSet::new();
        let mut first = None;
        for _ in 0..budget {
            let Some(ino) = self.data.trims.next(&failed) else { break };
            if let Err(error) = self.trim_step(ino) {
                failed.insert(ino);
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(!self.data.trims.is_empty()), Err)
    }

    /// A step of the trim of `ino`, if there is one; gives whether there may be more.
    pub(crate) fn trim_step(&self, ino: Ino) -> Result<bool> {
        let _stripe = self.stripes.write_one(ino);
        self.flush_gathered_locked(ino)?;
        self.trim_step_locked(ino)
    }

    /// Truncated files with extents that still go and count for a quota until then. Those of removed files count for
    /// none any more.
    pub(crate) fn trims_within_quotas(&self) -> Vec<Ino> {
        let counts = |ino: &Ino| self.inode_unlocked(*ino).is_ok_and(|inode| inode.project != ProjectId::NONE);
        self.data.trims.inos().into_iter().filter(counts).collect()
    }

    /// Finds the trims that the last run did not finish.
    pub(crate) fn load_trims(&self) -> Result<()> {
        let end = prefix_end(TRIM_PREFIX);
        let mut found = Ok(());
        self.meta.scan(Column::System, TRIM_PREFIX..&end, Direction::Forward, &mut |key, value| {
            let ino = key.get(TRIM_PREFIX.len()..).and_then(|ino| ino.try_into().ok()).map(u64::from_be_bytes);
            match (ino, value.try_into().map(u64::from_le_bytes)) {
                (Some(ino), Ok(from)) => {
                    self.data.trims.note(Ino(ino), from);
                    ControlFlow::Continue(())
                }
                _ => {
                    found = Err(corrupt("read pending trim", key));
                    ControlFlow::Break(())
                }
            }
        })?;
        found
    }

    /// Takes everything in `range` out of the map in steps of bounded records, the last of which is left to the
    /// caller: its edit, not applied.
    pub(crate) fn clear_range_locked(&self, inode: &mut Inode, range: Range<u64>) -> Result<Edit> {
        let mut range = range;
        loop {
            let mut old = overlapping_some(self, inode.ino, range.clone())?;
            let mut edit = Edit::new(inode.ino.0);
            if old.len() <= self.step_extents() {
                edit.clear_known(&old, std::slice::from_ref(&range));
                return Ok(edit);
            }
            old.truncate(self.step_extents());
            let end = old.last().map_or(range.end, Placed::end).min(range.end);
            edit.clear_known(&old, std::slice::from_ref(&(range.start..end)));
            self.apply_edit(inode, edit, Change::background())?;
            range.start = end;
        }
    }
}

/// The first extents that overlap `range`, one more than a step takes at most.
fn overlapping_some(engine: &Engine, ino: Ino, range: Range<u64>) -> Result<Vec<Placed>> {
    let mut old = engine.extents_from(ino, range.start, engine.step_extents() + 1)?;
    old.retain(|placed| placed.offset < range.end);
    Ok(old)
}

/// The first key behind all that begin with `prefix`, whose last byte is below 0xff.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
