//! The table at the end of a segment blob: where each metadata block and each frame is, and the checksums.
//!
//! The blob is dense: blocks follow the header, frames the blocks, the table the frames. A decoder therefore knows
//! every offset twice and refuses a table that leaves a gap or overlaps.

use cache_journal::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, SegmentId, chunk_crc};
use objstore_base::Result;

use super::codec::{Codec, Unpacker};
use super::metadata::{BLOCK_BYTES_MAX, BlockEntry};
use super::{Footer, corrupt, crc, cursor::Cursor};

const BLOCK_ENTRY_BYTES: usize = 32;
/// A frame's entry without its origin and its chunk checksums.
const FRAME_ENTRY_BYTES: usize = 44;
const FLAG_ORIGIN: u8 = 1;

/// The table's line on one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    pub frame: FrameNo,
    /// Where the bytes belong: inode and offset in the file when they were written.
    pub ino: u64,
    pub offset: u64,
    /// The frame this one is a copy of (made by compaction).
    pub origin: Option<FrameId>,
    pub(super) raw_len: u32,
    pub(super) stored_len: u32,
    pub(super) blob_offset: u64,
    pub(super) stored_crc: u32,
    pub(super) codec: Codec,
    /// The journal's checksums of the raw bytes, one per chunk, bound to (segment, frame, chunk).
    pub(super) chunk_crcs: Box<[u32]>,
}

impl FrameEntry {
    /// Bytes of the frame as readers see it.
    pub const fn raw_len(&self) -> u32 {
        self.raw_len
    }

    /// Bytes of the frame in the blob.
    pub const fn stored_len(&self) -> u32 {
        self.stored_len
    }

    /// The frame's bytes within the blob.
    pub(crate) const fn range(&self) -> std::ops::Range<u64> {
        self.blob_offset..self.blob_offset + self.stored_len as u64
    }

    /// The frame's raw bytes, decompressed and verified against the checksums the journal computed at the write.
    ///
    /// # Errors
    /// `Corrupt`, naming segment and frame.
    pub(crate) fn open(&self, segment: SegmentId, unpacker: &mut Unpacker, stored: &[u8]) -> Result<Vec<u8>> {
        let bad = |why: String| corrupt(segment, format!("frame {}: {why}", self.frame.0));
        if stored_crc(segment, self.frame, stored) != self.stored_crc {
            return Err(bad("stored bytes do not fit their checksum".into()));
        }
        let raw = unpacker.unpack(self.codec, stored, self.raw_len as usize);
        let raw = raw.ok_or_else(|| bad("does not decompress".into()))?;
        let id = FrameId { segment, frame: self.frame };
        match first_bad_chunk(id, &raw, &self.chunk_crcs) {
            None => Ok(raw),
            Some(chunk) => Err(bad(format!("chunk {chunk} does not fit its checksum"))),
        }
    }
}

/// The number of the first chunk of `raw` that does not fit; a missing checksum fits nothing.
pub(super) fn first_bad_chunk(id: FrameId, raw: &[u8], crcs: &[u32]) -> Option<usize> {
    let chunks = raw.chunks(CHUNK_BYTES);
    if chunks.len() != crcs.len() {
        return Some(chunks.len().min(crcs.len()));
    }
    chunks.zip(crcs).enumerate().find(|(n, (chunk, sum))| chunk_crc(id, *n as u32, chunk) != **sum).map(|(n, _)| n)
}

pub(super) fn stored_crc(segment: SegmentId, frame: FrameNo, stored: &[u8]) -> u32 {
    crc(&[&segment.0.to_le_bytes(), &frame.0.to_le_bytes(), stored])
}

/// The decoded table of one blob: frames ascending by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameTable {
    segment: SegmentId,
    pub(crate) blocks: Vec<BlockEntry>,
    frames: Vec<FrameEntry>,
}

impl FrameTable {
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// All frames of the blob, ascending.
    pub fn frames(&self) -> &[FrameEntry] {
        &self.frames
    }

    pub fn frame(&self, frame: FrameNo) -> Option<&FrameEntry> {
        self.position(frame).and_then(|at| self.frames.get(at))
    }

    /// The frame's place in [`Self::frames`]; neighbours there are neighbours in the blob.
    pub(crate) fn position(&self, frame: FrameNo) -> Option<usize> {
        self.frames.binary_search_by_key(&frame.0, |entry| entry.frame.0).ok()
    }

    /// Memory held, for the budget of a cache of tables.
    pub(crate) fn weight(&self) -> u64 {
        let crcs: usize = self.frames.iter().map(|f| f.chunk_crcs.len() * 4).sum();
        (size_of::<Self>()
            + self.blocks.len() * size_of::<BlockEntry>()
            + self.frames.len() * size_of::<FrameEntry>()
            + crcs) as u64
    }

