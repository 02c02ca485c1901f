//! Fetching frames from the pool: neighbouring frames with one ranged get, one fetch however many readers wait, and
//! the frames kept in memory within a budget.
//!
//! What is kept was verified when it came from the pool and has not touched a medium since. A frame's name is for
//! ever, so an entry can be useless but never wrong.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use bytes::Bytes;
use cache_journal::{FRAME_BYTES_MAX, FrameId, FrameNo, SegmentId};
use cache_writeback::SegmentBlobs;
use objstore_base::{Error, ErrorKind, Result};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::read::{Piece, part_of};
use crate::engine::Engine;

#[derive(Clone)]
struct ByLength;

impl Weighter<FrameId, Bytes> for ByLength {
    fn weight(&self, _: &FrameId, bytes: &Bytes) -> u64 {
        bytes.len() as u64
    }
}

/// Hashes the same way in every run, so that a simulation with one seed evicts the same frames.
type FixedHash = BuildHasherDefault<DefaultHasher>;

/// Frames of the pool in memory.
pub(crate) struct Frames {
    cache: Cache<FrameId, Bytes, ByLength, FixedHash>,
}

impl Frames {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(4)
            .estimated_items_capacity((bytes_max / FRAME_BYTES_MAX).max(16) * 4)
            .weight_capacity(bytes_max as u64)
            .build()
            .expect("capacities are set: nothing is missing from the options");
        let cache = Cache::with_options(options, ByLength, FixedHash::default(), DefaultLifecycle::default());
        Self { cache }
    }

    /// Keeps nothing of what it has.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    /// The bytes of `frames` (ascending, each once).
    async fn get(&self, blobs: &SegmentBlobs, frames: &[FrameId]) -> Result<BTreeMap<FrameId, Bytes>> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        // Readers claim what they will fetch in ascending order, so that they never wait for each other in a circle.
        for frame in frames {
            match self.cache.get_value_or_guard_async(frame).await {
                Ok(bytes) => drop(found.insert(*frame, bytes)),
                Err(guard) => missing.push((*frame, guard)),
            }
        }
        let mut wanted: BTreeMap<SegmentId, Vec<FrameNo>> = BTreeMap::new();
        for (frame, _) in &missing {
            wanted.entry(frame.segment).or_default().push(frame.frame);
        }
        for (segment, frames) in wanted {
            found.extend(blobs.read_frames(segment, &frames).await?);
        }
        for (frame, guard) in missing {
            if let Some(bytes) = found.get(&frame) {
                // Where there is no room for it, the frame is simply not kept.
                drop(guard.insert(bytes.clone()));
            }
        }
        Ok(found)
    }
}

impl Engine {
    /// Fills the parts of `bytes` that `pieces` name.
    pub(crate) async fn fetch_pieces(&self, bytes: &mut [u8], pieces: &[Piece]) -> Result<()> {
        let found = self.fetch_frames(pieces).await?;
        for piece in pieces {
            let whole = found.get(&piece.frame).map_or(&[][..], |whole| whole);
            let start = piece.skip as usize;
            let part = whole.get(start..start + piece.out.len()).ok_or_else(|| {
                let error = Error::new(ErrorKind::Corrupt, "read frame").entity(piece.frame);
                error.context("it is shorter than its extent says")
            })?;
            part_of(bytes, piece)?.copy_from_slice(part);
        }
        Ok(())
    }

    /// The frames that `pieces` name, whole.
    pub(crate) async fn fetch_frames(&self, pieces: &[Piece]) -> Result<BTreeMap<FrameId, Bytes>> {
        let mut frames: Vec<FrameId> = pieces.iter().map(|piece| piece.frame).collect();
        frames.sort_unstable();
        frames.dedup();
        self.data.frames.get(&self.data.blobs, &frames).await
    }
}
