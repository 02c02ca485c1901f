//! One record: head, frame heads, chunk CRCs, batch, and the payload of its frames.
//!
//! The head carries the LSN, the durable LSN at the time of writing (so that a reader can tell a hole from the end),
//! and the segment's incarnation: it grows with every opening for append, so that what was cut off the end of a
//! segment once can never follow a newer record. Payloads of at least `DIRECT_BYTES_MIN` begin and end on a page, so
//! that they are written straight from the caller without reading the page around them.

use crate::checksum::{SegmentSeed, chunks_of};
use crate::header::PAGE_BYTES;
use crate::ids::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};

pub(crate) const ALIGN: u64 = 8;
pub(crate) const HEAD_BYTES: usize = 56;
pub(crate) const FRAME_HEAD_BYTES: usize = 32;
pub(crate) const DIRECT_BYTES_MIN: usize = 32 << 10;
pub(crate) const MAGIC: [u8; 4] = *b"TGRC";
const FLAG_DIRECT: u8 = 1;
/// More frames than a segment of 4 GiB could describe; keeps a reader's tables bounded.
const FRAMES_MAX: u64 = (4 << 30) / FRAME_HEAD_BYTES as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    Data = 1,
    /// Carries nothing but the durable LSN.
    Watermark = 2,
    /// Its payload could not be written; the LSN holds nothing.
    Void = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) len: u32,
    pub(crate) kind: RecordKind,
    pub(crate) direct: bool,
    pub(crate) lsn: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) incarnation: u32,
    pub(crate) batch_len: u32,
    pub(crate) frame_count: u32,
    pub(crate) chunk_count: u32,
    pub(crate) payload_len: u32,
    pub(crate) first_frame: FrameNo,
}

impl RecordHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[12] = self.kind as u8;
        out[13] = if self.direct { FLAG_DIRECT } else { 0 };
        out[16..24].copy_from_slice(&self.lsn.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable.0.to_le_bytes());
        for (i, value) in
            [self.incarnation, self.batch_len, self.frame_count, self.chunk_count, self.payload_len, self.first_frame.0]
                .into_iter()
                .enumerate()
        {
            out[32 + i * 4..36 + i * 4].copy_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// The head in `bytes` if it looks like one; its CRC is not checked yet.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..4] != MAGIC || bytes[13] & !FLAG_DIRECT != 0 {
            return None;
        }
        let kind = match bytes[12] {
            1 => RecordKind::Data,
            2 => RecordKind::Watermark,
            3 => RecordKind::Void,
            _ => return None,
        };
        Some(Self {
            len: u32_at(8),
            kind,
            direct: bytes[13] & FLAG_DIRECT != 0,
            lsn: Lsn(u64_at(16)),
            durable: Lsn(u64_at(24)),
            incarnation: u32_at(32),
            batch_len: u32_at(36),
            frame_count: u32_at(40),
            chunk_count: u32_at(44),
            payload_len: u32_at(48),
            first_frame: FrameNo(u32_at(52)),
        })
    }

    /// Bytes of frame heads, chunk CRCs and batch, which follow the head and are under its CRC.
    pub(crate) const fn body_bytes(&self) -> u64 {
        self.frame_count as u64 * FRAME_HEAD_BYTES as u64 + self.chunk_count as u64 * 4 + self.batch_len as u64
    }

    pub(crate) fn layout(&self, start: u64) -> Layout {
        Layout::new(start, self.body_bytes(), self.payload_len.into(), self.direct)
    }
}

/// Where the parts of a record stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) start: u64,
    /// End of head, frame heads, chunk CRCs and batch.
    pub(crate) body_end: u64,
    pub(crate) payload: u64,
    pub(crate) payload_end: u64,
    /// Start of the next record.
    pub(crate) end: u64,
}

