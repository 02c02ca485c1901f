//! From the files of a folder to the true end of the log.
//!
//! Sealed segments are durable as a whole. The others are scanned. What any valid record, or a later sealed segment,
//! says to be durable must be there: a gap before that is damage, and an error. What follows it counts as far as it is
//! whole, payloads included; the rest was never acknowledged and is cut. Nothing here writes, so that a recovery that
//! is killed can start again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use objstore_base::{Error, ErrorKind, Result, ResultExt};
use objstore_env::DiskFile;

use crate::checksum::SegmentSeed;
use crate::config::JournalConfig;
use crate::files::{Files, Prepared};
use crate::header::{Header, HeaderState, PAGE_BYTES};
use crate::ids::{Lsn, SegmentId};
use crate::record::RecordKind;
use crate::scan::{Scanner, WITHOUT_JOURNAL, damaged};
use crate::segment::{Phase, Segment};
use crate::table::FrameTable;

/// A record of a segment that was not sealed.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) at: u64,
    pub(crate) end: u64,
    pub(crate) lsn: Lsn,
    pub(crate) kind: RecordKind,
    pub(crate) durable: Lsn,
    /// Length of the frame table before it, and bytes of its payload.
    frames_before: u32,
    payload_bytes: u64,
}

/// A segment file with what is known of it.
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) file_bytes: u64,
    pub(crate) seed: SegmentSeed,
    /// `None` for a sealed segment.
    pub(crate) open: Option<OpenSegment>,
}

/// A segment that was not sealed, scanned. Only these keep their files open: there may be thousands of the others.
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) places: Vec<Place>,
    pub(crate) table: FrameTable,
    /// End of the last valid record anywhere in the file, and the highest incarnation of any.
    seen_end: u64,
    pub(crate) incarnation: u32,
}

impl OpenSegment {
    fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, places: Vec::new(), table: FrameTable::default(), seen_end: PAGE_BYTES, incarnation: 0 }
    }

    pub(crate) fn end(&self) -> u64 {
        self.places.last().map_or(PAGE_BYTES, |p| p.end)
    }

    pub(crate) fn frame_bytes(&self) -> u64 {
        self.places.iter().map(|p| p.payload_bytes).sum()
    }

    fn cut_from(&mut self, index: usize) {
        if let Some(place) = self.places.get(index) {
            self.table.truncate(place.frames_before);
        }
        self.places.truncate(index);
    }
}

/// The log as it stands, and what of it is beyond doubt.
pub(crate) struct Log {
    pub(crate) segments: BTreeMap<SegmentId, Found>,
    pub(crate) last: Lsn,
    /// Everything up to here was durable before.
    pub(crate) durable: Lsn,
    pub(crate) bytes_read: u64,
}

/// Reads headers and scans what is not sealed.
pub(crate) fn load(files: &Files, config: &JournalConfig, ids: &[SegmentId], after: Lsn) -> Result<Log> {
    let mut log = Log { segments: BTreeMap::new(), last: Lsn::ZERO, durable: after, bytes_read: 0 };
    for id in ids {
        let file = files.open(*id)?;
        let path = files.segment_path(*id);
        let header = files.read_header(*id, file.as_ref())?;
        check_identity(config, *id, &header).on(path.display())?;
        let file_bytes = file.len().map_err(|e| Error::io("read segment", e)).on(path.display())?;
        let seed = SegmentSeed::new(&config.store_uuid, *id);
        let mut found = Found { header, file_bytes, seed, open: None };
        if header.state == HeaderState::Active {
            let (open, durable, bytes) = scan(&found, file).on(path.display())?;
            log.durable = log.durable.max(durable);
            log.bytes_read += bytes;
            found.open = Some(open);
        } else {
            log.durable = log.durable.max(header.last_lsn);
        }
        log.segments.insert(*id, found);
    }
    log.chain(after)?;
    Ok(log)
}

