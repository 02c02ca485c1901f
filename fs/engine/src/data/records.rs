//! Keys and values of the columns that say where a file's bytes are: extents, frame use, segments, forwarding.
//!
//! Keys are big-endian for order, values little-endian behind a version byte; `FORMAT.md` beside the crate has the table.
//! A value that does not decode is `Corrupt` with its key; nothing here panics on what it reads.

use cache_journal::{FrameId, FrameNo, SegmentId};
use objstore_base::{Error, Result};

const VERSION: u8 = 1;
const KIND_DATA: u8 = 0;
const KIND_RESERVED: u8 = 1;
const KIND_MOVED_TO: u8 = 0;
const KIND_COPY_OF: u8 = 1;
/// Marks the key of a segment's facts; the bare segment key is its live-bytes counter.
const SEGMENT_FACTS: u8 = 1;

/// What a range of a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Bytes `skip..skip + len` of a frame.
    Data { frame: FrameId, skip: u32, len: u32 },
    /// Space that was promised and reads as zeros.
    Reserved { len: u64 },
}

/// An extent and the file offset of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: u64,
    pub(crate) extent: Extent,
}

impl Extent {
    pub(crate) const fn len(&self) -> u64 {
        match *self {
            Self::Data { len, .. } => len as u64,
            Self::Reserved { len } => len,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Data { frame, skip, len } => {
                out.extend_from_slice(&[VERSION, KIND_DATA]);
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(&skip.to_le_bytes());
                encode_frame(frame, out);
            }
            Self::Reserved { len } => {
                out.extend_from_slice(&[VERSION, KIND_RESERVED]);
                out.extend_from_slice(&len.to_le_bytes());
            }
        }
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let bad = || corrupt("decode extent", key);
        match value {
            [VERSION, KIND_DATA, rest @ ..] => {
                let (len, rest) = rest.split_first_chunk().ok_or_else(bad)?;
                let (skip, rest) = rest.split_first_chunk().ok_or_else(bad)?;
                let (len, skip) = (u32::from_le_bytes(*len), u32::from_le_bytes(*skip));
                if len == 0 || skip.checked_add(len).is_none() {
                    return Err(bad());
                }
                Ok(Self::Data { frame: decode_frame(rest).ok_or_else(bad)?, skip, len })
            }
            [VERSION, KIND_RESERVED, rest @ ..] => {
                let len = u64::from_le_bytes(rest.try_into().map_err(|_| bad())?);
                if len == 0 { Err(bad()) } else { Ok(Self::Reserved { len }) }
            }
            [version, ..] if *version > VERSION => Err(newer("decode extent", key)),
            _ => Err(bad()),
        }
    }
}

impl Placed {
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.extent.len())
    }

    /// The part of this extent inside `start..end`, which must overlap it.
    pub(crate) fn cut(&self, start: u64, end: u64) -> Self {
        let (from, to) = (start.max(self.offset), end.min(self.end()));
        debug_assert!(from < to, "cut outside of the extent");
        let extent = match self.extent {
            Extent::Data { frame, skip, .. } => {
                let (ahead, len) = (from - self.offset, to - from);
                // Both are below `len: u32` of this extent.
                Extent::Data { frame, skip: skip + ahead as u32, len: len as u32 }
            }
            Extent::Reserved { .. } => Extent::Reserved { len: to - from },
        };
        Self { offset: from, extent }
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let (_, offset) = decode_pair(key).ok_or_else(|| corrupt("decode extent key", key))?;
        let extent = Extent::decode(key, value)?;
        if offset.checked_add(extent.len()).is_none() {
            return Err(corrupt("decode extent", key));
        }
        Ok(Self { offset, extent })
    }
}

/// Where compaction put a frame, or what it put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Extents name this frame; its bytes now live there.
    MovedTo(FrameId),
    /// These are the bytes of the frame that extents name so.
    CopyOf(FrameId),
}