impl Layout {
    pub(crate) fn new(start: u64, body_bytes: u64, payload_bytes: u64, direct: bool) -> Self {
        let body_end = start + HEAD_BYTES as u64 + body_bytes;
        let align = if direct { PAGE_BYTES } else { ALIGN };
        let payload = if direct { body_end.next_multiple_of(PAGE_BYTES) } else { body_end };
        let payload_end = payload + payload_bytes;
        Self { start, body_end, payload, payload_end, end: payload_end.next_multiple_of(align) }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// One frame as its record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub ino: u64,
    pub offset: u64,
    pub len: u32,
    pub origin: Option<FrameId>,
}

impl FrameHead {
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ino.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        // Segment 0 does not exist: it says that there is no origin.
        let origin = self.origin.unwrap_or_default();
        out.extend_from_slice(&origin.segment.0.to_le_bytes());
        out.extend_from_slice(&origin.frame.0.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let origin = FrameId::new(SegmentId(u64_at(16)), FrameNo(u32_at(24)));
        let len = u32_at(28);
        (len > 0 && len as usize <= FRAME_BYTES_MAX).then_some(Self {
            ino: u64_at(0),
            offset: u64_at(8),
            len,
            origin: (origin.segment.0 != 0).then_some(origin),
        })
    }
}

/// A verified record in a reader's buffer.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'a> {
    pub(crate) head: RecordHead,
    pub(crate) layout: Layout,
    frames: &'a [u8],
    chunks: &'a [u8],
    pub(crate) batch: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The record whose head and body are `bytes`, if the CRC and every length agree.
    pub(crate) fn verify(seed: &SegmentSeed, head: RecordHead, start: u64, bytes: &'a [u8]) -> Option<Self> {
        let stored = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        if seed.crc(&[bytes.get(8..)?]) != stored {
            return None;
        }
        let body = bytes.get(HEAD_BYTES..)?;
        let (frames, rest) = body.split_at_checked(head.frame_count as usize * FRAME_HEAD_BYTES)?;
        let (chunks, batch) = rest.split_at_checked(head.chunk_count as usize * 4)?;
        let view = Self { head, layout: head.layout(start), frames, chunks, batch };
        let len_fits = head.kind == RecordKind::Void || view.layout.len() == u64::from(head.len);
        let numbers_fit = u64::from(head.first_frame.0) + u64::from(head.frame_count) <= FRAMES_MAX;
        (numbers_fit && batch.len() == head.batch_len as usize && len_fits && view.frames_add_up())
            .then(|| view.with_stored_len())
    }

    /// A void record keeps the length of what it replaced.
    fn with_stored_len(mut self) -> Self {
        self.layout.end = self.layout.start + u64::from(self.head.len);
        self
    }

    fn frames_add_up(&self) -> bool {
        let (mut payload, mut chunks) = (0, 0);
        for frame in self.frames() {
            let Some(frame) = frame else { return false };
            payload += u64::from(frame.len);
            chunks += chunks_of(frame.len);
        }
        payload == u64::from(self.head.payload_len) && chunks == self.head.chunk_count
    }

    fn frames(&self) -> impl Iterator<Item = Option<FrameHead>> + 'a {
        self.frames.chunks_exact(FRAME_HEAD_BYTES).map(|b| FrameHead::decode(b.try_into().ok()?))
    }

    /// Frames with their numbers, payload positions and chunk CRCs.
    pub(crate) fn each_frame(&self, mut visit: impl FnMut(FrameNo, FrameHead, u64, &mut dyn Iterator<Item = u32>)) {
        let mut position = self.layout.payload;
        let mut crcs = self.chunks.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        for (no, frame) in (self.head.first_frame.0..).zip(self.frames().flatten()) {
            let count = chunks_of(frame.len) as usize;
            visit(FrameNo(no), frame, position, &mut crcs.by_ref().take(count));
            position += u64::from(frame.len);
        }
    }
}