fn check_identity(config: &JournalConfig, id: SegmentId, header: &Header) -> Result<()> {
    let refuse = |kind, why: String| Err(Error::new(kind, "open segment").context(why));
    if header.store_uuid != config.store_uuid {
        return refuse(ErrorKind::Mismatch, "it belongs to another store".into());
    }
    if header.segment != id {
        return refuse(ErrorKind::Mismatch, format!("its header says {}: was the file renamed?", header.segment));
    }
    Ok(())
}

/// The records from the start as far as they follow each other; and the highest LSN that any valid record in the file
/// knows to be durable.
fn scan(found: &Found, file: Arc<dyn DiskFile>) -> Result<(OpenSegment, Lsn, u64)> {
    let io = |e| Error::io("read segment", e);
    let limit = found.file_bytes.min(found.header.segment_bytes);
    let mut scanner = Scanner::new(file.clone(), found.header.segment, found.seed, limit);
    let mut open = OpenSegment::new(file);
    let mut durable = Lsn::ZERO;
    let mut at = PAGE_BYTES;
    while let Some(view) = scanner.record(at).map_err(io)? {
        let head = view.head;
        let expected = open.places.last().map_or(found.header.first_lsn, |p| p.lsn.next());
        let follows = expected == Lsn::ZERO || head.lsn == expected;
        // What an earlier opening cut off has a lower incarnation than what was written in its place.
        if !follows || head.incarnation < open.incarnation {
            break;
        }
        open.incarnation = head.incarnation;
        durable = durable.max(head.durable);
        let frames_before = open.table.len();
        open.table.skip_to(head.first_frame.0);
        view.each_frame(|_, frame, position, crcs| open.table.push(&frame, position, crcs));
        open.places.push(Place {
            at,
            end: view.layout.end,
            lsn: head.lsn,
            kind: head.kind,
            durable: head.durable,
            frames_before,
            payload_bytes: head.payload_len.into(),
        });
        at = view.layout.end;
    }
    open.seen_end = at;
    scanner
        .probe(at, |head, end| {
            durable = durable.max(head.durable);
            open.seen_end = open.seen_end.max(end);
            open.incarnation = open.incarnation.max(head.incarnation);
        })
        .map_err(io)?;
    Ok((open, durable, scanner.bytes_read))
}

impl Log {
    /// Joins the segments by LSN. A gap is allowed only where the index already has everything in it, or behind the
    /// durable end, where the rest is cut.
    fn chain(&mut self, after: Lsn) -> Result<()> {
        let mut end: Option<(Lsn, SegmentId, u64)> = None;
        let mut cut = false;
        for (id, found) in &mut self.segments {
            let Some((first, last, at)) = found.span().filter(|_| !cut) else {
                found.discard();
                continue;
            };
            let (expected, before, before_at) =
                end.map_or((after.next(), *id, PAGE_BYTES), |(l, s, a)| (l.next(), s, a));
            if first < expected && end.is_some() {
                let why = format!("it begins with {first}, but the segment before it ends with {}", expected.before());
                return Err(Error::corrupt("open journal", why).entity(id));
            }
            if first > expected && first.before() > after {
                if self.durable >= expected {
                    return Err(damaged(before, before_at, expected)).why(format!("{id} begins with {first}"));
                }
                found.discard();
                cut = true;
                continue;
            }
            end = Some((last, *id, at));
        }
        self.last = end.map_or(Lsn::ZERO, |(last, _, _)| last);
        if self.durable > self.last && self.durable > after {
            let (segment, at) = end.map_or((SegmentId(0), PAGE_BYTES), |(_, s, a)| (s, a));
            return Err(damaged(segment, at, self.last.next())).why(format!("{} was durable", self.durable));
        }
        if after > self.last {
            let why = format!(
                "the index holds {after}, but the journal ends at {}: its folder is older than the index or was \
                 replaced; put the right one back, or, {WITHOUT_JOURNAL}",
                self.last
            );
            return Err(Error::corrupt("open journal", why));
        }
        Ok(())
    }