impl Forward {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, frame) = match *self {
            Self::MovedTo(frame) => (KIND_MOVED_TO, frame),
            Self::CopyOf(frame) => (KIND_COPY_OF, frame),
        };
        let mut out = vec![VERSION, kind];
        encode_frame(frame, &mut out);
        out
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let bad = || corrupt("decode forward", key);
        match value {
            [VERSION, KIND_MOVED_TO, rest @ ..] => Ok(Self::MovedTo(decode_frame(rest).ok_or_else(bad)?)),
            [VERSION, KIND_COPY_OF, rest @ ..] => Ok(Self::CopyOf(decode_frame(rest).ok_or_else(bad)?)),
            [version, ..] if *version > VERSION => Err(newer("decode forward", key)),
            _ => Err(bad()),
        }
    }
}

/// How a frame is used: by how many extents, and how many bytes they name. Kept as one counter of differences from
/// "one extent, the whole frame", so that the usual frame has no entry and every change is an addition that commutes
/// with the changes other inodes make to a shared frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameUse {
    pub(crate) refs: i64,
    pub(crate) bytes: i64,
}

/// A reference names at most 2^18 bytes (a frame), so 41 bits of bytes and 23 bits of references fill up together, at
/// four million references.
const USE_BYTES_BITS: u32 = 41;
/// Copies of one frame beyond this are made as bytes; far below what the counter holds.
pub(crate) const FRAME_REFS_MAX: i64 = 1 << 20;

impl FrameUse {
    pub(crate) const fn packed(self) -> i64 {
        (self.refs << USE_BYTES_BITS) + self.bytes
    }

    pub(crate) const fn unpacked(packed: i64) -> Self {
        let bytes = packed << (64 - USE_BYTES_BITS) >> (64 - USE_BYTES_BITS);
        Self { refs: (packed - bytes) >> USE_BYTES_BITS, bytes }
    }

    /// From the stored counter, absent for the usual frame.
    pub(crate) fn stored(key: &[u8], value: Option<&[u8]>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::default()) };
        let packed = value.try_into().map_err(|_| corrupt("decode frame use", key))?;
        Ok(Self::unpacked(i64::from_le_bytes(packed)))
    }

    /// No extent names the frame any more.
    pub(crate) const fn is_dead(self) -> bool {
        self.refs < 0
    }
}

/// What compaction needs to know of a segment that is in the pool, without opening its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// Bytes of its frames, before compression.
    pub(crate) frame_bytes: u64,
    pub(crate) last_lsn: u64,
}

impl SegmentFacts {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.frame_bytes.to_le_bytes());
        out.extend_from_slice(&self.last_lsn.to_le_bytes());
        out
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let bad = || corrupt("decode segment facts", key);
        match value {
            [VERSION, rest @ ..] => {
                let (frame_bytes, rest) = rest.split_first_chunk().ok_or_else(bad)?;
                let last_lsn = u64::from_le_bytes(rest.try_into().map_err(|_| bad())?);
                Ok(Self { frame_bytes: u64::from_le_bytes(*frame_bytes), last_lsn })
            }
            [version, ..] if *version > VERSION => Err(newer("decode segment facts", key)),
            _ => Err(bad()),
        }
    }
}

pub(crate) fn extent_key(ino: u64, offset: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&ino.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The two numbers of an extent's key.
pub(crate) fn decode_pair(key: &[u8]) -> Option<(u64, u64)> {
    let (first, rest) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*first), u64::from_be_bytes(rest.try_into().ok()?)))
}

/// Key in the columns of frame use and forwarding.
pub(crate) fn frame_key(frame: FrameId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&frame.segment.0.to_be_bytes());
    key[8..].copy_from_slice(&frame.frame.0.to_be_bytes());
    key
}

pub(crate) fn decode_frame_key(key: &[u8]) -> Result<FrameId> {
    let parts = || {
        let (segment, rest) = key.split_first_chunk()?;
        let frame = u32::from_be_bytes(rest.try_into().ok()?);
        Some(FrameId { segment: SegmentId(u64::from_be_bytes(*segment)), frame: FrameNo(frame) })
    };
    parts().ok_or_else(|| corrupt("decode frame key", key))
}

/// Key of a segment's live-bytes counter; also the start of the keys of its frames.
pub(crate) const fn segment_key(segment: SegmentId) -> [u8; 8] {
    segment.0.to_be_bytes()
}

pub(crate) fn segment_facts_key(segment: SegmentId) -> [u8; 9] {
    let mut key = [SEGMENT_FACTS; 9];
    key[..8].copy_from_slice(&segment.0.to_be_bytes());
    key
}

