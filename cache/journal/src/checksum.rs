//! CRCs that name what they cover.
//!
//! A record's CRC starts from the store and the segment, a chunk's is mixed with segment, frame and chunk number. So
//! stale content of a reused file, or a chunk read from the wrong place, fails as surely as a flipped bit.

use crc_fast::{CrcAlgorithm, Digest, checksum};

use crate::FrameId;
use crate::ids::{CHUNK_BYTES, SegmentId};

/// CRC32C of plain bytes.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    narrow(checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

fn narrow(crc: u64) -> u32 {
    u32::try_from(crc & u64::from(u32::MAX)).expect("masked to 32 bits")
}

/// The beginning of every checksum over structures of one segment.
#[derive(Clone, Copy)]
pub(crate) struct SegmentSeed(Digest);

impl SegmentSeed {
    pub(crate) fn new(store_uuid: &[u8; 16], segment: SegmentId) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(store_uuid);
        digest.update(&segment.0.to_le_bytes());
        Self(digest)
    }

    pub(crate) fn crc(&self, parts: &[&[u8]]) -> u32 {
        let mut digest = self.0;
        for part in parts {
            digest.update(part);
        }
        narrow(digest.finalize())
    }
}

/// What is mixed into the CRC of a chunk; any two places differ in about half of the bits.
fn place(frame: FrameId, chunk: u32) -> u32 {
    let mut x =
        frame.segment.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(frame.frame.0) << 32 | u64::from(chunk));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    narrow(x ^ (x >> 31))
}

/// Binds the plain CRC of a chunk to its place.
pub(crate) fn bind(plain: u32, frame: FrameId, chunk: u32) -> u32 {
    plain ^ place(frame, chunk)
}

/// The stored CRC of chunk number `chunk` of a frame: of these bytes, in this place. `bytes` is a whole chunk, or the
/// rest of the frame.
pub fn chunk_crc(frame: FrameId, chunk: u32, bytes: &[u8]) -> u32 {
    bind(crc(bytes), frame, chunk)
}

/// Number of chunks of a frame of `len` bytes.
pub const fn chunks_of(len: u32) -> u32 {
    len.div_ceil(CHUNK_BYTES as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrameNo;

    #[test]
    fn the_same_bytes_elsewhere_have_another_crc() {
        let at = |segment, frame, chunk| chunk_crc(FrameId::new(SegmentId(segment), FrameNo(frame)), chunk, b"tide");
        let all = [at(1, 0, 0), at(2, 0, 0), at(1, 1, 0), at(1, 0, 1), at(1, 2, 0), at(3, 1, 2)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| b != a), "{all:x?}");
        }
    }

    #[test]
    fn a_seed_names_store_and_segment() {
        let crc = |store: u8, segment| SegmentSeed::new(&[store; 16], SegmentId(segment)).crc(&[b"a", b"b"]);
        assert_eq!(crc(1, 1), SegmentSeed::new(&[1; 16], SegmentId(1)).crc(&[b"ab"]));
        assert!(crc(1, 1) != crc(2, 1) && crc(1, 1) != crc(1, 2));
        assert_eq!(super::crc(b"123456789"), 0xe306_9283);
    }
}