/// Length of a chunk of a frame of `len` bytes.
pub(crate) fn chunk_len(len: u32, chunk: u32) -> usize {
    (len as usize).saturating_sub(chunk as usize * CHUNK_BYTES).min(CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::Header;
    use crate::table::FrameTable;

    fn head(batch_len: u32, frame_count: u32, payload_len: u32) -> RecordHead {
        let mut head = RecordHead {
            len: 0,
            kind: RecordKind::Data,
            direct: payload_len as usize >= DIRECT_BYTES_MIN,
            lsn: Lsn(77),
            durable: Lsn(70),
            incarnation: 3,
            batch_len,
            frame_count,
            chunk_count: chunks_of(payload_len),
            payload_len,
            first_frame: FrameNo(9),
        };
        head.len = u32::try_from(head.layout(4096).len()).unwrap();
        head
    }

    /// Head and body as they stand in the file, CRC included.
    fn encoded(seed: &SegmentSeed, payload_len: u32, batch: &[u8]) -> Vec<u8> {
        let mut bytes = head(u32::try_from(batch.len()).unwrap(), 1, payload_len).encode().to_vec();
        FrameHead { ino: 5, offset: 6, len: payload_len, origin: None }.encode_into(&mut bytes);
        for chunk in 0..chunks_of(payload_len) {
            bytes.extend_from_slice(&chunk.to_le_bytes());
        }
        bytes.extend_from_slice(batch);
        let sum = seed.crc(&[&bytes[8..]]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn a_record_round_trips(payload_len in 1u32..=262_144, batch in proptest::collection::vec(any::<u8>(), 0..300)) {
            let seed = SegmentSeed::new(&[1; 16], SegmentId(4));
            let bytes = encoded(&seed, payload_len, &batch);
            let head = RecordHead::decode(&bytes).unwrap();
            let view = RecordView::verify(&seed, head, 4096, &bytes).unwrap();
            prop_assert_eq!(view.batch, batch.as_slice());
            let mut seen = Vec::new();
            view.each_frame(|no, frame, position, crcs| seen.push((no, frame.len, position, crcs.count() as u32)));
            prop_assert_eq!(seen, vec![(FrameNo(9), payload_len, view.layout.payload, chunks_of(payload_len))]);
            prop_assert!(!head.direct || view.layout.payload.is_multiple_of(PAGE_BYTES) && view.layout.end.is_multiple_of(PAGE_BYTES));
            // Another segment, another store.
            prop_assert!(RecordView::verify(&SegmentSeed::new(&[1; 16], SegmentId(5)), head, 4096, &bytes).is_none());
            prop_assert!(RecordView::verify(&SegmentSeed::new(&[2; 16], SegmentId(4)), head, 4096, &bytes).is_none());
        }

        #[test]
        fn decoders_take_any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..6000), fix in any::<bool>()) {
            let seed = SegmentSeed::new(&[1; 16], SegmentId(4));
            if fix && bytes.len() > 16 {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[12..14].copy_from_slice(&[1, 0]);
            }
            if let Some(head) = RecordHead::decode(&bytes) {
                prop_assert!(RecordView::verify(&seed, head, 4096, &bytes).is_none());
            }
            prop_assert!(FrameTable::decode(&seed, &bytes).is_err());
            prop_assert!(Header::decode_page(&bytes).is_err());
        }

        /// A CRC that holds over lengths that do not: the lengths decide.
        #[test]
        fn lengths_that_do_not_add_up_are_refused(at in 2usize..14, value in any::<u32>()) {
            let seed = SegmentSeed::new(&[1; 16], SegmentId(4));
            let good = encoded(&seed, 40_000, b"batch");
            let mut bytes = good.clone();
            bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
            let sum = seed.crc(&[&bytes[8..]]);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
            // Fields 4 to 8 are numbers of which any value fits, as is the first frame up to its bound.
            let free = (4..=8).contains(&at) || at == 13 || at == 3;
            if let Some(head) = RecordHead::decode(&bytes).filter(|_| bytes != good) {
                let verified = RecordView::verify(&seed, head, 4096, &bytes);
                prop_assert!(verified.is_none() || free, "field {at}");
            }
        }
    }
}
