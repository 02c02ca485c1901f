//! One segment in memory: its phase, its table while it is written, and its open file.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use objstore_env::DiskFile;
use parking_lot::{Mutex, RwLock};

use crate::checksum::SegmentSeed;
use crate::files::Prepared;
use crate::header::{Header, HeaderState, PAGE_BYTES};
use crate::ids::{Lsn, SegmentId};
use crate::info::{SegmentInfo, SegmentState};
use crate::table::FrameTable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Active,
    /// Full; the next sync seals it.
    Rolled,
    Sealed,
    Uploaded,
}

pub(crate) struct Body {
    pub(crate) header: Header,
    pub(crate) phase: Phase,
    /// Frames while the segment is written and until it is sealed.
    pub(crate) table: FrameTable,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    /// End of the records, then, once sealed, of the frame table.
    pub(crate) end: u64,
    pub(crate) frame_bytes: u64,
    /// Whether any record carries something; a watermark alone is not worth a seal.
    pub(crate) holds_data: bool,
    pub(crate) file_bytes: u64,
    pub(crate) oldest_at: Duration,
    pub(crate) sealed_at: Option<Duration>,
}

pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) seed: SegmentSeed,
    pub(crate) body: RwLock<Body>,
    /// Held from preparation until the segment is sealed; repair puts another file in its place.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    /// End of what was ever buffered, and of what of it is in the file.
    tail_end: AtomicU64,
    tail_written: AtomicU64,
    /// Up to here all pages were written before, or will be before they are synced.
    zeroed_to: AtomicU64,
    /// Where the next early write-out starts.
    pub(crate) write_out_from: AtomicU64,
    /// Tick of the last read, for retiring what was not used for longest.
    pub(crate) last_read: AtomicU64,
}

impl Segment {
    /// A segment that takes records, from its first byte on.
    pub(crate) fn fresh(header: Header, Prepared { file, written }: Prepared, now: Duration) -> Self {
        let body = Body {
            header,
            phase: Phase::Active,
            table: FrameTable::default(),
            first_lsn: header.first_lsn,
            last_lsn: header.first_lsn.before(),
            end: PAGE_BYTES,
            frame_bytes: 0,
            holds_data: false,
            file_bytes: header.segment_bytes,
            oldest_at: now,
            sealed_at: None,
        };
        let segment = Self::with(body, Some(file));
        segment.note_zeroed(if written { header.segment_bytes } else { 0 });
        segment
    }

    /// A segment sealed earlier.
    pub(crate) fn sealed(header: Header, file_bytes: u64, now: Duration) -> Self {
        let phase = if header.state == HeaderState::Uploaded { Phase::Uploaded } else { Phase::Sealed };
        let body = Body {
            header,
            phase,
            table: FrameTable::default(),
            first_lsn: header.first_lsn,
            last_lsn: header.last_lsn,
            end: header.table_position.saturating_add(header.table_bytes),
            frame_bytes: header.frame_bytes,
            holds_data: true,
            file_bytes,
            oldest_at: now,
            sealed_at: Some(now),
        };
        Self::with(body, None)
    }

    fn with(body: Body, file: Option<Arc<dyn DiskFile>>) -> Self {
        let end = body.end;
        Self {
            id: body.header.segment,
            seed: SegmentSeed::new(&body.header.store_uuid, body.header.segment),
            body: RwLock::new(body),
            file: Mutex::new(file),
            tail_end: AtomicU64::new(end),
            tail_written: AtomicU64::new(end),
            zeroed_to: AtomicU64::new(0),
            write_out_from: AtomicU64::new(end),
            last_read: AtomicU64::new(0),
        }
    }

    /// The file of a segment that is not sealed yet.
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        self.file.lock().clone().expect("held until the segment is sealed, and only unsealed segments are written")
    }

    pub(crate) fn held_file(&self) -> Option<Arc<dyn DiskFile>> {
        self.file.lock().clone()
    }

    pub(crate) fn replace_file(&self, file: Option<Arc<dyn DiskFile>>) {
        *self.file.lock() = file;
    }

    pub(crate) fn zeroed_to(&self) -> u64 {
        self.zeroed_to.load(Ordering::Acquire)
    }

    pub(crate) fn note_zeroed(&self, end: u64) {
        self.zeroed_to.fetch_max(end, Ordering::AcqRel);
    }

    pub(crate) fn note_tail_written(&self, end: u64) {
        self.tail_written.fetch_max(end, Ordering::AcqRel);
    }

    pub(crate) fn note_buffered(&self, end: u64) {
        self.tail_end.fetch_max(end, Ordering::AcqRel);
    }

    /// Whether some of `range` may still be in the tail buffer. What was written directly is not, even if the head of
    /// its record is.
    pub(crate) fn is_buffered(&self, range: Range<u64>) -> bool {
        range.start < self.tail_end.load(Ordering::Acquire) && range.end > self.tail_written.load(Ordering::Acquire)
    }

    pub(crate) fn info(&self) -> SegmentInfo {
        let body = self.body.read();
        SegmentInfo {
            id: self.id,
            state: match body.phase {
                Phase::Active | Phase::Rolled => SegmentState::Active,
                Phase::Sealed => SegmentState::Sealed,
                Phase::Uploaded => SegmentState::Uploaded,
            },
            bytes: body.end,
            file_bytes: body.file_bytes,
            frame_bytes: body.frame_bytes,
            frames: if body.phase < Phase::Sealed { body.table.len() } else { body.header.frame_count },
            first_lsn: body.first_lsn,
            last_lsn: body.last_lsn,
            oldest_at: body.oldest_at,
            sealed_at: body.sealed_at,
        }
    }
}
