//! Reading records one after the other from a segment file, as recovery, upload and repair do.

use std::io;
use std::sync::Arc;

use objstore_base::{Error, Result};
use objstore_env::DiskFile;

use crate::checksum::{SegmentSeed, chunk_crc};
use crate::header::PAGE_BYTES;
use crate::ids::{CHUNK_BYTES, FrameId, FrameNo, Lsn, SegmentId};
use crate::record::{ALIGN, HEAD_BYTES, MAGIC, RecordHead, RecordView, chunk_len};

/// Read-ahead: large enough for the disk, small beside the records' payloads that are skipped.
const WINDOW_BYTES: usize = 256 << 10;

/// A window over a segment file.
pub(crate) struct Scanner {
    file: Arc<dyn DiskFile>,
    segment: SegmentId,
    seed: SegmentSeed,
    /// Nothing is read from here on.
    limit: u64,
    window: Vec<u8>,
    window_start: u64,
    pub(crate) bytes_read: u64,
}

impl Scanner {
    pub(crate) fn new(file: Arc<dyn DiskFile>, segment: SegmentId, seed: SegmentSeed, limit: u64) -> Self {
        Self { file, segment, seed, limit, window: Vec::new(), window_start: 0, bytes_read: 0 }
    }

    /// `len` bytes at `at`; `None` where the segment ends before.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = at.checked_add(len as u64).filter(|end| *end <= self.limit) else { return Ok(None) };
        let held = at >= self.window_start && end <= self.window_start + self.window.len() as u64;
        if !held {
            let want = usize::try_from(self.limit - at).unwrap_or(usize::MAX).min(len.max(WINDOW_BYTES));
            self.window.resize(want, 0);
            let got = read_full(self.file.as_ref(), &mut self.window, at)?;
            self.window.truncate(got);
            self.window_start = at;
            self.bytes_read += got as u64;
        }
        let start = usize::try_from(at - self.window_start).unwrap_or(usize::MAX);
        Ok(start.checked_add(len).and_then(|end| self.window.get(start..end)))
    }

    /// The record at `at`, verified but for its payload; `None` where there is none.
    pub(crate) fn record(&mut self, at: u64) -> io::Result<Option<RecordView<'_>>> {
        let seed = self.seed;
        let limit = self.limit;
        let Some(head) = self.bytes(at, HEAD_BYTES)?.and_then(RecordHead::decode) else { return Ok(None) };
        let whole = u64::from(head.len);
        let body = HEAD_BYTES as u64 + head.body_bytes();
        if whole < body || !whole.is_multiple_of(ALIGN) || at + whole > limit {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(at, usize::try_from(body).unwrap_or(usize::MAX))? else { return Ok(None) };
        Ok(RecordView::verify(&seed, head, at, bytes))
    }

    /// Whether every payload chunk of the record at `at` holds.
    pub(crate) fn payload_holds(&mut self, at: u64) -> io::Result<bool> {
        let mut chunks: Vec<(FrameId, u32, u64, usize, u32)> = Vec::new();
        let segment = self.segment;
        let Some(view) = self.record(at)? else { return Ok(false) };
        view.each_frame(|no: FrameNo, frame, position, crcs| {
            for (chunk, crc) in (0..).zip(crcs) {
                let at = position + u64::from(chunk) * CHUNK_BYTES as u64;
                chunks.push((FrameId::new(segment, no), chunk, at, chunk_len(frame.len, chunk), crc));
            }
        });
        for (frame, chunk, at, len, crc) in chunks {
            if self.bytes(at, len)?.is_none_or(|bytes| chunk_crc(frame, chunk, bytes) != crc) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at every place from `from` on where a record could start and gives the ends of the valid ones with the
    /// highest durable LSN that any of them knows of. Finds what stands behind a damaged record.
    pub(crate) fn probe(&mut self, from: u64, mut found: impl FnMut(RecordHead, u64)) -> io::Result<()> {
        let mut at = from.next_multiple_of(ALIGN);
        while at < self.limit {
            let len = usize::try_from(self.limit - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let Some(window) = self.bytes(at, len)? else { break };
            let hits: Vec<u64> = window
                .chunks_exact(ALIGN as usize)
                .zip(0u64..)
                .filter(|(eight, _)| eight.starts_with(&MAGIC))
                .map(|(_, i)| at + i * ALIGN)
                .collect();
            for hit in hits {
                if let Some(view) = self.record(hit)? {
                    found(view.head, view.layout.end);
                }
            }
            at += len as u64 / ALIGN * ALIGN;
            if (len as u64) < ALIGN {
                break;
            }
        }
        Ok(())
    }

    /// Visits the records of a segment that is known to be whole: from `first` to `last` without a gap.
    ///
    /// # Errors
    /// `Corrupt` naming offset and LSN of the first that does not hold.
    pub(crate) fn whole(
        &mut self,
        first: Lsn,
        last: Lsn,
        mut visit: impl FnMut(&RecordView<'_>) -> Result<()>,
    ) -> Result<()> {
        let (mut at, mut expected) = (PAGE_BYTES, first);
        while expected <= last {
            let segment = self.segment;
            let view = self.record(at).map_err(|e| Error::io("read segment", e).entity(segment))?;
            let Some(view) = view.filter(|v| v.head.lsn == expected) else {
                return Err(damaged(segment, at, expected));
            };
            visit(&view)?;
            at = view.layout.end;
            expected = expected.next();
        }
        Ok(())
    }
}

/// What to do where no start will get past what is wrong with the journal.
pub(crate) const WITHOUT_JOURNAL: &str = "to go on with what was in the pool, and without what was not, rename the \
                                          store's folder `journal` and run `tidegate recover`";

/// A record that must be there is not.
pub(crate) fn damaged(segment: SegmentId, at: u64, lsn: Lsn) -> Error {
    let why = format!("no valid record of {lsn} at byte {at}, though it was durable; {WITHOUT_JOURNAL}");
    Error::corrupt("read journal", why).entity(segment)
}

/// Reads until `buf` is full or the file ends.
fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
