//! Appending: a place in the log under a short lock, payload bytes outside it.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use objstore_base::{Error, ErrorKind, Result, ResultExt};

use crate::checksum::{bind, chunks_of, crc};
use crate::flights::Flight;
use crate::header::{Header, PAGE_BYTES};
use crate::ids::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};
use crate::info::{Appended, FrameData};
use crate::journal::{Appender, Journal};
use crate::record::{DIRECT_BYTES_MIN, FRAME_HEAD_BYTES, FrameHead, HEAD_BYTES, Layout, RecordHead, RecordKind};
use crate::segment::{Phase, Segment};
use crate::tail::Filler;

/// The tail buffer goes to the page cache when it holds this much.
const TAIL_BYTES: usize = 256 << 10;
/// An append fails rather than letting the tail grow further: the disk does not take it.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// Write-out of unsynced bulk data starts in steps of this size.
const WRITE_OUT_BYTES: u64 = 1 << 20;
/// Buffers per write call.
const WRITE_BUFS_MAX: usize = 512;

/// The frames of one record, checked and summed before the lock.
struct Payload<'a> {
    frames: &'a [FrameData<'a>],
    /// Plain CRCs of all chunks, in order; the place is mixed in when it is known.
    crcs: Vec<u32>,
    bytes: u64,
}

/// What `build` is: the batch for exactly these frame ids.
pub(crate) type Build<'a> = &'a mut dyn FnMut(&[FrameId], &mut Vec<u8>);

struct Placed<'a> {
    appended: Appended,
    segment: Arc<Segment>,
    layout: Layout,
    frames: (FrameNo, u32),
    flight: Option<Flight<'a>>,
    tail_len: usize,
}

impl<'a> Payload<'a> {
    fn new(frames: &'a [FrameData<'a>]) -> Result<Self> {
        let (mut bytes, mut crcs) = (0, Vec::new());
        for frame in frames {
            if frame.bytes.is_empty() || frame.bytes.len() > FRAME_BYTES_MAX {
                let why = format!("a frame of {} bytes; 1 to {FRAME_BYTES_MAX} are allowed", frame.bytes.len());
                return Err(Error::new(ErrorKind::InvalidArgument, "append to journal").context(why));
            }
            bytes += frame.bytes.len() as u64;
            crcs.extend(frame.bytes.chunks(CHUNK_BYTES).map(crc));
        }
        Ok(Self { frames, crcs, bytes })
    }

    fn direct(&self) -> bool {
        self.bytes >= DIRECT_BYTES_MIN as u64
    }
}

impl Journal {
    /// Appends one record: the frames get ids, and `build(ids, out)` gives the batch bytes for exactly these ids. It is
    /// called under the append lock, so it encodes and does nothing else; it is called a second time, with other ids,
    /// where the record turns out to belong in the next segment.
    ///
    /// Returns when the record is in the log's order; with payloads of 32 KiB and more they are in the page cache. It
    /// never waits for a sync, so locks may be held; who appends payload asks [`Journal::pace`] before it takes any.
    ///
    /// # Durability
    /// None before `commit`.
    ///
    /// # Errors
    /// `InvalidArgument` for what fits in no segment; `NoSpace` and `Io` of the disk. After an error nothing was
    /// appended that a replay would apply.
    pub fn append(&self, frames: &[FrameData<'_>], build: Build<'_>) -> Result<Appended> {
        let payload = Payload::new(frames)?;
        let placed = self.place(RecordKind::Data, &payload, build)?;
        let Placed { appended, segment, layout, frames, flight, tail_len } = placed;
        if let Some(flight) = flight {
            if let Err(error) = self.write_payload(&segment, &payload, layout) {
                let error = self.make_void(&segment, layout, appended.lsn, frames, error);
                drop(flight);
                return Err(error);
            }
            drop(flight);
        }
        self.keep_tail_short(&appended, &segment, payload.bytes, tail_len);
        Ok(appended)
    }

    /// Appends a record that carries nothing but the durable LSN.
    pub(crate) fn append_watermark(&self) -> Result<()> {
        self.place(RecordKind::Watermark, &Payload { frames: &[], crcs: Vec::new(), bytes: 0 }, &mut |_, _| {})?;
        Ok(())
    }

    fn place(&self, kind: RecordKind, payload: &Payload<'_>, build: Build<'_>) -> Result<Placed<'_>> {
        loop {
            let mut appender = self.appender.lock();
            while appender.frozen || (appender.habit.zeroing && payload.direct()) {
                self.thaw.wait(&mut appender);
            }
            self.healthy()?;
            if appender.tail.len() > TAIL_BYTES_MAX {
                drop(appender);
                self.write_out().why("the buffer of the journal is full and its disk does not take it")?;
                continue;
            }
            if let Some(placed) = self.try_place(&mut appender, kind, payload, build)? {
                return Ok(placed);
            }
            drop(appender);
            self.prepare_next()?;
        }
    }

