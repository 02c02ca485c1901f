//! Which history a segment belongs to, and what it follows there.
//!
//! LSNs alone do not tell two histories apart: a store that was recovered from a part of its pool uses again the LSNs
//! of what it could not read. A blob therefore names its timeline and the segment it follows, and a replay takes only
//! what follows on what it has replayed (I3).

use cache_journal::{Lsn, SegmentId};
use crc_fast::{CrcAlgorithm, Digest};

/// A segment as the one after it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLink {
    pub segment: SegmentId,
    pub last_lsn: Lsn,
    /// Over all its metadata batches with their LSNs: the same however often its blob is built.
    pub records_crc: u32,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Counts the recoveries that went on without a journal; a higher one is later.
    pub timeline: u64,
    /// `None` where it is not known, or where there is none.
    pub previous: Option<SegmentLink>,
}

/// The checksum of a segment's records, as they are visited.
pub(crate) struct RecordsCrc(Digest);

impl RecordsCrc {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn add(&mut self, lsn: Lsn, batch: &[u8]) {
        self.0.update(&lsn.0.to_le_bytes());
        self.0.update(&(batch.len() as u64).to_le_bytes());
        self.0.update(batch);
    }

    pub(crate) fn value(&self) -> u32 {
        // A 32-bit CRC in the low half of the algorithm-independent result.
        self.0.finalize() as u32
    }
}
