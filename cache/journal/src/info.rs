//! What goes in and out of the journal besides bytes.

use std::time::Duration;

use crate::{FrameId, Lsn, SegmentId};

/// One run of file bytes to be stored as a frame. `ino` and `offset` say where it belongs (for compaction and
/// inspection); the journal only keeps them.
#[derive(Clone, Copy, Debug)]
pub struct FrameData<'a> {
    pub ino: u64,
    pub offset: u64,
    /// `1..=FRAME_BYTES_MAX` bytes.
    pub bytes: &'a [u8],
    /// The frame this one is a copy of, where compaction moves it.
    pub origin: Option<FrameId>,
}

/// Where an append went. Not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub lsn: Lsn,
    pub segment: SegmentId,
}

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records handed to `apply`.
    pub records: u64,
    /// Bytes of segments that were read.
    pub bytes: u64,
    /// Bytes after the end of the log that were dropped: a torn tail, never acknowledged.
    pub cut_bytes: u64,
    /// The last record; everything up to it is durable now.
    pub last: Lsn,
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentState {
    /// Takes records, or is full and waits for the sync that seals it.
    Active,
    /// Complete and durable here; not in the pool.
    Sealed,
    /// In the pool; here it is only a cache.
    Uploaded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    pub id: SegmentId,
    pub state: SegmentState,
    /// Bytes of header, records and frame table.
    pub bytes: u64,
    /// Size of the file, which is preallocated.
    pub file_bytes: u64,
    /// Bytes of frames alone.
    pub frame_bytes: u64,
    pub frames: u32,
    pub first_lsn: Lsn,
    /// The LSN before `first_lsn` where the segment is empty.
    pub last_lsn: Lsn,
    /// Monotonic time of the first append, or of opening where that was in an earlier run.
    pub oldest_at: Duration,
    /// Monotonic time of sealing, or of opening.
    pub sealed_at: Option<Duration>,
}

/// What is not in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirtyInfo {
    pub bytes: u64,
    pub segments: usize,
    /// `None` where nothing is dirty.
    pub oldest_age: Option<Duration>,
}