    /// `None` where the next segment is needed and not ready.
    fn try_place(
        &self,
        appender: &mut Appender,
        kind: RecordKind,
        payload: &Payload<'_>,
        build: Build<'_>,
    ) -> Result<Option<Placed<'_>>> {
        loop {
            let segment = appender.active.clone();
            let first_frame = segment.body.read().table.len();
            appender.ids.clear();
            let numbers = first_frame..first_frame + u32_of(payload.frames.len())?;
            appender.ids.extend(numbers.map(|no| FrameId::new(segment.id, FrameNo(no))));
            appender.batch.clear();
            build(&appender.ids, &mut appender.batch);
            let body = payload.frames.len() * FRAME_HEAD_BYTES + payload.crcs.len() * 4 + appender.batch.len();
            let layout = Layout::new(appender.position, body as u64, payload.bytes, payload.direct());
            if Self::fits(&segment, payload, &layout) {
                return self.put(appender, segment, kind, payload, layout, FrameNo(first_frame)).map(Some);
            }
            if appender.position == PAGE_BYTES {
                let why = format!("a record of {} bytes fits in no segment", layout.len());
                return Err(Error::new(ErrorKind::InvalidArgument, "append to journal").context(why));
            }
            if !self.roll(appender)? {
                return Ok(None);
            }
        }
    }

    /// Whether the record, and then the frame table, have room.
    fn fits(segment: &Segment, payload: &Payload<'_>, layout: &Layout) -> bool {
        let body = segment.body.read();
        let table = body.table.encoded_bytes_with(payload.frames.len() as u64, payload.crcs.len() as u64);
        layout.end.next_multiple_of(PAGE_BYTES) + table <= body.header.segment_bytes
    }

    fn put(
        &self,
        appender: &mut Appender,
        segment: Arc<Segment>,
        kind: RecordKind,
        payload: &Payload<'_>,
        layout: Layout,
        first_frame: FrameNo,
    ) -> Result<Placed<'_>> {
        let lsn = appender.next_lsn;
        let durable = self.durable();
        let head = RecordHead {
            len: u32_of(layout.len())?,
            kind,
            direct: payload.direct(),
            lsn,
            durable,
            incarnation: segment.body.read().header.incarnation,
            batch_len: u32_of(appender.batch.len())?,
            frame_count: u32_of(payload.frames.len())?,
            chunk_count: u32_of(payload.crcs.len())?,
            payload_len: u32_of(payload.bytes)?,
            first_frame,
        };
        encode(appender, &segment, &head, payload, layout);
        self.note(appender, &segment, &head, payload, layout);
        Ok(Placed {
            appended: Appended { lsn, segment: segment.id },
            frames: (first_frame, head.frame_count),
            flight: payload.direct().then(|| self.flights.start()),
            tail_len: appender.tail.len(),
            segment,
            layout,
        })
    }

    /// Advances everything that counts records.
    fn note(
        &self,
        appender: &mut Appender,
        segment: &Segment,
        head: &RecordHead,
        payload: &Payload<'_>,
        layout: Layout,
    ) {
        let mut body = segment.body.write();
        if head.kind == RecordKind::Data && !body.holds_data {
            body.holds_data = true;
            body.oldest_at = self.env.clock.monotonic();
        }
        let mut position = layout.payload;
        let mut crcs = payload.crcs.iter();
        for (frame, id) in payload.frames.iter().zip(&appender.ids) {
            let crcs = (0..).zip(crcs.by_ref().take(chunks_of(frame_len(frame)) as usize));
            body.table.push(&frame_head(frame), position, crcs.map(|(chunk, crc)| bind(*crc, *id, chunk)));
            position += frame.bytes.len() as u64;
        }
        body.last_lsn = head.lsn;
        body.end = layout.end;
        body.frame_bytes += payload.bytes;
        drop(body);
        appender.position = layout.end;
        appender.next_lsn = head.lsn.next();
        appender.last_watermark = head.durable;
        if head.kind == RecordKind::Data {
            appender.last_data = head.lsn;
        }
        if appender.unsynced_since.is_none() {
            appender.unsynced_since = Some(self.env.clock.monotonic());
        }
        appender.appended_bytes += layout.len();
        self.appended_bytes.store(appender.appended_bytes, Ordering::Release);
        self.last.store(head.lsn.0, Ordering::Release);
    }

    /// Makes the prepared segment the active one; false where none is ready. Its header, now with the first LSN, goes
    /// through the tail buffer, ahead of its first record.
    fn roll(&self, appender: &mut Appender) -> Result<bool> {
        let Some(next) = appender.next.take() else { return Ok(false) };
        if let Err(error) = self.hit("journal.roll") {
            appender.next = Some(next);
            return Err(error);
        }
        let header = {
            let mut body = next.body.write();
            body.header.generation += 1;
            body.header.first_lsn = appender.next_lsn;
            body.first_lsn = appender.next_lsn;
            body.last_lsn = appender.next_lsn.before();
            body.header
        };
        let slot = header.encode();
        appender.tail.bytes.extend_from_slice(&slot);
        appender.tail.placed(&next, header.position(), slot.len(), Filler::Keep);
        self.segments.write().insert(next.id, next.clone());
        let full = std::mem::replace(&mut appender.active, next);
        full.body.write().phase = Phase::Rolled;
        appender.rolled.push(full);
        appender.position = PAGE_BYTES;
        Ok(true)
    }

    /// Rolls over if the active segment holds any data.
    pub(crate) fn roll_active(&self) -> Result<Option<Arc<Segment>>> {
        loop {
            let mut appender = self.appender.lock();
            while appender.frozen {
                self.thaw.wait(&mut appender);
            }
            self.healthy()?;
            if !appender.active.body.read().holds_data {
                return Ok(None);
            }
            let active = appender.active.clone();
            if self.roll(&mut appender)? {
                return Ok(Some(active));
            }
            drop(appender);
            self.prepare_next()?;
        }
    }

    /// Gets the segment after the active one ready, so that the roll-over costs an append nothing.
    pub(crate) fn prepare_next(&self) -> Result<()> {
        let guard = self.preparing.lock();
        if self.appender.lock().next.is_some() {
            return Ok(());
        }
        self.hit("journal.prepare")?;
        let id = SegmentId(self.next_segment.fetch_add(1, Ordering::AcqRel));
        let header = Header::new(self.config.store_uuid, id, self.config.segment_bytes, Lsn::ZERO);
        let file = self.files.prepare(&header).or_else(|error| match error.kind() {
            // Another file may do, where one has a bad place.
            ErrorKind::Io => self.files.prepare(&header),
            _ => Err(error),
        })?;
        let segment = Arc::new(Segment::fresh(header, file, self.env.clock.monotonic()));
        self.appender.lock().next = Some(segment);
        drop(guard);
        Ok(())
    }

    fn write_payload(&self, segment: &Segment, payload: &Payload<'_>, layout: Layout) -> Result<()> {
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        self.hit("journal.payload.before")?;
        let file = segment.file();
        let gap = usize::try_from(layout.end - layout.payload_end).unwrap_or(0);
        let filler = ZEROS.get(..gap).unwrap_or_default();
        let mut bufs: Vec<IoSlice<'_>> = payload.frames.iter().map(|f| IoSlice::new(f.bytes)).collect();
        // The rest of the last page belongs to this record, so that the page need not be read first.
        if !filler.is_empty() {
            bufs.push(IoSlice::new(filler));
        }
        let mut position = layout.payload;
        for bufs in bufs.chunks(WRITE_BUFS_MAX) {
            file.write_all_at(bufs, position).map_err(|e| Error::io("write payload", e)).on(segment.id)?;
            position += bufs.iter().map(|b| b.len() as u64).sum::<u64>();
        }
        self.hit("journal.payload.after")
    }

    /// The head of this record is in the log, its payload is not: makes it a record of nothing. The flight is still
    /// open, so no commit has covered it. Where that fails too, the log could not be replayed past it: it ends here.
    fn make_void(
        &self,
        segment: &Segment,
        layout: Layout,
        lsn: Lsn,
        (first_frame, frame_count): (FrameNo, u32),
        cause: Error,
    ) -> Error {
        let head = {
            let mut body = segment.body.write();
            body.table.clear(first_frame, frame_count);
            RecordHead {
                len: u32::try_from(layout.len()).expect("it was appended with this length"),
                kind: RecordKind::Void,
                direct: true,
                lsn,
                durable: self.durable(),
                incarnation: body.header.incarnation,
                batch_len: 0,
                frame_count: 0,
                chunk_count: 0,
                payload_len: 0,
                first_frame,
            }
        };
        let mut bytes = head.encode();
        let sum = segment.seed.crc(&[bytes.get(8..).unwrap_or_default()]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        let written = self.write_out().and_then(|()| {
            segment.file().write_all_at(&[IoSlice::new(&bytes)], layout.start).map_err(|e| Error::io("void record", e))
        });
        match written {
            Ok(()) => cause,
            Err(error) => {
                self.set_poison(segment, &error);
                cause.context(format!("and the record could not be taken back: {error}"))
            }
        }
    }

    /// After the append: keeps the tail short and starts write-out early. The record stands whatever happens here; an
    /// error of the disk meets the next commit.
    fn keep_tail_short(&self, appended: &Appended, segment: &Segment, payload_bytes: u64, tail_len: usize) {
        if tail_len >= TAIL_BYTES
            && let Err(error) = self.write_out()
        {
            tracing::warn!(%error, lsn = appended.lsn.0, "the journal's disk does not take what is written");
        }
        if payload_bytes > 0 {
            self.start_write_out(segment);
        }
    }

    fn start_write_out(&self, segment: &Segment) {
        let end = segment.body.read().end;
        let from = segment.write_out_from.load(Ordering::Acquire);
        if end < from + WRITE_OUT_BYTES {
            return;
        }
        let claimed = segment.write_out_from.compare_exchange(from, end, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if claimed
            && let Some(file) = segment.held_file()
            && let Err(error) = file.start_write_out(from..end)
        {
            tracing::debug!(%error, segment = segment.id.0, "early write-out was refused");
        }
    }
}

/// Pushes head, frame heads, CRCs, batch, and a small payload to the tail.
fn encode(appender: &mut Appender, segment: &Arc<Segment>, head: &RecordHead, payload: &Payload<'_>, layout: Layout) {
    let out = &mut appender.tail.bytes;
    let start = out.len();
    out.extend_from_slice(&head.encode());
    for frame in payload.frames {
        frame_head(frame).encode_into(out);
    }
    let mut crcs = payload.crcs.iter();
    for (frame, id) in payload.frames.iter().zip(&appender.ids) {
        for (chunk, crc) in (0..).zip(crcs.by_ref().take(chunks_of(frame_len(frame)) as usize)) {
            out.extend_from_slice(&bind(*crc, *id, chunk).to_le_bytes());
        }
    }
    out.extend_from_slice(&appender.batch);
    let sum = segment.seed.crc(&[out.get(start + 8..).unwrap_or_default()]);
    out.splice(start + 4..start + 8, sum.to_le_bytes());
    debug_assert_eq!(out.len() - start, HEAD_BYTES + usize::try_from(head.body_bytes()).unwrap_or(0));
    let buffered_end = if head.direct {
        layout.payload
    } else {
        payload.frames.iter().for_each(|frame| out.extend_from_slice(frame.bytes));
        layout.end
    };
    let len = usize::try_from(buffered_end - layout.start).expect("records are below 4 GiB");
    out.resize(start + len, 0);
    appender.tail.placed(segment, layout.start, len, Filler::Zeros);
    segment.note_buffered(buffered_end);
}

fn frame_len(frame: &FrameData<'_>) -> u32 {
    u32::try_from(frame.bytes.len()).expect("checked against FRAME_BYTES_MAX")
}

fn frame_head(frame: &FrameData<'_>) -> FrameHead {
    FrameHead { ino: frame.ino, offset: frame.offset, len: frame_len(frame), origin: frame.origin }
}

fn u32_of(value: impl TryInto<u32>) -> Result<u32> {
    let too_large = || Error::new(ErrorKind::InvalidArgument, "append to journal").context("the record is too large");
    value.try_into().map_err(|_| too_large())
}
