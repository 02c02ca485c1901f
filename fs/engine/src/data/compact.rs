//! Compaction: segments in the pool that are mostly dead give their live frames to the journal again, and go.
//!
//! Two steps that may lie far apart. *Moving*: live frames are appended as copies, with a forward entry each; no
//! extent changes. The gate is held exclusively while a record is made, so that use and live bytes are read and moved
//! in one state. *Deleting*: a segment without live bytes loses its blob when (I4, F29)
//! - the records that emptied it are in the pool and in the durable index: no recovery comes back to a state that
//!   needs it, and its copies are in the pool as well;
//! - every kept checkpoint covers its own records: no recovery has to replay them;
//! - none of its frames counts as live when they are looked at one by one;
//! - no reader has it pinned.
//!
//! The blob goes before its entries in the index, so that a crash in between only repeats the deletion: a segment that
//! the index counts live bytes for and that is nowhere any more is deleted once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cache_journal::{FrameData, FrameId, Lsn, SegmentId, SegmentState};
use fs_meta::{Batch, Column, Direction};
use objstore_base::{BlobClass, BlobId, Error, ErrorKind, Result};

use super::checkpoint::CHECKPOINTS_KEPT;
use super::extents::overlapping;
use super::forward::{forward_of, frame_keys};
use super::liveness::use_of;
use super::records::{
    Extent, Forward, FrameUse, Placed, SegmentFacts, SegmentKey, decode_counter, decode_frame_key, frame_key,
    segment_facts_key, segment_key,
};
use crate::change::Change;
use crate::engine::Engine;

/// Bytes of live frames that one record moves: what the gate is held for.
const MOVE_BYTES: usize = 1 << 20;
/// How long a move waits where the cache is full; the next step tries again.
const PATIENCE: Duration = Duration::from_secs(1);
const LIST_LIMIT: usize = 1000;
/// Segments whose facts wait to be noted; a restart reads their tables again.
const UNSAVED_MAX: usize = 16;
/// Segments that a recovery replays at most, about: 4 GiB of log.
const CHECKPOINT_SEGMENTS: usize = 64;
/// Dead bytes that are worth a checkpoint of their own where room is short.
const DEAD_BYTES_MIN: u64 = 16 << 20;

/// Stands for a segment that is not to be touched: never sparse, never covered by a checkpoint.
const UNREADABLE: SegmentFacts = SegmentFacts { frame_bytes: 0, last_lsn: u64::MAX };

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing is to be done now.
    Idle,
    /// Live frames of a segment were appended again.
    Moved { segment: u64, frames: u64, bytes: u64 },
    /// A segment's blob is gone.
    Deleted { segment: u64 },
}

#[derive(Default)]
pub(crate) struct Compactor {
    /// The segments in the pool; `None` before the first step.
    facts: Option<BTreeMap<SegmentId, SegmentFacts>>,
    /// Those of them that are not in the index yet. Noting each at once would make a quiet store write for ever: a
    /// record for a segment makes another segment.
    unsaved: Vec<SegmentId>,
    /// Empty segments, and the LSN up to which the records that emptied them reach.
    empty: BTreeMap<SegmentId, u64>,
    /// Where log, pool and checkpoints stood when there was nothing to do.
    rested: Option<(Lsn, Lsn, u64)>,
}

/// A live frame: how extents name it and where it is.
#[derive(Clone, Copy, Debug)]
struct Live {
    named: FrameId,
    home: FrameId,
    ino: u64,
    offset: u64,
    len: u32,
}

impl Engine {
    /// Takes one step of compaction.
    pub async fn compact_step(self: &Arc<Self>) -> Result<Compaction> {
        let mut state = self.data.compactor.lock().await;
        let mut facts = self.known_segments(&mut state).await?;
        let step = self.step_over(&mut state, &mut facts).await;
        state.facts = Some(facts);
        step
    }

