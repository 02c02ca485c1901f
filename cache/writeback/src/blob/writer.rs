//! [`BlobWriter`]: turns the records of one segment into the parts of its blob.
//!
//! Memory: the compressed blob itself, one metadata block and one frame; the caller hands frames in one at a time.

use bytes::Bytes;
use cache_journal::{FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};
use objstore_base::Result;

use super::codec::Packer;
use super::metadata::MetadataSection;
use super::parts::Parts;
use super::table::{first_bad_chunk, stored_crc};
use super::{
    Compression, Footer, FrameEntry, FrameTable, HEADER_BYTES, Lineage, RecordsCrc, SegmentHead, SegmentLink, corrupt,
};

/// What a frame is, apart from its bytes.
#[derive(Clone, Debug)]
pub struct FrameHead<'a> {
    pub frame: FrameNo,
    pub ino: u64,
    pub offset: u64,
    pub origin: Option<FrameId>,
    /// The journal's checksums of the raw bytes.
    pub chunk_crcs: &'a [u32],
}

/// A blob ready to be put, and what is in it.
pub struct BuiltBlob {
    pub segment: SegmentId,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub records_crc: u32,
    pub parts: Vec<Bytes>,
    /// Length of all parts together.
    pub len: u64,
    /// Bytes of the frames in the blob before compression.
    pub raw_bytes: u64,
    pub frames: u32,
    /// Frames that were dead and are not in the blob.
    pub left_out: u32,
}

impl BuiltBlob {
    /// What the segment that follows names this one by.
    pub fn link(&self) -> SegmentLink {
        SegmentLink { segment: self.segment, last_lsn: self.last_lsn, records_crc: self.records_crc }
    }
}

pub struct BlobWriter {
    segment: SegmentId,
    lineage: Lineage,
    records: RecordsCrc,
    packer: Packer,
    metadata: MetadataSection,
    data: Parts,
    frames: Vec<FrameEntry>,
    lsns: Option<(Lsn, Lsn)>,
    left_out: u32,
    raw_bytes: u64,
}

impl BlobWriter {
    pub fn new(segment: SegmentId, lineage: Lineage, compression: Compression) -> Result<Self> {
        Ok(Self {
            segment,
            lineage,
            records: RecordsCrc::new(),
            packer: Packer::new(compression)?,
            metadata: MetadataSection::default(),
            data: Parts::default(),
            frames: Vec::new(),
            lsns: None,
            left_out: 0,
            raw_bytes: 0,
        })
    }

    /// Adds the metadata batch of the record `lsn`; records come in ascending order.
    ///
    /// # Errors
    /// `Corrupt` where they do not.
    pub fn batch(&mut self, lsn: Lsn, batch: &[u8]) -> Result<()> {
        let first = match self.lsns {
            Some((_, last)) if lsn <= last => {
                return Err(corrupt(self.segment, format!("{lsn} follows {last}")));
            }
            Some((first, _)) => first,
            None => lsn,
        };
        self.lsns = Some((first, lsn));
        self.records.add(lsn, batch);
        self.metadata.push(self.segment, &mut self.packer, lsn, batch)
    }

    /// Says which LSNs the segment covers, records without a batch included: the next segment follows without a gap,
    /// and recovery finds one that is missing. After the last batch.
    pub fn span(&mut self, first: Lsn, last: Lsn) {
        let (inner_first, inner_last) = self.lsns.unwrap_or((first, last));
        self.lsns = Some((first.min(inner_first), last.max(inner_last)));
    }

    /// Adds a live frame; frames come in ascending order. The raw bytes are verified once more, so that the blob
    /// never makes rot of the local disk look healthy.
    ///
    /// # Errors
    /// `Corrupt`, naming segment and frame.
    pub fn frame(&mut self, head: &FrameHead<'_>, raw: &[u8]) -> Result<()> {
        let bad = |why: String| corrupt(self.segment, format!("frame {}: {why}", head.frame.0));
        if raw.is_empty() || raw.len() > FRAME_BYTES_MAX {
            return Err(bad(format!("is {} bytes long", raw.len())));
        }
        if let Some(last) = self.frames.last().filter(|last| last.frame.0 >= head.frame.0) {
            return Err(bad(format!("follows frame {}", last.frame.0)));
        }
        let id = FrameId { segment: self.segment, frame: head.frame };
        if let Some(chunk) = first_bad_chunk(id, raw, head.chunk_crcs) {
            return Err(bad(format!("chunk {chunk} does not fit its checksum in the journal")));
        }
        let (codec, stored) = self.packer.pack(raw)?;
        self.frames.push(FrameEntry {
            frame: head.frame,
            ino: head.ino,
            offset: head.offset,
            origin: head.origin,
            raw_len: raw.len() as u32,
            stored_len: stored.len() as u32,
            // Counts from the section's start until `finish` knows where that is.
            blob_offset: self.data.len(),
            stored_crc: stored_crc(self.segment, head.frame, stored),
            codec,
            chunk_crcs: head.chunk_crcs.into(),
        });
        self.data.push(stored);
        self.raw_bytes += raw.len() as u64;
        Ok(())
    }

    /// Counts a dead frame that is not stored.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    pub fn finish(mut self) -> Result<BuiltBlob> {
        let segment = self.segment;
        self.metadata.close(segment, &mut self.packer)?;
        let (first_lsn, last_lsn) = self.lsns.unwrap_or_default();
        let metadata_offset = HEADER_BYTES as u64;
        let data_offset = metadata_offset + self.metadata.parts.len();
        self.metadata.blocks.iter_mut().for_each(|b| b.blob_offset += metadata_offset);
        self.frames.iter_mut().for_each(|f| f.blob_offset += data_offset);

        let table = FrameTable::encode(&self.metadata.blocks, &self.frames);
        let footer = Footer {
            version: Footer::VERSION,
            segment,
            first_lsn,
            last_lsn,
            blocks: self.metadata.blocks.len() as u32,
            frames: self.frames.len() as u32,
            left_out: self.left_out,
            table_crc: FrameTable::crc(segment, &table),
            table_offset: data_offset + self.data.len(),
            table_len: table.len() as u64,
            raw_bytes: self.raw_bytes,
        };
        let records_crc = self.records.value();
        let head = SegmentHead { segment, first_lsn, last_lsn, lineage: self.lineage, records_crc: Some(records_crc) };
        let mut parts = vec![Bytes::from(head.encode())];
        parts.extend(self.metadata.parts.finish());
        parts.extend(self.data.finish());
        parts.extend([Bytes::from(table), Bytes::from(footer.encode())]);
        let len = parts.iter().map(|p| p.len() as u64).sum();
        let (frames, left_out, raw_bytes) = (footer.frames, footer.left_out, footer.raw_bytes);
        Ok(BuiltBlob { segment, first_lsn, last_lsn, records_crc, parts, len, raw_bytes, frames, left_out })
    }
}
