//! The head of one entry in a file of the disk level. See FORMAT.md.

use cache_journal::FrameId;
use crc_fast::{CrcAlgorithm, Digest};

pub(super) const HEAD_BYTES: usize = 24;
const MAGIC: [u8; 4] = *b"TGRC";

/// Length and checksum of an entry. The checksum covers the frame's name: an entry read from the wrong place fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub len: u32,
    pub crc: u32,
}

impl Head {
    pub(super) fn new(frame: FrameId, bytes: &[u8]) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&frame.segment.0.to_le_bytes());
        digest.update(&frame.frame.0.to_le_bytes());
        digest.update(bytes);
        // Frames are short; a 32-bit CRC stands in the low half.
        Self { len: bytes.len() as u32, crc: digest.finalize() as u32 }
    }

    pub(super) fn encode(&self, frame: FrameId) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        let fields = [&MAGIC[..], &frame.segment.0.to_le_bytes(), &frame.frame.0.to_le_bytes()];
        let values = [&self.len.to_le_bytes()[..], &self.crc.to_le_bytes()];
        let bytes = fields.into_iter().chain(values).flatten();
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
        out
    }

    /// The head, if it is one of `frame`.
    pub(super) fn decode(frame: FrameId, bytes: &[u8]) -> Option<Self> {
        let (identity, rest) = bytes.split_at_checked(16)?;
        let named = Self { len: 0, crc: 0 }.encode(frame);
        let len = u32::from_le_bytes(*rest.first_chunk()?);
        let crc = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?);
        (named.get(..16) == Some(identity)).then_some(Self { len, crc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_journal::{FrameNo, SegmentId};

    #[test]
    fn a_head_is_of_one_frame_only() {
        let frame = FrameId::new(SegmentId(0x0102_0304), FrameNo(5));
        let head = Head::new(frame, b"tide");
        let encoded = head.encode(frame);
        assert_eq!(Head::decode(frame, &encoded), Some(head));
        let other = FrameId::new(SegmentId(0x0102_0304), FrameNo(6));
        assert_eq!(Head::decode(other, &encoded), None);
        assert_ne!(Head::new(other, b"tide"), head, "the same bytes elsewhere have another checksum");
        assert_eq!(Head::decode(frame, &encoded[..20]), None);
    }
}