    async fn step_over(
        self: &Arc<Self>,
        state: &mut Compactor,
        facts: &mut BTreeMap<SegmentId, SegmentFacts>,
    ) -> Result<Compaction> {
        let mut sparse = None;
        for (segment, fact) in facts.iter() {
            let (segment, live) = (*segment, self.live_bytes(*segment)?);
            if live > 0 {
                state.empty.remove(&segment);
                if (live as u64) < fact.frame_bytes / 2 {
                    sparse = sparse.or(Some(segment));
                }
                continue;
            }
            // What emptied it has an LSN up to the last one, read after its live bytes.
            let emptied = *state.empty.entry(segment).or_insert_with(|| self.journal.last().0);
            if !self.may_delete(segment, *fact, emptied).await? {
                continue;
            }
            if self.claims_live_frames(segment).await? {
                tracing::error!(segment = segment.0, "the index counts no live bytes, but a live frame; it is kept");
                facts.insert(segment, UNREADABLE);
                return Ok(Compaction::Idle);
            }
            self.delete_segment(segment).await?;
            state.empty.remove(&segment);
            facts.remove(&segment);
            return Ok(Compaction::Deleted { segment: segment.0 });
        }
        let Some(segment) = sparse else { return Ok(Compaction::Idle) };
        match self.move_frames(segment).await {
            // The cache is full; moving frames would only fill it more.
            Err(error) if error.kind() == ErrorKind::NoSpace => Ok(Compaction::Idle),
            Err(error) if is_damage(&error) => {
                tracing::warn!(segment = segment.0, %error, "live frames cannot be read; the segment stays as it is");
                facts.insert(segment, UNREADABLE);
                Ok(Compaction::Idle)
            }
            moved => moved,
        }
    }

    /// The work of the background: checkpoints when the log has grown by enough segments, then steps of compaction
    /// while there are any, at most `budget`.
    pub(crate) async fn compaction_tick(self: &Arc<Self>, budget: usize) -> Result<()> {
        let position = (self.journal.last(), self.write_back.status().in_pool, self.data.checkpoint_lsn());
        if self.data.compactor.lock().await.rested == Some(position) {
            return Ok(());
        }
        // Where room is short, it may take as many as are kept until the oldest of them lets segments go.
        for _ in 0..CHECKPOINTS_KEPT {
            if !self.checkpoint_is_due().await? {
                break;
            }
            self.checkpoint().await?;
        }
        for _ in 0..budget {
            if self.compact_step().await? == Compaction::Idle {
                self.data.compactor.lock().await.rested = Some(position);
                break;
            }
        }
        Ok(())
    }

    /// Whether a recovery would have to replay more segments than a start should.
    async fn checkpoint_is_due(&self) -> Result<bool> {
        let covered = match self.data.checkpoint_lsn() {
            0 => self.newest_checkpoint_lsn().await?,
            known => known,
        };
        let mut state = self.data.compactor.lock().await;
        let facts = self.known_segments(&mut state).await?;
        let behind = |covered| {
            let counts = move |fact: &SegmentFacts| fact.last_lsn > covered && *fact != UNREADABLE;
            facts.iter().filter(move |(_, fact)| counts(fact)).map(|(id, fact)| (*id, *fact))
        };
        let many = behind(covered).count() >= CHECKPOINT_SEGMENTS;
        let held_back: Vec<_> = behind(self.oldest_checkpoint_lsn().await?.unwrap_or(0)).collect();
        state.facts = Some(facts);
        Ok(many || self.are_worth_room(&held_back).await?)
    }

    /// Whether the dead bytes of `segments`, which no checkpoint lets go, are much of the room that is left.
    async fn are_worth_room(&self, segments: &[(SegmentId, SegmentFacts)]) -> Result<bool> {
        let mut dead = 0;
        for (segment, fact) in segments {
            dead += fact.frame_bytes.saturating_sub(self.live_bytes(*segment)?.max(0) as u64);
        }
        let capacity = self.store.capacity().await?;
        Ok(dead >= DEAD_BYTES_MIN.max(capacity.total / 256) && dead >= capacity.free / 4)
    }

    /// The segments in the pool, those that came since included. Taken out of the state; the caller puts them back.
    async fn known_segments(&self, state: &mut Compactor) -> Result<BTreeMap<SegmentId, SegmentFacts>> {
        let (mut facts, fresh) = match state.facts.take() {
            Some(facts) => (facts, false),
            None => (self.stored_facts()?, true),
        };
        if let Err(error) = self.find_segments(&mut facts, &mut state.unsaved).await {
            // What is not known yet is looked for from the start.
            state.facts = (!fresh).then_some(facts);
            return Err(error);
        }
        if fresh {
            self.find_half_deleted(&mut facts).await?;
        }
        if state.unsaved.len() >= UNSAVED_MAX {
            let mut change = Change::background();
            for segment in std::mem::take(&mut state.unsaved) {
                if let Some(fact) = facts.get(&segment) {
                    change.batch.put(Column::Segment, &segment_facts_key(segment), &fact.encode());
                }
            }
            self.apply(change)?;
        }
        Ok(facts)
    }

