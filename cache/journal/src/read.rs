//! Reading frames that are local.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use objstore_base::{Error, ErrorKind, Result, ResultExt};
use objstore_env::DiskFile;

use crate::checksum::chunk_crc;
use crate::ids::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};
use crate::info::SegmentInfo;
use crate::journal::Journal;
use crate::record::{RecordKind, chunk_len};
use crate::scan::Scanner;
use crate::segment::{Phase, Segment};
use crate::table::{FrameEntry, FrameTable};

const CHUNKS_MAX: usize = FRAME_BYTES_MAX / CHUNK_BYTES;

/// A frame, ready to be read.
struct Located {
    frame: FrameId,
    position: u64,
    len: u32,
    /// Stored CRCs of all chunks; on the stack, so that a read allocates nothing.
    crcs: [u32; CHUNKS_MAX],
}

impl Journal {
    /// Fills `out` with the bytes `range` of a frame, each touched chunk verified. `None` where the segment is not
    /// local. Ranges on chunk borders are read straight into `out`.
    ///
    /// # Errors
    /// `Corrupt` where the bytes do not verify or the frame does not exist: the pool may still have it.
    /// `InvalidArgument` for a range outside the frame or of another length than `out`.
    pub fn read(&self, frame: FrameId, range: Range<u32>, out: &mut [u8]) -> Result<Option<()>> {
        let Some(segment) = self.find(frame.segment) else { return Ok(None) };
        segment.last_read.store(self.read_tick.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let done = self.read_local(&segment, frame, range, out);
        match done {
            // Retired while it was read: its file may hold something else by now.
            Err(_) if self.find(frame.segment).is_none() => Ok(None),
            other => other.map(Some),
        }
    }

    fn read_local(&self, segment: &Segment, frame: FrameId, range: Range<u32>, out: &mut [u8]) -> Result<()> {
        let located = self.with_entry(segment, frame.frame, |table, entry| locate(table, entry, frame, &range))??;
        if out.len() != range.len() {
            return Err(outside(frame, &range, located.len));
        }
        if range.is_empty() {
            return Ok(());
        }
        let file = match segment.held_file() {
            Some(file) => {
                if segment.is_buffered(located.position..located.position + u64::from(located.len)) {
                    self.write_out()?;
                }
                file
            }
            None => self.files.open(segment.id)?,
        };
        located.read(file.as_ref(), range, out)
    }

    /// Length of a frame; `None` where its segment is not local.
    pub fn frame_len(&self, frame: FrameId) -> Result<Option<u32>> {
        let Some(segment) = self.find(frame.segment) else { return Ok(None) };
        match self.with_entry(&segment, frame.frame, |_, entry| entry.len) {
            Err(_) if self.find(frame.segment).is_none() => Ok(None),
            other => other.map(Some),
        }
    }

    fn with_entry<T>(
        &self,
        segment: &Segment,
        frame: FrameNo,
        look: impl FnOnce(&FrameTable, &FrameEntry) -> T,
    ) -> Result<T> {
        let missing = || {
            let id = FrameId::new(segment.id, frame);
            Error::corrupt("read journal", "the segment has no such frame").entity(id)
        };
        let body = segment.body.read();
        if body.phase < Phase::Sealed {
            let entry = body.table.get(frame).filter(|e| e.len > 0).ok_or_else(missing)?;
            return Ok(look(&body.table, entry));
        }
        drop(body);
        let table = self.table(segment)?;
        let entry = table.get(frame).filter(|e| e.len > 0).ok_or_else(missing)?;
        Ok(look(&table, entry))
    }

    /// The frame table of a sealed segment, from memory or from its file.
    fn table(&self, segment: &Segment) -> Result<Arc<FrameTable>> {
        if let Some(table) = self.tables.get(segment.id) {
            return Ok(table);
        }
        let header = segment.body.read().header;
        let (position, frames) = (header.table_position, header.frame_count);
        let len = usize::try_from(header.table_bytes).ok().filter(|len| *len as u64 <= header.segment_bytes);
        let mut encoded = vec![0; len.ok_or_else(|| Error::corrupt("read frame table", "its length is impossible"))?];
        let file = self.files.open(segment.id)?;
        file.read_exact_at(&mut encoded, position).map_err(|e| Error::io("read frame table", e)).on(segment.id)?;
        let table = FrameTable::decode(&segment.seed, &encoded).on(segment.id)?;
        if table.len() != frames {
            return Err(Error::corrupt("read frame table", "it has not as many frames as the header says"));
        }
        let table = Arc::new(table);
        self.tables.put(segment.id, table.clone(), table.weight());
        Ok(table)
    }

    /// A sealed segment for upload: its records, its frame table, its frames.
    ///
    /// # Errors
    /// `NotFound` where it is not local, `InvalidArgument` where it is not sealed, `Corrupt`.
    pub fn sealed(&self, id: SegmentId) -> Result<SegmentReader> {
        let segment = self.find(id).ok_or_else(|| Error::new(ErrorKind::NotFound, "read segment").entity(id))?;
        if segment.body.read().phase < Phase::Sealed {
            return Err(Error::new(ErrorKind::InvalidArgument, "read segment").entity(id).context("it is not sealed"));
        }
        let table = self.table(&segment)?;
        let file = self.files.open(id)?;
        Ok(SegmentReader { info: segment.info(), segment, table, file })
    }
}

fn locate(table: &FrameTable, entry: &FrameEntry, frame: FrameId, range: &Range<u32>) -> Result<Located> {
    if range.start > range.end || range.end > entry.len {
        return Err(outside(frame, range, entry.len));
    }
    let mut crcs = [0; CHUNKS_MAX];
    for (slot, crc) in crcs.iter_mut().zip(table.chunk_crcs(entry)) {
        *slot = *crc;
    }
    Ok(Located { frame, position: entry.position.into(), len: entry.len, crcs })
}

fn outside(frame: FrameId, range: &Range<u32>, len: u32) -> Error {
    let why = format!("bytes {range:?} of a frame of {len} do not fit");
    Error::new(ErrorKind::InvalidArgument, "read journal").entity(frame).context(why)
}

impl Located {
    /// Head and tail chunks that are wanted in part go through a scratch; whole chunks between go straight to `out`.
    fn read(&self, file: &dyn DiskFile, range: Range<u32>, out: &mut [u8]) -> Result<()> {
        let mut at = range.start;
        let mut out = out;
        while at < range.end {
            let chunk = at / CHUNK_BYTES as u32;
            let chunk_start = chunk * CHUNK_BYTES as u32;
            let chunk_end = chunk_start + u32::try_from(chunk_len(self.len, chunk)).unwrap_or(0);
            let whole_to =
                if range.end == self.len { self.len } else { range.end / CHUNK_BYTES as u32 * CHUNK_BYTES as u32 };
            let to = if at == chunk_start && whole_to > at { whole_to } else { chunk_end.min(range.end) };
            let (part, rest) = out.split_at_mut((to - at) as usize);
            if at == chunk_start && to == whole_to {
                self.read_chunks(file, chunk, part)?;
            } else {
                let mut scratch = [0; CHUNK_BYTES];
                let scratch = scratch.get_mut(..(chunk_end - chunk_start) as usize).unwrap_or_default();
                self.read_chunks(file, chunk, scratch)?;
                let wanted = (at - chunk_start) as usize..(to - chunk_start) as usize;
                part.copy_from_slice(scratch.get(wanted).unwrap_or_default());
            }
            at = to;
            out = rest;
        }
        Ok(())
    }

