//! The fixed structures at the two ends of a segment blob: a header that names it, a footer that finds everything.

use cache_journal::{Lsn, SegmentId};
use objstore_base::{Error, ErrorKind, Result};

use super::lineage::{Lineage, SegmentLink};
use super::{corrupt, crc, cursor::Cursor};

pub(crate) const HEADER_BYTES: usize = 96;
/// What the header was in version 1: without a history.
const HEADER_BYTES_V1: usize = 48;
pub(crate) const FOOTER_BYTES: usize = 96;
const HEADER_MAGIC: [u8; 8] = *b"TGSEGBLB";
const FOOTER_MAGIC: [u8; 8] = *b"TGSEGEND";
const VERSION: u16 = 2;
/// What a blob of version 1 belongs to: before it there were no timelines.
const TIMELINE_V1: u64 = 1;

/// Names the blob to whoever finds its bytes alone, and says where in which history it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    pub segment: SegmentId,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub lineage: Lineage,
    /// Of this segment's own records; `None` in version 1.
    pub records_crc: Option<u32>,
}

impl SegmentHead {
    /// Whether it holds any record.
    pub fn holds_records(&self) -> bool {
        self.first_lsn > Lsn::ZERO && self.last_lsn >= self.first_lsn
    }

    /// What the segment that follows this one names it by.
    pub fn link(&self) -> Option<SegmentLink> {
        let (segment, last_lsn) = (self.segment, self.last_lsn);
        self.records_crc.map(|records_crc| SegmentLink { segment, last_lsn, records_crc })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&HEADER_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        let unknown = SegmentLink { segment: SegmentId(0), last_lsn: Lsn::ZERO, records_crc: 0 };
        let previous = self.lineage.previous.unwrap_or(unknown);
        let (timeline, first, last) = (self.lineage.timeline, self.first_lsn.0, self.last_lsn.0);
        for word in [self.segment.0, first, last, timeline, previous.segment.0, previous.last_lsn.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [previous.records_crc, self.records_crc.unwrap_or(0)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 20]);
        let sum = crc(&[&out]);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes the header at the start of `bytes`, which are the first `HEADER_BYTES` of a blob or more.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`; `Mismatch` for another segment's blob.
    pub(crate) fn decode(segment: SegmentId, bytes: &[u8]) -> Result<Self> {
        let version = bytes.get(8..10).and_then(|v| v.try_into().ok()).map(u16::from_le_bytes);
        let len = if version == Some(1) { HEADER_BYTES_V1 } else { HEADER_BYTES };
        let whole = bytes.get(..len).ok_or_else(|| corrupt(segment, "header is short"))?;
        let (version, fields) = sealed(segment, whole, len, &HEADER_MAGIC, "header")?;
        let mut c = Cursor::new(fields);
        let decoded = (|| {
            c.bytes(6)?;
            let (segment, first_lsn, last_lsn) = (SegmentId(c.u64()?), Lsn(c.u64()?), Lsn(c.u64()?));
            let (lineage, records_crc) = match version {
                1 => (Lineage { timeline: TIMELINE_V1, previous: None }, None),
                _ => {
                    let timeline = c.u64()?;
                    let (segment, last_lsn, records_crc) = (SegmentId(c.u64()?), Lsn(c.u64()?), c.u32()?);
                    let previous = SegmentLink { segment, last_lsn, records_crc };
                    (Lineage { timeline, previous: (segment.0 > 0).then_some(previous) }, Some(c.u32()?))
                }
            };
            Some(Self { segment, first_lsn, last_lsn, lineage, records_crc })
        })();
        let header = decoded.ok_or_else(|| corrupt(segment, "header is short"))?;
        named(segment, header.segment)?;
        Ok(header)
    }
}

/// Where the table is and what the blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub version: u16,
    pub segment: SegmentId,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub blocks: u32,
    pub frames: u32,
    /// Frames of the segment that were dead before its end and are not in the blob.
    pub left_out: u32,
    pub table_crc: u32,
    pub table_offset: u64,
    pub table_len: u64,
    /// Bytes of all frames before compression.
    pub raw_bytes: u64,
}

impl Footer {
    /// The version of blobs that are written now.
    pub(crate) const VERSION: u16 = VERSION;

    /// Length of the header at the other end of the blob.
    pub(crate) const fn header_bytes(&self) -> u64 {
        if self.version == 1 { HEADER_BYTES_V1 as u64 } else { HEADER_BYTES as u64 }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.last_lsn.0.to_le_bytes());
        for word in [self.blocks, self.frames, self.left_out, self.table_crc] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.table_offset, self.table_len, self.raw_bytes] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 12]);
        let sum = crc(&[&out]);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes the last `FOOTER_BYTES` of a blob of `blob_len` bytes.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`; `Mismatch` for another segment's blob.
    pub(crate) fn decode(segment: SegmentId, bytes: &[u8], blob_len: u64) -> Result<Self> {
        let (version, fields) = sealed(segment, bytes, FOOTER_BYTES, &FOOTER_MAGIC, "footer")?;
        let mut c = Cursor::new(fields);
        let decoded = (|| {
            c.bytes(6)?;
            Some(Self {
                version,
                segment: SegmentId(c.u64()?),
                first_lsn: Lsn(c.u64()?),
                last_lsn: Lsn(c.u64()?),
                blocks: c.u32()?,
                frames: c.u32()?,
                left_out: c.u32()?,
                table_crc: c.u32()?,
                table_offset: c.u64()?,
                table_len: c.u64()?,
                raw_bytes: c.u64()?,
            })
        })();
        let footer = decoded.ok_or_else(|| corrupt(segment, "footer is short"))?;
        named(segment, footer.segment)?;
        let end = footer.table_offset.checked_add(footer.table_len).and_then(|e| e.checked_add(FOOTER_BYTES as u64));
        if end != Some(blob_len) || footer.table_offset < footer.header_bytes() {
            let (at, len) = (footer.table_offset, footer.table_len);
            return Err(corrupt(segment, format!("table at {at}+{len} does not fit a blob of {blob_len} bytes")));
        }
        Ok(footer)
    }
}

/// The version, and the fields between it and the CRC, after magic, CRC and version were checked.
fn sealed<'a>(segment: SegmentId, bytes: &'a [u8], len: usize, magic: &[u8; 8], what: &str) -> Result<(u16, &'a [u8])> {
    let (body, sum) = match bytes.split_last_chunk::<4>() {
        Some((body, sum)) if bytes.len() == len => (body, u32::from_le_bytes(*sum)),
        _ => return Err(corrupt(segment, format!("{what} is {} bytes long instead of {len}", bytes.len()))),
    };
    let mut c = Cursor::new(body);
    if c.bytes(8) != Some(magic) {
        return Err(corrupt(segment, format!("{what} has no magic: these bytes are no segment blob")));
    }
    if crc(&[body]) != sum {
        return Err(corrupt(segment, format!("{what} does not fit its checksum")));
    }
    match c.u16() {
        Some(version @ 1..=VERSION) => {
            let fields = c.bytes(len - 14).ok_or_else(|| corrupt(segment, format!("{what} is short")))?;
            Ok((version, fields))
        }
        Some(version) if version > VERSION => Err(Error::new(ErrorKind::NewerFormat, "read segment blob")
            .entity(segment)
            .context(format!("version {version} was written by a newer program"))),
        _ => Err(corrupt(segment, format!("{what} has version 0"))),
    }
}

fn named(wanted: SegmentId, found: SegmentId) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Mismatch, "read segment blob")
        .entity(wanted)
        .context(format!("the blob says that it is {found}")))
}
