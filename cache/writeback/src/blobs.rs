//! [`SegmentBlobs`]: reads frames and metadata batches of segments that are in the pool.
//!
//! The table of a blob costs one ranged get (two where it is large) and is cached by weight; frames that lie next to
//! each other come with one get. Every frame is verified after decompression against the checksums the journal took
//! when the bytes were written; what does not fit is an error that names segment and frame, never bytes.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cache_journal::{FrameId, FrameNo, Lsn, SegmentId};
use objstore_base::{BlobId, BlobStore, Error, ErrorKind, Result, ResultExt};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::blob::{
    FOOTER_BYTES, Footer, FrameEntry, FrameTable, HEADER_BYTES, SegmentHead, Unpacker, corrupt, records_of_block,
};

/// Read from the blob's end at first: holds the table of a segment of 64 MiB whose frames are 64 KiB or more.
const TAIL_BYTES: u64 = 64 << 10;
/// Frames further apart than this are fetched by two gets: reading on costs less than another round trip.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// One get asks for no more than this, so that memory stays bounded and a slow drive delays a part only.
const RUN_BYTES_MAX: u64 = 8 << 20;
/// A run is decompressed in steps of this many bytes.
const YIELD_BYTES: u32 = 1 << 20;
/// A shard of the cache has to hold the largest table (a segment of 4 KiB frames: near 2 MiB).
const CACHE_SHARD_BYTES_MIN: u64 = 8 << 20;

#[derive(Clone)]
struct ByWeight;

impl Weighter<SegmentId, Arc<FrameTable>> for ByWeight {
    fn weight(&self, _: &SegmentId, table: &Arc<FrameTable>) -> u64 {
        table.weight()
    }
}

/// Hashes the same way in every run, so that a simulation with one seed evicts the same tables.
type FixedHash = BuildHasherDefault<DefaultHasher>;
type TableCache = Cache<SegmentId, Arc<FrameTable>, ByWeight, FixedHash>;

/// Readers of one pool's segment blobs; share it, for its cache of tables.
pub struct SegmentBlobs {
    store: Arc<dyn BlobStore>,
    tables: TableCache,
}

impl SegmentBlobs {
    /// `table_cache_bytes` bounds the memory of decoded tables (0.4 per mille of the raw bytes of what is read, at
    /// 256 KiB frames).
    pub fn new(store: Arc<dyn BlobStore>, table_cache_bytes: u64) -> Self {
        let shards = (table_cache_bytes / CACHE_SHARD_BYTES_MIN).clamp(1, 8).next_power_of_two();
        let options = OptionsBuilder::new()
            .shards(shards as usize)
            .estimated_items_capacity(((table_cache_bytes >> 15) as usize).max(16))
            .weight_capacity(table_cache_bytes)
            .build()
            .expect("capacities are set: nothing is missing from the options");
        let tables = Cache::with_options(options, ByWeight, FixedHash::default(), DefaultLifecycle::default());
        Self { store, tables }
    }

    /// The table of the segment's blob. Readers that ask at the same time share one fetch.
    ///
    /// # Errors
    /// `Damaged` where the pool has no such blob or cannot rebuild it; `Corrupt`; `Unavailable`, `TimedOut`.
    pub async fn table(&self, segment: SegmentId) -> Result<Arc<FrameTable>> {
        self.tables.get_or_insert_async(&segment, async { self.load_table(segment).await.map(Arc::new) }).await
    }

    /// Forgets the table of a blob that was deleted or put anew.
    pub fn forget(&self, segment: SegmentId) {
        self.tables.remove(&segment);
    }