    /// Reads whole chunks from number `first` on and verifies each.
    fn read_chunks(&self, file: &dyn DiskFile, first: u32, out: &mut [u8]) -> Result<()> {
        let position = self.position + u64::from(first) * CHUNK_BYTES as u64;
        file.read_exact_at(out, position).map_err(|e| Error::io("read journal", e)).on(self.frame)?;
        for (chunk, bytes) in (first..).zip(out.chunks(CHUNK_BYTES)) {
            let stored = self.crcs.get(chunk as usize);
            if stored != Some(&chunk_crc(self.frame, chunk, bytes)) {
                let why = format!("checksum mismatch in chunk {chunk}, byte {position} of the segment file");
                return Err(Error::corrupt("read journal", why).entity(self.frame));
            }
        }
        Ok(())
    }
}

/// A sealed segment, open for reading.
pub struct SegmentReader {
    info: SegmentInfo,
    segment: Arc<Segment>,
    table: Arc<FrameTable>,
    file: Arc<dyn DiskFile>,
}

/// One record of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord<'a> {
    pub lsn: Lsn,
    pub batch: &'a [u8],
    /// Numbers of its frames; see `SegmentReader::frames` for the rest.
    pub frames: Range<u32>,
}

impl SegmentReader {
    pub const fn id(&self) -> SegmentId {
        self.info.id
    }

    pub const fn info(&self) -> &SegmentInfo {
        &self.info
    }

    pub fn frames(&self) -> &FrameTable {
        &self.table
    }

    /// Visits every record that carries something, in order.
    ///
    /// # Errors
    /// `Corrupt`, or what `visit` gives.
    pub fn records(&self, visit: &mut dyn FnMut(SealedRecord<'_>) -> Result<()>) -> Result<()> {
        let header = self.segment.body.read().header;
        let mut scanner = Scanner::new(self.file.clone(), self.info.id, self.segment.seed, header.records_end);
        scanner.whole(self.info.first_lsn, self.info.last_lsn, |view| {
            if view.head.kind != RecordKind::Data {
                return Ok(());
            }
            let frames = view.head.first_frame.0..view.head.first_frame.0 + view.head.frame_count;
            visit(SealedRecord { lsn: view.head.lsn, batch: view.batch, frames })
        })
    }

    /// The whole frame, verified; `out` is as long as the frame.
    pub fn read_frame(&self, frame: FrameNo, out: &mut [u8]) -> Result<()> {
        let id = FrameId::new(self.info.id, frame);
        let missing = || Error::corrupt("read journal", "the segment has no such frame").entity(id);
        let entry = self.table.get(frame).filter(|e| e.len > 0).ok_or_else(missing)?;
        let range = 0..entry.len;
        let located = locate(&self.table, entry, id, &range)?;
        if out.len() != entry.len as usize {
            return Err(outside(id, &range, entry.len));
        }
        located.read(self.file.as_ref(), range, out)
    }
}
