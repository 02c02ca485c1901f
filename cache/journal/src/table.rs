//! The frame table of a segment: where each frame stands, whose it is, and the CRC of each chunk.
//!
//! In memory while the segment is written; behind the records of a sealed one, so that it is used without a scan.

use objstore_base::{Error, Result};

use crate::checksum::{SegmentSeed, chunks_of};
use crate::ids::{FRAME_BYTES_MAX, FrameId, FrameNo, SegmentId};
use crate::record::FrameHead;

const MAGIC: [u8; 4] = *b"TGFT";
const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 40;

/// A frame in its segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    pub ino: u64,
    pub offset: u64,
    pub origin: Option<FrameId>,
    /// 0 for a number whose record failed to be written.
    pub len: u32,
    pub(crate) position: u32,
    first_chunk: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameTable {
    entries: Vec<FrameEntry>,
    crcs: Vec<u32>,
}

impl FrameTable {
    /// Frames, numbered from 0.
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("frame numbers are 32 bits")
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, frame: FrameNo) -> Option<&FrameEntry> {
        self.entries.get(frame.0 as usize)
    }

    /// Numbers and entries; entries of length 0 hold nothing.
    pub fn iter(&self) -> impl Iterator<Item = (FrameNo, &FrameEntry)> {
        (0..).map(FrameNo).zip(&self.entries)
    }

    /// The CRC of each chunk of a frame, bound to its place.
    pub fn chunk_crcs(&self, entry: &FrameEntry) -> &[u32] {
        let start = entry.first_chunk as usize;
        self.crcs.get(start..start + chunks_of(entry.len) as usize).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, head: &FrameHead, position: u64, crcs: impl IntoIterator<Item = u32>) {
        let first_chunk = u32::try_from(self.crcs.len()).expect("a segment is below 4 GiB");
        self.crcs.extend(crcs);
        let position = u32::try_from(position).expect("a segment is below 4 GiB");
        let FrameHead { ino, offset, len, origin } = *head;
        self.entries.push(FrameEntry { ino, offset, origin, len, position, first_chunk });
    }

    /// Fills up to `len` with entries that hold nothing.
    pub(crate) fn skip_to(&mut self, len: u32) {
        let first_chunk = u32::try_from(self.crcs.len()).expect("a segment is below 4 GiB");
        let none = FrameEntry { ino: 0, offset: 0, origin: None, len: 0, position: 0, first_chunk };
        let len = (len as usize).max(self.entries.len());
        self.entries.resize(len, none);
    }

    /// Keeps the first `len` frames.
    pub(crate) fn truncate(&mut self, len: u32) {
        if let Some(first) = self.entries.get(len as usize) {
            self.crcs.truncate(first.first_chunk as usize);
        }
        self.entries.truncate(len as usize);
    }

    /// Marks frames as holding nothing.
    pub(crate) fn clear(&mut self, first: FrameNo, count: u32) {
        for entry in self.entries.iter_mut().skip(first.0 as usize).take(count as usize) {
            entry.len = 0;
        }
    }

    pub(crate) fn encoded_bytes(&self) -> u64 {
        encoded_bytes(self.entries.len() as u64, self.crcs.len() as u64)
    }

    pub(crate) fn encoded_bytes_with(&self, frames: u64, chunks: u64) -> u64 {
        encoded_bytes(self.entries.len() as u64 + frames, self.crcs.len() as u64 + chunks)
    }

    /// Approximate memory.
    pub(crate) fn weight(&self) -> usize {
        self.entries.len() * size_of::<FrameEntry>() + self.crcs.len() * 4
    }

    pub(crate) fn encode(&self, seed: &SegmentSeed) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * ENTRY_BYTES + self.crcs.len() * 4 + HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.len().to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.crcs.len()).expect("a segment is below 4 GiB").to_le_bytes());
        for entry in &self.entries {
            let FrameEntry { ino, offset, origin, len, position, first_chunk } = *entry;
            FrameHead { ino, offset, len, origin }.encode_into(&mut out);
            out.extend_from_slice(&position.to_le_bytes());
            out.extend_from_slice(&first_chunk.to_le_bytes());
        }
        for crc in &self.crcs {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        let sum = seed.crc(&[out.get(8..).unwrap_or_default()]);
        out.splice(4..8, sum.to_le_bytes());
        out
    }

    /// # Errors
    /// `Corrupt`.
    pub(crate) fn decode(seed: &SegmentSeed, bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::corrupt("read frame table", why);
        let u32_at = |at: usize| {
            let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
            four.map(u32::from_le_bytes).ok_or_else(|| bad("it is too short"))
        };
        if bytes.get(..4) != Some(&MAGIC) {
            return Err(bad("no magic"));
        }
        let (sum, frames, chunks) = (u32_at(4)?, u32_at(8)? as usize, u32_at(12)? as usize);
        if bytes.len() as u64 != encoded_bytes(frames as u64, chunks as u64) {
            return Err(bad("its length does not fit"));
        }
        if bytes.get(8..).is_none_or(|rest| seed.crc(&[rest]) != sum) {
            return Err(bad("checksum mismatch"));
        }
        let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
        let (entries, crcs) = body.split_at_checked(frames * ENTRY_BYTES).ok_or_else(|| bad("it is too short"))?;
        let entries = entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect::<Option<Vec<_>>>();
        let crcs = crcs.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Self { entries: entries.ok_or_else(|| bad("a frame is too long"))?, crcs })
    }
}

const fn encoded_bytes(frames: u64, chunks: u64) -> u64 {
    HEAD_BYTES as u64 + frames * ENTRY_BYTES as u64 + chunks * 4
}

fn decode_entry(bytes: &[u8]) -> Option<FrameEntry> {
    let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let origin = FrameId::new(SegmentId(u64_at(16)), FrameNo(u32_at(24)));
    (u32_at(28) as usize <= FRAME_BYTES_MAX).then_some(FrameEntry {
        ino: u64_at(0),
        offset: u64_at(8),
        origin: (origin.segment.0 != 0).then_some(origin),
        len: u32_at(28),
        position: u32_at(32),
        first_chunk: u32_at(36),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameTable {
        let mut table = FrameTable::default();
        let head = |len| FrameHead { ino: 5, offset: 4096, len, origin: None };
        table.push(&head(40_000), 8192, [1, 2, 3]);
        table.skip_to(3);
        table.push(&FrameHead { origin: Some(FrameId::new(SegmentId(2), FrameNo(8))), ..head(9) }, 50_000, [4]);
        table
    }

    #[test]
    fn it_round_trips_and_every_flip_is_found() {
        let table = sample();
        let seed = SegmentSeed::new(&[1; 16], SegmentId(4));
        let bytes = table.encode(&seed);
        assert_eq!(bytes.len() as u64, table.encoded_bytes());
        assert_eq!(FrameTable::decode(&seed, &bytes).unwrap(), table);
        assert_eq!(table.chunk_crcs(table.get(FrameNo(3)).unwrap()), &[4]);
        assert_eq!(table.chunk_crcs(table.get(FrameNo(0)).unwrap()), &[1, 2, 3]);
        assert!(FrameTable::decode(&SegmentSeed::new(&[1; 16], SegmentId(5)), &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameTable::decode(&seed, &bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(FrameTable::decode(&seed, &bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn truncation_takes_the_checksums_along() {
        let mut table = sample();
        table.truncate(1);
        assert_eq!((table.len(), table.crcs.len()), (1, 3));
    }
}
