//! The first level: frames in memory, by weight.

use std::hash::{BuildHasherDefault, DefaultHasher};

use bytes::Bytes;
use cache_journal::{FRAME_BYTES_MAX, FrameId, SegmentId};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

/// What an entry costs besides its bytes: key, handle, allocation, place in the table.
const ENTRY_BYTES: u64 = 128;
/// A shard has to hold some of the largest frames, or none would be kept.
const SHARD_BYTES_MIN: u64 = 16 * FRAME_BYTES_MAX as u64;
/// The table is sized for frames of this many bytes; it grows where they are smaller.
const FRAME_BYTES_TYPICAL: u64 = 64 << 10;

#[derive(Clone)]
struct ByBytes;

impl Weighter<FrameId, Bytes> for ByBytes {
    fn weight(&self, _: &FrameId, bytes: &Bytes) -> u64 {
        bytes.len() as u64 + ENTRY_BYTES
    }
}

/// Hashes the same way in every run, so that a simulation with one seed evicts the same frames.
type FixedHash = BuildHasherDefault<DefaultHasher>;

pub(crate) struct Memory(Cache<FrameId, Bytes, ByBytes, FixedHash>);

impl Memory {
    pub(crate) fn new(bytes_max: u64) -> Self {
        // A power of two, rounded down: the cache rounds up, and shares the weight out.
        let shards = 1 << (bytes_max / SHARD_BYTES_MIN).clamp(1, 16).ilog2();
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(((bytes_max / FRAME_BYTES_TYPICAL) as usize).max(16))
            .weight_capacity(bytes_max)
            .build()
            .expect("capacities are set: nothing is missing from the options");
        Self(Cache::with_options(options, ByBytes, FixedHash::default(), DefaultLifecycle::default()))
    }

    pub(crate) fn get(&self, frame: FrameId) -> Option<Bytes> {
        self.0.get(&frame)
    }

    pub(crate) fn holds(&self, frame: FrameId) -> bool {
        self.0.contains_key(&frame)
    }

    pub(crate) fn insert(&self, frame: FrameId, bytes: Bytes) {
        self.0.insert(frame, bytes);
    }

    pub(crate) fn forget(&self, segment: SegmentId) {
        self.0.retain(|frame, _| frame.segment != segment);
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}