    async fn find_segments(
        &self,
        facts: &mut BTreeMap<SegmentId, SegmentFacts>,
        unsaved: &mut Vec<SegmentId>,
    ) -> Result<()> {
        loop {
            let after = facts.keys().next_back().map(|segment| segment.0);
            let ids = self.store.list(BlobClass::Segment, after, LIST_LIMIT).await?;
            if ids.is_empty() {
                return Ok(());
            }
            for id in ids {
                let segment = SegmentId(id.number);
                let local = self.journal.segment(segment);
                if local.as_ref().is_some_and(|s| s.state != SegmentState::Uploaded) {
                    // Still on its way; those behind it are later.
                    return Ok(());
                }
                match self.read_facts(segment, local.map(|local| local.last_lsn)).await {
                    Ok(fact) => {
                        facts.insert(segment, fact);
                        unsaved.push(segment);
                    }
                    Err(error) if is_damage(&error) => {
                        tracing::warn!(segment = segment.0, %error, "a segment in the pool cannot be read");
                        facts.insert(segment, UNREADABLE);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Finds the segments whose deletion a crash cut short after the blob was gone: they are empty, and due.
    async fn find_half_deleted(&self, facts: &mut BTreeMap<SegmentId, SegmentFacts>) -> Result<()> {
        let mut counted = Vec::new();
        super::check::scan(&*self.meta, Column::Segment, &mut |key, _| {
            if let SegmentKey::Live(segment) = SegmentKey::decode(key)? {
                counted.push(segment);
            }
            Ok(())
        })?;
        counted.retain(|segment| !facts.contains_key(segment));
        for segment in counted {
            if !self.exists(segment).await? {
                facts.insert(segment, SegmentFacts { frame_bytes: 0, last_lsn: 0 });
            }
        }
        Ok(())
    }

    /// Whether the segment is in the journal's folder or in the pool.
    async fn exists(&self, segment: SegmentId) -> Result<bool> {
        if self.journal.segment(segment).is_some() {
            return Ok(true);
        }
        match self.store.stat(BlobId::segment(segment.0)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            // Damaged, perhaps, but there.
            Err(error) if is_damage(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn read_facts(&self, segment: SegmentId, last_lsn: Option<Lsn>) -> Result<SegmentFacts> {
        let table = self.data.blobs.table(segment).await?;
        let frame_bytes = table.frames().iter().map(|frame| u64::from(frame.raw_len())).sum();
        let last_lsn = match last_lsn {
            Some(last_lsn) => last_lsn,
            None => self.data.blobs.head(segment).await?.last_lsn,
        };
        Ok(SegmentFacts { frame_bytes, last_lsn: last_lsn.0 })
    }

    fn stored_facts(&self) -> Result<BTreeMap<SegmentId, SegmentFacts>> {
        let mut all = BTreeMap::new();
        super::check::scan(&*self.meta, Column::Segment, &mut |key, value| {
            if let SegmentKey::Facts(segment) = SegmentKey::decode(key)? {
                all.insert(segment, SegmentFacts::decode(key, value)?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn live_bytes(&self, segment: SegmentId) -> Result<i64> {
        let key = segment_key(segment);
        self.meta.get(Column::Segment, &key)?.map_or(Ok(0), |value| decode_counter(&key, &value))
    }

    async fn may_delete(self: &Arc<Self>, segment: SegmentId, facts: SegmentFacts, emptied: u64) -> Result<bool> {
        if self.write_back.status().in_pool.0 < emptied || self.data.pins.is_pinned(segment) {
            return Ok(false);
        }
        if self.oldest_checkpoint_lsn().await?.is_none_or(|lsn| lsn < facts.last_lsn) {
            return Ok(false);
        }
        if self.meta.flushed_lsn() < emptied {
            self.flush_index().await?;
        }
        // Read again: nothing may name a dead frame anew, but this is a deletion.
        Ok(self.live_bytes(segment)? <= 0 && !self.data.pins.is_pinned(segment))
    }

    /// Whether a frame of the segment is live by its own account although the segment has no live bytes: one of the two
    /// is wrong, and a deletion could not be taken back (I4). What no account knows and no extent names was left behind
    /// by a recovery.
    async fn claims_live_frames(&self, segment: SegmentId) -> Result<bool> {
        let table = match self.data.blobs.table(segment).await {
            Ok(table) => table,
            // It is gone already, or nobody can read it: no byte is lost with it.
            Err(error) if is_damage(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in table.frames() {
            let home = FrameId::new(segment, entry.frame);
            let named = entry.origin.unwrap_or(home);
            if self.is_live_at(named, home)?.is_none() {
                continue;
            }
            let key = frame_key(named);
            let range = entry.offset..entry.offset + u64::from(entry.raw_len());
            let names = |placed: &Placed| matches!(placed.extent, Extent::Data { frame, .. } if frame == named);
            if self.meta.get(Column::FrameRef, &key)?.is_some()
                || overlapping(&*self.meta, entry.ino, range)?.iter().any(names)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn delete_segment(&self, segment: SegmentId) -> Result<()> {
        self.hit("engine.compact.delete")?;
        self.store.delete(BlobId::segment(segment.0)).await?;
        self.hit("engine.compact.deleted")?;
        self.data.blobs.forget(segment);
        self.data.read_cache.forget(segment);
        let gone = self.gone_sources(segment).await?;
        let mut change = Change::background();
        change.batch.delete(Column::Segment, &segment_key(segment));
        change.batch.delete(Column::Segment, &segment_facts_key(segment));
        self.forget_frames(segment, &gone, &mut change.batch)?;
        self.apply(change)?;
        self.journal.drop_dead(segment)?;
        tracing::debug!(segment = segment.0, "segment deleted");
        Ok(())
    }

    /// The segments whose frames were moved to `segment` and that are not there any more.
    async fn gone_sources(&self, segment: SegmentId) -> Result<BTreeSet<SegmentId>> {
        let mut sources = BTreeSet::new();
        for frame in self.frames_in(Column::Forward, segment)? {
            if let Some(Forward::CopyOf(named)) = forward_of(&*self.meta, frame)? {
                sources.insert(named.segment);
            }
        }
        let mut gone = BTreeSet::new();
        for source in sources {
            if !self.exists(source).await? {
                gone.insert(source);
            }
        }
        Ok(gone)
    }

    /// Removes what the index knows of the frames of an empty segment. A frame that moved away keeps its use and its
    /// forward entry. One that was moved here is dead and loses the forward entry of its first name; that it is dead
    /// stays known as long as the segment of that name is there (it is not in `gone`), or the bytes there would count
    /// as live again.
    fn forget_frames(&self, segment: SegmentId, gone: &BTreeSet<SegmentId>, batch: &mut Batch) -> Result<()> {
        for frame in self.frames_in(Column::FrameRef, segment)? {
            if !matches!(forward_of(&*self.meta, frame)?, Some(Forward::MovedTo(_))) {
                batch.delete(Column::FrameRef, &frame_key(frame));
            }
        }
        for frame in self.frames_in(Column::Forward, segment)? {
            let Some(Forward::CopyOf(named)) = forward_of(&*self.meta, frame)? else { continue };
            batch.delete(Column::Forward, &frame_key(frame));
            if forward_of(&*self.meta, named)? == Some(Forward::MovedTo(frame)) {
                batch.delete(Column::Forward, &frame_key(named));
                if gone.contains(&named.segment) {
                    batch.delete(Column::FrameRef, &frame_key(named));
                }
            }
        }
        Ok(())
    }

    fn frames_in(&self, column: Column, segment: SegmentId) -> Result<Vec<FrameId>> {
        let (start, end) = frame_keys(segment);
        let (mut found, mut bad) = (Vec::new(), None);
        self.meta.scan(column, &start..&end, Direction::Forward, &mut |key, _| {
            match decode_frame_key(key) {
                Ok(frame) => found.push(frame),
                Err(error) => bad = Some(error),
            }
            std::ops::ControlFlow::Continue(())
        })?;
        bad.map_or(Ok(found), Err)
    }

    /// Appends the live frames of `segment` again.
    pub(super) async fn move_frames(&self, segment: SegmentId) -> Result<Compaction> {
        let table = self.data.blobs.table(segment).await?;
        let mut live = Vec::new();
        for entry in table.frames() {
            let home = FrameId::new(segment, entry.frame);
            let named = entry.origin.unwrap_or(home);
            if self.is_live_at(named, home)?.is_some() {
                live.push(Live { named, home, ino: entry.ino, offset: entry.offset, len: entry.raw_len() });
            }
        }
        let (mut frames, mut bytes) = (0, 0);
        while !live.is_empty() {
            let count = step_len(&live);
            let step: Vec<Live> = live.drain(..count).collect();
            let total: u64 = step.iter().map(|live| u64::from(live.len)).sum();
            self.write_back.admit(total, PATIENCE).await?;
            let contents = self.read_live(&step).await?;
            if let Some(synced) = self.journal.pace() {
                synced.await;
            }
            frames += self.append_copies(&step, &contents)?;
            bytes += total;
        }
        tracing::debug!(segment = segment.0, frames, bytes, "live frames moved");
        Ok(Compaction::Moved { segment: segment.0, frames, bytes })
    }

    /// The use of the frame that extents call `named`, where it is live and its bytes are at `home`.
    fn is_live_at(&self, named: FrameId, home: FrameId) -> Result<Option<FrameUse>> {
        let now = match forward_of(&*self.meta, named)? {
            Some(Forward::MovedTo(now)) => now,
            _ => named,
        };
        let usage = use_of(&*self.meta, named)?;
        Ok((now == home && !usage.is_dead()).then_some(usage))
    }

    async fn read_live(&self, step: &[Live]) -> Result<Vec<Bytes>> {
        let mut contents = Vec::with_capacity(step.len());
        for live in step {
            let mut bytes = vec![0; live.len as usize];
            match self.journal.read(live.home, 0..live.len, &mut bytes) {
                Ok(Some(())) => contents.push(Bytes::from(bytes)),
                Ok(None) => break,
                Err(error) if self.pool_may_help(live.home, &error) => break,
                Err(error) => return Err(error),
            }
        }
        let away = step.get(contents.len()..).unwrap_or_default();
        if let Some(first) = away.first() {
            let frames: Vec<_> = away.iter().map(|live| live.home.frame).collect();
            let found = self.data.blobs.read_frames(first.home.segment, &frames).await?;
            contents.extend(found.into_iter().map(|(_, bytes)| bytes));
        }
        Ok(contents)
    }

    /// One record with copies of those of `step` that still live, and everything that says so.
    fn append_copies(&self, step: &[Live], contents: &[Bytes]) -> Result<u64> {
        self.hit("engine.compact.move")?;
        let _gate = self.gate.write();
        if self.diverged.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "compact").context("the index is behind the journal"));
        }
        let (mut frames, mut moved) = (Vec::new(), Vec::new());
        for (live, bytes) in step.iter().zip(contents) {
            if let Some(usage) = self.is_live_at(live.named, live.home)? {
                let Live { named, ino, offset, .. } = *live;
                frames.push(FrameData { ino, offset, bytes, origin: Some(named) });
                moved.push((*live, i64::from(live.len) + usage.bytes));
            }
        }
        if frames.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::new();
        self.journal.append(&frames, &mut |ids, out| {
            batch.clear();
            moved.iter().zip(ids).for_each(|((live, bytes), copy)| put_move(&mut batch, live, *bytes, *copy));
            out.extend_from_slice(batch.as_bytes());
        })?;
        moved.iter().for_each(|(live, _)| self.data.moved.note(live.named.segment));
        self.meta.apply(&batch).inspect_err(|_| self.diverged.store(true, Ordering::Relaxed))?;
        Ok(frames.len() as u64)
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Damaged)
}

/// How many of `live` go into one record.
fn step_len(live: &[Live]) -> usize {
    let mut bytes = 0;
    let fits = live.iter().take_while(|live| {
        bytes += live.len as usize;
        bytes <= MOVE_BYTES
    });
    fits.count().max(1)
}

/// The bytes of `live`, of which extents name `bytes`, are now those of `copy`.
fn put_move(batch: &mut Batch, live: &Live, bytes: i64, copy: FrameId) {
    batch.put(Column::Forward, &frame_key(live.named), &Forward::MovedTo(copy).encode());
    batch.put(Column::Forward, &frame_key(copy), &Forward::CopyOf(live.named).encode());
    if live.home != live.named {
        batch.delete(Column::Forward, &frame_key(live.home));
    }
    batch.add(Column::Segment, &segment_key(live.home.segment), -bytes);
    batch.add(Column::Segment, &segment_key(copy.segment), bytes);
}
