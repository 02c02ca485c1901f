//! The fixed structures at the two ends of a segment blob: a header that names it, a footer that finds everything.

use cache_journal::{Lsn, SegmentId};
use objstore_base::{Error, ErrorKind, Result};

use super::{corrupt, crc, cursor::Cursor};

pub(crate) const HEADER_BYTES: usize = 48;
pub(crate) const FOOTER_BYTES: usize = 96;
const HEADER_MAGIC: [u8; 8] = *b"TGSEGBLB";
const FOOTER_MAGIC: [u8; 8] = *b"TGSEGEND";
const VERSION: u16 = 1;

/// Names the blob to whoever finds its bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub segment: SegmentId,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&HEADER_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.last_lsn.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let sum = crc(&[&out]);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// # Errors
    /// `Corrupt`, `NewerFormat`; `Mismatch` for another segment's blob.
    pub(crate) fn decode(segment: SegmentId, bytes: &[u8]) -> Result<Self> {
        let fields = sealed(segment, bytes, HEADER_BYTES, &HEADER_MAGIC, "header")?;
        let mut c = Cursor::new(fields);
        let decoded = (|| {
            c.bytes(6)?;
            Some(Self { segment: SegmentId(c.u64()?), first_lsn: Lsn(c.u64()?), last_lsn: Lsn(c.u64()?) })
        })();
        let header = decoded.ok_or_else(|| corrupt(segment, "header is short"))?;
        named(segment, header.segment)?;
        Ok(header)
    }
}

/// Where the table is and what the blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
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
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
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
        let fields = sealed(segment, bytes, FOOTER_BYTES, &FOOTER_MAGIC, "footer")?;
        let mut c = Cursor::new(fields);
        let decoded = (|| {
            c.bytes(6)?;
            Some(Self {
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
        if end != Some(blob_len) || footer.table_offset < HEADER_BYTES as u64 {
            let (at, len) = (footer.table_offset, footer.table_len);
            return Err(corrupt(segment, format!("table at {at}+{len} does not fit a blob of {blob_len} bytes")));
        }
        Ok(footer)
    }
}

/// The fields between version and CRC, after magic, CRC and version were checked.
fn sealed<'a>(segment: SegmentId, bytes: &'a [u8], len: usize, magic: &[u8; 8], what: &str) -> Result<&'a [u8]> {
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
        Some(VERSION) => c.bytes(len - 14).ok_or_else(|| corrupt(segment, format!("{what} is short"))),
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
