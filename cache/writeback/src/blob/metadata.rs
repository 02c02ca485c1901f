//! The metadata section: the batches of the segment's records, gathered into blocks that are compressed together.
//!
//! A block is `{lsn u64, length u32, batch}` repeated. Its place, length, codec and checksums stand in the table.

use cache_journal::{Lsn, SegmentId};
use objstore_base::Result;

use super::codec::{Codec, Packer, Unpacker};
use super::parts::Parts;
use super::{corrupt, crc, cursor::Cursor};

/// A block is closed when it has grown past this: batches are short and alike, so a larger window would gain little
/// and cost recovery memory.
const BLOCK_BYTES: usize = 1 << 20;
/// A decoder allocates no more than this for one block; a batch alone in its block may be as large as a segment.
pub(super) const BLOCK_BYTES_MAX: u32 = 256 << 20;
const RECORD_HEAD_BYTES: usize = 12;

/// The table's line on one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub blob_offset: u64,
    pub stored_len: u32,
    pub raw_len: u32,
    pub records: u32,
    pub stored_crc: u32,
    pub raw_crc: u32,
    pub codec: Codec,
}

#[derive(Default)]
pub(super) struct MetadataSection {
    pub(super) parts: Parts,
    pub(super) blocks: Vec<BlockEntry>,
    open: Vec<u8>,
    open_records: u32,
}

impl MetadataSection {
    /// Takes the batch of one record; offsets count from the section's start until [`super::BlobWriter::finish`].
    pub(super) fn push(&mut self, segment: SegmentId, packer: &mut Packer, lsn: Lsn, batch: &[u8]) -> Result<()> {
        let whole = self.open.len() + RECORD_HEAD_BYTES + batch.len();
        if !self.open.is_empty() && whole > BLOCK_BYTES {
            self.close(segment, packer)?;
        }
        let len = u32::try_from(batch.len()).ok().filter(|len| *len < BLOCK_BYTES_MAX - RECORD_HEAD_BYTES as u32);
        let len = len.ok_or_else(|| corrupt(segment, format!("{lsn} has a batch of {} bytes", batch.len())))?;
        self.open.extend_from_slice(&lsn.0.to_le_bytes());
        self.open.extend_from_slice(&len.to_le_bytes());
        self.open.extend_from_slice(batch);
        self.open_records += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, segment: SegmentId, packer: &mut Packer) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let (codec, stored) = packer.pack(&self.open)?;
        self.blocks.push(BlockEntry {
            blob_offset: self.parts.len(),
            stored_len: stored.len() as u32,
            raw_len: self.open.len() as u32,
            records: self.open_records,
            stored_crc: block_crc(segment, self.blocks.len(), stored),
            raw_crc: block_crc(segment, self.blocks.len(), &self.open),
            codec,
        });
        self.parts.push(stored);
        self.open.clear();
        self.open_records = 0;
        Ok(())
    }
}

fn block_crc(segment: SegmentId, block: usize, bytes: &[u8]) -> u32 {
    crc(&[&segment.0.to_le_bytes(), &(block as u64).to_le_bytes(), bytes])
}

/// The verified records of block number `block`, in their order.
///
/// # Errors
/// `Corrupt`, naming segment and block.
pub(crate) fn records_of_block(
    segment: SegmentId,
    block: usize,
    entry: &BlockEntry,
    stored: &[u8],
) -> Result<Vec<(Lsn, Vec<u8>)>> {
    let bad = |why: &str| corrupt(segment, format!("metadata block {block}: {why}"));
    if block_crc(segment, block, stored) != entry.stored_crc {
        return Err(bad("stored bytes do not fit their checksum"));
    }
    let raw = Unpacker::default().unpack(entry.codec, stored, entry.raw_len as usize);
    let raw = raw.ok_or_else(|| bad("does not decompress"))?;
    if block_crc(segment, block, &raw) != entry.raw_crc {
        return Err(bad("does not fit its checksum"));
    }
    let mut records = Vec::new();
    let mut c = Cursor::new(&raw);
    while !c.is_empty() {
        let record = (|| {
            let (lsn, len) = (Lsn(c.u64()?), c.u32()?);
            Some((lsn, c.bytes(len as usize)?.to_vec()))
        })();
        records.push(record.ok_or_else(|| bad("ends inside a record"))?);
    }
    if records.len() != entry.records as usize {
        return Err(bad("holds another number of records than the table says"));
    }
    Ok(records)
}