    pub(super) fn encode(blocks: &[BlockEntry], frames: &[FrameEntry]) -> Vec<u8> {
        let mut out = Vec::with_capacity(blocks.len() * BLOCK_ENTRY_BYTES + frames.len() * (FRAME_ENTRY_BYTES + 16));
        for b in blocks {
            out.extend_from_slice(&b.blob_offset.to_le_bytes());
            for word in [b.stored_len, b.raw_len, b.records, b.stored_crc, b.raw_crc] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&[b.codec as u8, 0, 0, 0]);
        }
        for f in frames {
            out.extend_from_slice(&f.frame.0.to_le_bytes());
            out.extend_from_slice(&f.raw_len.to_le_bytes());
            for word in [f.ino, f.offset, f.blob_offset] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&f.stored_len.to_le_bytes());
            out.extend_from_slice(&f.stored_crc.to_le_bytes());
            out.extend_from_slice(&[f.codec as u8, f.origin.map_or(0, |_| FLAG_ORIGIN), 0, 0]);
            if let Some(origin) = f.origin {
                out.extend_from_slice(&origin.segment.0.to_le_bytes());
                out.extend_from_slice(&origin.frame.0.to_le_bytes());
            }
            f.chunk_crcs.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        }
        out
    }

    pub(super) fn crc(segment: SegmentId, table: &[u8]) -> u32 {
        crc(&[&segment.0.to_le_bytes(), table])
    }

    /// Decodes the table that `footer` describes.
    ///
    /// # Errors
    /// `Corrupt`: checksum, an unknown codec, a length past the format's limits, or parts that are not dense.
    pub(crate) fn decode(footer: &Footer, bytes: &[u8]) -> Result<Self> {
        let segment = footer.segment;
        if bytes.len() as u64 != footer.table_len || Self::crc(segment, bytes) != footer.table_crc {
            return Err(corrupt(segment, "table does not fit its checksum"));
        }
        let mut decoder = Decoder { input: Cursor::new(bytes), expected: footer.header_bytes(), last_frame: None };
        let blocks = (0..footer.blocks).map(|_| decoder.block()).collect::<Option<Vec<_>>>();
        let blocks = blocks.ok_or_else(|| corrupt(segment, "table: bad entry of a metadata block"))?;
        let frames = (0..footer.frames).map(|_| decoder.frame()).collect::<Option<Vec<_>>>();
        let frames = frames.ok_or_else(|| corrupt(segment, "table: bad entry of a frame"))?;
        if !decoder.input.is_empty() || decoder.expected != footer.table_offset {
            return Err(corrupt(segment, "table does not cover the blob"));
        }
        Ok(Self { segment, blocks, frames })
    }
}

struct Decoder<'a> {
    input: Cursor<'a>,
    /// Where the next piece has to begin.
    expected: u64,
    last_frame: Option<u32>,
}

impl Decoder<'_> {
    /// Takes the piece's range, which has to begin where the last one ended.
    fn place(&mut self, blob_offset: u64, stored_len: u32, raw_len: u32, codec: Codec) -> Option<()> {
        let fits = match codec {
            Codec::None => stored_len == raw_len,
            Codec::Lz4 | Codec::Zstd => stored_len < raw_len,
        };
        let placed = fits && raw_len > 0 && blob_offset == self.expected;
        self.expected = self.expected.checked_add(u64::from(stored_len))?;
        placed.then_some(())
    }

    fn block(&mut self) -> Option<BlockEntry> {
        let c = &mut self.input;
        let (blob_offset, stored_len, raw_len, records) = (c.u64()?, c.u32()?, c.u32()?, c.u32()?);
        let (stored_crc, raw_crc) = (c.u32()?, c.u32()?);
        let codec = Codec::from_tag(c.u8()?)?;
        c.bytes(3)?;
        self.place(blob_offset, stored_len, raw_len, codec)?;
        let entry = BlockEntry { blob_offset, stored_len, raw_len, records, stored_crc, raw_crc, codec };
        (raw_len <= BLOCK_BYTES_MAX).then_some(entry)
    }

    fn frame(&mut self) -> Option<FrameEntry> {
        let c = &mut self.input;
        let (frame, raw_len) = (c.u32()?, c.u32()?);
        let (ino, offset, blob_offset) = (c.u64()?, c.u64()?, c.u64()?);
        let (stored_len, stored_crc) = (c.u32()?, c.u32()?);
        let codec = Codec::from_tag(c.u8()?)?;
        let origin = match c.u8()? {
            0 => None,
            FLAG_ORIGIN => Some(()),
            _ => return None,
        };
        c.bytes(2)?;
        let origin = match origin {
            Some(()) => Some(FrameId { segment: SegmentId(c.u64()?), frame: FrameNo(c.u32()?) }),
            None => None,
        };
        if raw_len as usize > FRAME_BYTES_MAX || self.last_frame.is_some_and(|last| frame <= last) {
            return None;
        }
        self.last_frame = Some(frame);
        let chunks = (raw_len as usize).div_ceil(CHUNK_BYTES);
        let chunk_crcs = (0..chunks).map(|_| c.u32()).collect::<Option<Box<[u32]>>>()?;
        self.place(blob_offset, stored_len, raw_len, codec)?;
        let frame = FrameNo(frame);
        Some(FrameEntry { frame, ino, offset, origin, raw_len, stored_len, blob_offset, stored_crc, codec, chunk_crcs })
    }
}