    /// The verified bytes of `frames`, in the order asked for. Every buffer is owned by its frame alone: keeping one
    /// keeps no neighbour in memory.
    ///
    /// # Errors
    /// `Corrupt` and `Damaged` name segment and frame. `Damaged` also for a frame that is not in the blob: an extent
    /// that was looked up before its file was overwritten may name one, so look again before believing it.
    pub async fn read_frames(&self, segment: SegmentId, frames: &[FrameNo]) -> Result<Vec<(FrameId, Bytes)>> {
        match self.read_frames_once(segment, frames).await {
            // A put that was given up and then repeated has other contents: its table may be the one in the cache.
            Err(error) if error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::InvalidArgument => {
                self.forget(segment);
                self.read_frames_once(segment, frames).await
            }
            read => read,
        }
    }

    async fn read_frames_once(&self, segment: SegmentId, frames: &[FrameNo]) -> Result<Vec<(FrameId, Bytes)>> {
        let table = self.table(segment).await?;
        let mut places = Vec::with_capacity(frames.len());
        for frame in frames {
            places.push(table.position(*frame).ok_or_else(|| not_there(FrameId::new(segment, *frame)))?);
        }
        let mut order: Vec<usize> = places.clone();
        order.sort_unstable();
        order.dedup();
        let mut found: Vec<(usize, Bytes)> = Vec::with_capacity(order.len());
        for run in runs(table.frames(), &order) {
            found.extend(self.read_run(&table, run).await?);
        }
        let pick = |(place, frame): (&usize, &FrameNo)| {
            let at = found.binary_search_by_key(place, |(place, _)| *place).ok()?;
            found.get(at).map(|(_, bytes)| (FrameId::new(segment, *frame), bytes.clone()))
        };
        places.iter().zip(frames).map(pick).collect::<Option<_>>().ok_or_else(|| corrupt(segment, "a run lost a frame"))
    }

    /// Fetches the table entries at `places` (ascending, near each other) with one get.
    async fn read_run(&self, table: &FrameTable, places: &[usize]) -> Result<Vec<(usize, Bytes)>> {
        let segment = table.segment();
        let entries: Vec<(usize, &FrameEntry)> =
            places.iter().filter_map(|place| table.frames().get(*place).map(|entry| (*place, entry))).collect();
        let (Some((_, first)), Some((_, last))) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let range = first.range().start..last.range().end;
        let named = || format!("frames {}..={} of {segment}", first.frame.0, last.frame.0);
        let stored = self.get(segment, range.clone()).await.map_err(|e| e.context(named()))?;
        let mut unpacker = Unpacker::default();
        let mut frames = Vec::with_capacity(entries.len());
        let mut since_yield = 0;
        for (place, entry) in entries {
            since_yield += entry.raw_len();
            if since_yield > YIELD_BYTES {
                // Other tasks of this thread get their turn within a millisecond.
                since_yield = 0;
                tokio::task::yield_now().await;
            }
            let own = entry.range();
            let piece = stored.get((own.start - range.start) as usize..(own.end - range.start) as usize);
            let piece = piece.ok_or_else(|| corrupt(segment, "the pool gave a short answer"))?;
            frames.push((place, Bytes::from(entry.open(segment, &mut unpacker, piece)?)));
        }
        Ok(frames)
    }

    /// The metadata batches of the segment in the order of their LSNs: what recovery replays.
    ///
    /// # Errors
    /// As [`Self::table`]; each item may be `Corrupt`.
    pub async fn batches(&self, segment: SegmentId) -> Result<Batches> {
        let table = self.table(segment).await?;
        let end = table.blocks.last().map_or(HEADER_BYTES as u64, |b| b.blob_offset + u64::from(b.stored_len));
        let section = self.get(segment, 0..end.max(HEADER_BYTES as u64)).await?;
        let head = SegmentHead::decode(segment, &section)?;
        Ok(Batches { table, section, head, block: 0, previous: None, records: Vec::new().into_iter() })
    }