/// What a key of the segment column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKey {
    Live(SegmentId),
    Facts(SegmentId),
}

impl SegmentKey {
    pub(crate) fn decode(key: &[u8]) -> Result<Self> {
        match key.split_first_chunk() {
            Some((segment, [])) => Ok(Self::Live(SegmentId(u64::from_be_bytes(*segment)))),
            Some((segment, [SEGMENT_FACTS])) => Ok(Self::Facts(SegmentId(u64::from_be_bytes(*segment)))),
            _ => Err(corrupt("decode segment key", key)),
        }
    }
}

pub(crate) fn decode_counter(key: &[u8], value: &[u8]) -> Result<i64> {
    Ok(i64::from_le_bytes(value.try_into().map_err(|_| corrupt("decode counter", key))?))
}

fn encode_frame(frame: FrameId, out: &mut Vec<u8>) {
    out.extend_from_slice(&frame.segment.0.to_le_bytes());
    out.extend_from_slice(&frame.frame.0.to_le_bytes());
}

fn decode_frame(bytes: &[u8]) -> Option<FrameId> {
    let (segment, rest) = bytes.split_first_chunk()?;
    let frame = u32::from_le_bytes(rest.try_into().ok()?);
    Some(FrameId { segment: SegmentId(u64::from_le_bytes(*segment)), frame: FrameNo(frame) })
}

pub(crate) fn corrupt(op: &'static str, key: &[u8]) -> Error {
    Error::corrupt(op, format!("the record under key {key:02x?} is damaged; rebuild the index with `tidegate recover`"))
}

fn newer(op: &'static str, key: &[u8]) -> Error {
    corrupt(op, key).with_kind(objstore_base::ErrorKind::NewerFormat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segment: u64, frame: u32) -> FrameId {
        FrameId { segment: SegmentId(segment), frame: FrameNo(frame) }
    }

    #[test]
    fn extents_round_trip_and_refuse_every_truncation() {
        let key = extent_key(7, 99);
        for extent in [Extent::Data { frame: frame(3, 4), skip: 5, len: 6 }, Extent::Reserved { len: 1 << 40 }] {
            let mut value = Vec::new();
            extent.encode(&mut value);
            assert_eq!(Placed::decode(&key, &value).ok(), Some(Placed { offset: 99, extent }));
            for end in 0..value.len() {
                assert!(Placed::decode(&key, &value[..end]).is_err(), "{end} of {extent:?}");
            }
            value[0] = VERSION + 1;
            let error = Placed::decode(&key, &value).expect_err("a newer version");
            assert_eq!(error.kind(), objstore_base::ErrorKind::NewerFormat);
        }
    }

    #[test]
    fn frame_use_packs_into_one_commuting_counter() {
        let uses = [(0, 0), (-1, -262_144), (1, 0), (-1, 5), (1 << 20, 1 << 38), (5, -7)];
        let mut sum = 0;
        let mut expected = FrameUse::default();
        for (refs, bytes) in uses {
            let one = FrameUse { refs, bytes };
            assert_eq!(FrameUse::unpacked(one.packed()), one);
            sum += one.packed();
            expected = FrameUse { refs: expected.refs + refs, bytes: expected.bytes + bytes };
            assert_eq!(FrameUse::unpacked(sum), expected);
        }
    }

    #[test]
    fn forward_and_facts_round_trip() {
        for forward in [Forward::MovedTo(frame(1, 2)), Forward::CopyOf(frame(9, 8))] {
            let value = forward.encode();
            assert_eq!(Forward::decode(b"k", &value).ok(), Some(forward));
            assert!(Forward::decode(b"k", &value[1..]).is_err());
        }
        let facts = SegmentFacts { frame_bytes: 77, last_lsn: 5 };
        assert_eq!(SegmentFacts::decode(b"k", &facts.encode()).ok(), Some(facts));
        assert_eq!(SegmentKey::decode(&segment_key(SegmentId(5))).ok(), Some(SegmentKey::Live(SegmentId(5))));
        assert_eq!(SegmentKey::decode(&segment_facts_key(SegmentId(5))).ok(), Some(SegmentKey::Facts(SegmentId(5))));
    }
}
