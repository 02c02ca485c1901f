//! The positions and names of the journal: record, segment, frame.

use std::fmt;

/// Largest number of bytes that one frame holds.
pub const FRAME_BYTES_MAX: usize = 256 << 10;

/// A frame carries one CRC per this many bytes, so that a small read verifies only what it touches.
pub const CHUNK_BYTES: usize = 16 << 10;

/// The place of a record in the order of commits: 1 for the first, then without gaps. 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The one before; `ZERO` has none and stays.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LSN {}", self.0)
    }
}

/// A segment: 1 for the first, ascending, never reused. Numbers may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl SegmentId {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.0)
    }
}

/// A frame inside its segment, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNo(pub u32);

/// The name of a frame for ever, wherever its bytes are: journal, pool, read cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    pub segment: SegmentId,
    pub frame: FrameNo,
}

impl FrameId {
    pub const fn new(segment: SegmentId, frame: FrameNo) -> Self {
        Self { segment, frame }
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}/{}", self.segment.0, self.frame.0)
    }
}