    /// What the segment says of itself: its LSNs and its place in history.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub async fn head(&self, segment: SegmentId) -> Result<SegmentHead> {
        // The smallest blob, header and footer of version 1, is longer than this.
        let bytes = self.get(segment, 0..HEADER_BYTES as u64).await.map_err(|e| match e.kind() {
            ErrorKind::InvalidArgument => corrupt(segment, "blob is too short").source(e),
            _ => e,
        })?;
        SegmentHead::decode(segment, &bytes)
    }

    async fn load_table(&self, segment: SegmentId) -> Result<FrameTable> {
        let blob = BlobId::segment(segment.0);
        let len = self.store.stat(blob).await.map_err(|e| missing(segment, e))?.len;
        let mut start = len.saturating_sub(TAIL_BYTES);
        let mut tail = self.get(segment, start..len).await?;
        let footer_at = tail.len().checked_sub(FOOTER_BYTES).ok_or_else(|| corrupt(segment, "blob is too short"))?;
        let footer = Footer::decode(segment, tail.get(footer_at..).unwrap_or_default(), len)?;
        if footer.table_offset < start {
            start = footer.table_offset;
            tail = self.get(segment, start..start + footer.table_len).await?;
        }
        let from = (footer.table_offset - start) as usize;
        let table = usize::try_from(footer.table_len).ok().and_then(|len| tail.get(from..from.checked_add(len)?));
        FrameTable::decode(&footer, table.ok_or_else(|| corrupt(segment, "the pool gave a short answer"))?)
    }

    async fn get(&self, segment: SegmentId, range: Range<u64>) -> Result<Bytes> {
        self.store.get(BlobId::segment(segment.0), range).await.map_err(|e| missing(segment, e)).on(segment)
    }
}

/// A segment that was uploaded and is not in the pool is damage, and must not look like a missing file to a door.
fn missing(segment: SegmentId, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Damaged, "read segment blob")
            .entity(segment)
            .context("the pool has no blob of this segment")
            .source(error),
        _ => error,
    }
}

fn not_there(frame: FrameId) -> Error {
    Error::new(ErrorKind::Damaged, "read segment blob")
        .entity(frame)
        .context("the segment's blob does not hold this frame; it was dead when the segment was uploaded")
}

/// Cuts ascending places into runs that are worth one get each.
fn runs<'a>(frames: &'a [FrameEntry], places: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    let range = |place: usize| frames.get(place).map_or(0..0, FrameEntry::range);
    let mut rest = places;
    std::iter::from_fn(move || {
        let start = range(*rest.first()?).start;
        let near = |pair: &[usize]| match pair {
            [a, b] => range(*b).start - range(*a).end <= GAP_BYTES_MAX && range(*b).end - start <= RUN_BYTES_MAX,
            _ => false,
        };
        let len = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let (run, after) = rest.split_at(len);
        rest = after;
        Some(run)
    })
}

/// Iterates the records of one blob; holds the compressed section and one decompressed block.
pub struct Batches {
    table: Arc<FrameTable>,
    section: Bytes,
    head: SegmentHead,
    block: usize,
    previous: Option<Lsn>,
    records: std::vec::IntoIter<(Lsn, Vec<u8>)>,
}

impl Batches {
    /// The segment's LSNs and its place in history.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    fn next_block(&mut self) -> Option<Result<()>> {
        let segment = self.table.segment();
        let entry = self.table.blocks.get(self.block)?;
        let start = entry.blob_offset as usize;
        let stored = self.section.get(start..start + entry.stored_len as usize);
        let records = stored
            .ok_or_else(|| corrupt(segment, "metadata section is short"))
            .and_then(|stored| records_of_block(segment, self.block, entry, stored));
        self.block += 1;
        Some(records.map(|records| self.records = records.into_iter()))
    }
}

impl Iterator for Batches {
    type Item = Result<(Lsn, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((lsn, batch)) = self.records.next() {
                if self.previous.replace(lsn).is_some_and(|previous| lsn <= previous) {
                    return Some(Err(corrupt(self.table.segment(), format!("{lsn} is out of order"))));
                }
                return Some(Ok((lsn, batch)));
            }
            if let Err(error) = self.next_block()? {
                self.block = usize::MAX;
                return Some(Err(error));
            }
        }
    }
}