    /// Cuts the log before record `index` of `segment`.
    pub(crate) fn cut(&mut self, segment: SegmentId, index: usize) {
        for (id, found) in self.segments.range_mut(segment..) {
            if *id != segment {
                found.discard();
            } else if let Some(open) = &mut found.open {
                self.last = open.places.get(index).map_or(self.last, |p| p.lsn.before());
                open.cut_from(index);
            }
        }
    }

    /// The first id that was never used, not even by what was discarded.
    pub(crate) fn next_segment(&self) -> SegmentId {
        let next = self.segments.iter().map(|(id, found)| id.next().max(found.header.next_segment)).max();
        next.unwrap_or(SegmentId(1))
    }

    /// The last record that carries something; in a sealed segment it counts as proven.
    pub(crate) fn last_data(&self) -> Lsn {
        let places = self.segments.values().filter_map(|f| f.open.as_ref()).flat_map(|o| &o.places);
        places.filter(|p| p.kind == RecordKind::Data).map(|p| p.lsn).max().unwrap_or(Lsn::ZERO)
    }

    /// The durable LSN that the last record names.
    pub(crate) fn last_watermark(&self) -> Lsn {
        let places = self.segments.values().filter_map(|f| f.open.as_ref()).filter_map(|o| o.places.last());
        places.map(|p| p.durable).max().unwrap_or(Lsn::ZERO)
    }

    /// Bytes of records, valid or not, that are in the files and not in the log.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.segments.values().filter_map(|f| f.open.as_ref()).map(|o| o.seen_end - o.end()).sum()
    }
}

impl Found {
    /// First and last LSN, and the end of the records; `None` where there is no record.
    fn span(&self) -> Option<(Lsn, Lsn, u64)> {
        match &self.open {
            None => Some((self.header.first_lsn, self.header.last_lsn, self.header.records_end)),
            Some(open) => {
                let (Some(first), Some(last)) = (open.places.first(), open.places.last()) else {
                    // Empty, but it may know where the log stands, once everything before it has gone.
                    let first = Some(self.header.first_lsn).filter(|lsn| *lsn > Lsn::ZERO)?;
                    return Some((first, first.before(), PAGE_BYTES));
                };
                Some((first.lsn, last.lsn, last.end))
            }
        }
    }

    /// Nothing in it is part of the log. Only a segment that is not sealed can come here: what is sealed is durable.
    fn discard(&mut self) {
        debug_assert!(self.open.is_some(), "a sealed segment is durable");
        if let Some(open) = &mut self.open {
            open.cut_from(0);
        }
    }

    pub(crate) fn fresh(header: Header, file: Arc<dyn DiskFile>, config: &JournalConfig) -> Self {
        let seed = SegmentSeed::new(&config.store_uuid, header.segment);
        Self { header, file_bytes: config.segment_bytes, seed, open: Some(OpenSegment::new(file)) }
    }

    /// The segment in memory: sealed, or full and to be sealed.
    pub(crate) fn into_segment(self, now: Duration) -> Segment {
        let Some(open) = self.open else { return Segment::sealed(self.header, self.file_bytes, now) };
        let segment = Segment::fresh(self.header, Prepared { file: open.file.clone(), written: false }, now);
        let (end, frame_bytes) = (open.end(), open.frame_bytes());
        {
            let mut body = segment.body.write();
            body.phase = Phase::Rolled;
            body.file_bytes = self.file_bytes;
            body.end = end;
            body.frame_bytes = frame_bytes;
            body.holds_data = open.places.iter().any(|p| p.kind == RecordKind::Data);
            if let (Some(first), Some(last)) = (open.places.first(), open.places.last()) {
                body.first_lsn = first.lsn;
                body.last_lsn = last.lsn;
            }
            body.table = open.table;
        }
        segment.note_buffered(end);
        segment.note_tail_written(end);
        segment.write_out_from.store(end, Ordering::Release);
        segment
    }

    /// Reads the records of a segment in `file`.
    pub(crate) fn scanner(&self, file: Arc<dyn DiskFile>) -> Scanner {
        let limit = self.open.as_ref().map_or(self.header.records_end, OpenSegment::end);
        Scanner::new(file, self.header.segment, self.seed, limit)
    }
}
