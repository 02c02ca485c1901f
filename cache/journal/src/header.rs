//! The header page of a segment file.
//!
//! It has two slots that are written in turn, so that a torn write leaves the older one; the higher generation counts.
//! A file bears a segment's name only when its header is durable, so a segment without a valid header is damage.

use objstore_base::{Error, ErrorKind, Result};

use crate::checksum::crc;
use crate::ids::{Lsn, SegmentId};

pub(crate) const PAGE_BYTES: u64 = 4096;
/// Two slots far apart: one in each 2 KiB half of the page.
const SLOT_BYTES: usize = 128;
const SLOT_POSITIONS: [usize; 2] = [0, 2048];
const MAGIC: &[u8; 8] = b"TGSEG\r\n\0";
const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HeaderState {
    Active = 1,
    Sealed = 2,
    Uploaded = 3,
}

/// What the header says. From `Sealed` on every field is final; before, only the identity and the first LSN count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) segment: SegmentId,
    /// Every id below has been given out, also where nothing remains of it.
    pub(crate) next_segment: SegmentId,
    pub(crate) generation: u64,
    pub(crate) state: HeaderState,
    /// Grows whenever the segment is opened for more records; see `record.rs`.
    pub(crate) incarnation: u32,
    pub(crate) segment_bytes: u64,
    /// `ZERO` in a file that is ready but not in use.
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) records_end: u64,
    pub(crate) table_position: u64,
    pub(crate) table_bytes: u64,
    pub(crate) frame_count: u32,
    pub(crate) frame_bytes: u64,
}

impl Header {
    pub(crate) const fn new(store_uuid: [u8; 16], segment: SegmentId, segment_bytes: u64, first_lsn: Lsn) -> Self {
        Self {
            store_uuid,
            segment,
            next_segment: segment.next(),
            generation: 1,
            state: HeaderState::Active,
            incarnation: 1,
            segment_bytes,
            first_lsn,
            last_lsn: Lsn::ZERO,
            records_end: 0,
            table_position: 0,
            table_bytes: 0,
            frame_count: 0,
            frame_bytes: 0,
        }
    }

    /// The whole page of a new segment: one slot, the other empty.
    pub(crate) fn page(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES as usize];
        let at = SLOT_POSITIONS[self.slot()];
        page[at..at + SLOT_BYTES].copy_from_slice(&self.encode());
        page
    }

    fn slot(&self) -> usize {
        usize::from(self.generation.is_multiple_of(2))
    }

    /// Where in the file this generation belongs.
    pub(crate) fn position(&self) -> u64 {
        SLOT_POSITIONS[self.slot()] as u64
    }

    pub(crate) fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.store_uuid);
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&(self.state as u32).to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        for value in [
            self.segment_bytes,
            self.first_lsn.0,
            self.last_lsn.0,
            self.records_end,
            self.table_position,
            self.table_bytes,
            u64::from(self.frame_count),
            self.frame_bytes,
            self.next_segment.0,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.resize(SLOT_BYTES, 0);
        let mut slot: [u8; SLOT_BYTES] = out.try_into().expect("resized to this length");
        let sum = slot_crc(&slot);
        slot[12..16].copy_from_slice(&sum.to_le_bytes());
        slot
    }

    /// The newest header of a page.
    ///
    /// # Errors
    /// `Corrupt` where no slot holds; `NewerFormat`.
    pub(crate) fn decode_page(page: &[u8]) -> Result<Self> {
        let mut newest: Option<Self> = None;
        for at in SLOT_POSITIONS {
            let slot = page.get(at..at + SLOT_BYTES).and_then(|s| <&[u8; SLOT_BYTES]>::try_from(s).ok());
            let Some(header) = slot.map_or(Ok(None), decode_slot)? else { continue };
            if newest.is_none_or(|n| header.generation > n.generation) {
                newest = Some(header);
            }
        }
        newest.ok_or_else(|| Error::corrupt("read segment header", "no valid header in the first page"))
    }
}

/// Everything but the checksum itself. Bytes 0..16 and this checksum stay where they are in every later version.
fn slot_crc(slot: &[u8; SLOT_BYTES]) -> u32 {
    let mut plain = *slot;
    plain[12..16].fill(0);
    crc(&plain)
}

fn decode_slot(slot: &[u8; SLOT_BYTES]) -> Result<Option<Header>> {
    let u32_at = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if &slot[..8] != MAGIC || u32_at(12) != slot_crc(slot) {
        return Ok(None);
    }
    if u32_at(8) > VERSION {
        let why = format!("the segment has format {}, this program knows {VERSION}: use the newer program", u32_at(8));
        return Err(Error::new(ErrorKind::NewerFormat, "read segment header").context(why));
    }
    let state = match u32_at(48) {
        1 => HeaderState::Active,
        2 => HeaderState::Sealed,
        3 => HeaderState::Uploaded,
        _ => return Ok(None),
    };
    let (Ok(store_uuid), Ok(frame_count)) = (slot[16..32].try_into(), u32::try_from(u64_at(104))) else {
        return Ok(None);
    };
    Ok(Some(Header {
        store_uuid,
        segment: SegmentId(u64_at(32)),
        generation: u64_at(40),
        state,
        incarnation: u32_at(52),
        segment_bytes: u64_at(56),
        first_lsn: Lsn(u64_at(64)),
        last_lsn: Lsn(u64_at(72)),
        records_end: u64_at(80),
        table_position: u64_at(88),
        table_bytes: u64_at(96),
        frame_count,
        frame_bytes: u64_at(112),
        next_segment: SegmentId(u64_at(120)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        let mut header = Header::new([7; 16], SegmentId(9), 1 << 26, Lsn(44));
        header.last_lsn = Lsn(99);
        header.frame_count = 3;
        header.frame_bytes = 12_345;
        header
    }

    #[test]
    fn the_higher_generation_counts_and_a_torn_one_does_not() {
        let first = sample();
        let mut page = first.page();
        let second = Header { generation: 2, state: HeaderState::Sealed, ..first };
        let at = second.position() as usize;
        page[at..at + SLOT_BYTES].copy_from_slice(&second.encode());
        assert_eq!(Header::decode_page(&page).unwrap(), second);
        for bit in 0..SLOT_BYTES * 8 {
            let mut torn = page.clone();
            torn[at + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode_page(&torn).unwrap(), first, "bit {bit}");
        }
    }

    #[test]
    fn every_flip_in_a_single_slot_is_found() {
        let page = sample().page();
        for bit in 0..SLOT_BYTES * 8 {
            let mut bad = page.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode_page(&bad).unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
        }
        assert!(Header::decode_page(&page[..100]).is_err());
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut page = sample().page();
        page[8] = 2;
        let slot: &[u8; SLOT_BYTES] = page[..SLOT_BYTES].try_into().unwrap();
        let sum = slot_crc(slot);
        page[12..16].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::decode_page(&page).unwrap_err().kind(), ErrorKind::NewerFormat);
    }
}
