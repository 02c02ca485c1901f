//! `recover`: the index built again from the pool alone.
//!
//! The newest checkpoint that can be read whole is loaded, then the metadata batches of the segments behind it are
//! replayed in the order of their LSNs. A segment that is missing or damaged ends the replay: what comes behind it
//! could not be right, so the store is as it was before (I3), and the report says why. Only segments of one history are
//! taken (see `lineage`). What the local journal still has on top of that is replayed when the store is opened.

use std::sync::Arc;

use cache_journal::{Lsn, SegmentId};
use cache_writeback::{SegmentBlobs, SegmentHead, SegmentLink};
use fs_meta::{Batch, Column, MetaRead, MetaStore};
use objstore_base::{BlobClass, BlobStore, Error, ErrorKind, Result};

use super::checkpoint::{list_all, manifests, read_blob, read_manifest};
use super::image::{Manifest, Place, decode_part, part_id};
use super::lineage::{Candidate, one_history};
use super::records::{Extent, Forward, Placed, SegmentKey, decode_frame_key};
use crate::system;

const TABLE_CACHE_BYTES: u64 = 8 << 20;
/// As in a running store.
const UNFLUSHED_BYTES_MAX: u64 = 64 << 20;
/// Puts that nobody may have answered for: the few that a machine dies with, and those of machines before it whose
/// recoveries did not come to their end.
const DOUBTFUL_MAX: usize = 8;

/// What a recovery used and how far it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoverReport {
    /// The checkpoint that was loaded; `None` where the replay began with the first record.
    pub checkpoint: Option<u64>,
    pub checkpoint_lsn: u64,
    /// Newer checkpoints that could not be read, and why.
    pub passed_over: Vec<String>,
    /// Segments replayed, and their records.
    pub segments: u64,
    pub records: u64,
    /// The state that the index has now.
    pub lsn: u64,
    /// Highest segment id that the pool has, or that anything in the index or the checkpoint knows of: the journal goes
    /// on above it. An id must never come twice: what is known of the frames of a deleted segment would be said of
    /// those of the new one.
    pub last_segment: u64,
    /// The timeline of that state.
    pub timeline: u64,
    /// The last segments that were taken, ascending; their machine may have died while it put them.
    pub last_taken: Vec<u64>,
    /// The last segment replayed, where all of it was.
    pub tail: Option<SegmentLink>,
    /// Segments in the pool with records that are not in that state.
    pub left_behind: Vec<u64>,
    /// The store that wrote the checkpoint.
    pub store_uuid: Option<[u8; 16]>,
    /// Why the replay ended before the last segment, where it did.
    pub stopped: Option<String>,
}

/// Builds the index in `meta`, which is empty, from what `store` holds, and makes it durable.
///
/// # Errors
/// `InvalidArgument` where `meta` is not empty; what the pool gives where it cannot be listed; `Unavailable`, never
/// taken for the end of the log; what `meta` gives.
pub async fn recover(meta: &dyn MetaStore, store: Arc<dyn BlobStore>) -> Result<RecoverReport> {
    require_empty(meta)?;
    system::mark_unfinished(meta)?;
    let mut report = RecoverReport::default();
    let place = load_newest(meta, &*store, &mut report).await?;
    report.timeline = system::timeline(meta)?;
    report.tail = place.tail.filter(|tail| tail.last_lsn.0 <= report.lsn);
    let segments: Vec<SegmentId> =
        list_all(&*store, BlobClass::Segment).await?.into_iter().map(|id| SegmentId(id.number)).collect();
    let highest = segments.last().map_or(0, |segment| segment.0);
    let blobs = SegmentBlobs::new(store, TABLE_CACHE_BYTES);
    let first = match place.from_segment {
        0 => first_behind(&blobs, &segments, Lsn(report.lsn)).await?,
        from => segments.partition_point(|segment| segment.0 < from),
    };
    let behind = segments.get(first..).unwrap_or_default();
    let (history, abandoned) = one_history(&blobs, behind, report.timeline).await?;
    report.left_behind = abandoned.into_iter().map(|segment| segment.0).collect();
    for candidate in history {
        match replay(meta, &blobs, &candidate, place.tail, &mut report).await {
            // Where a segment follows on what was replayed, the unreadable one before it never held anything: an
            // upload that its machine did not live to finish.
            Ok(()) => {
                report.stopped = None;
                report.last_taken.push(candidate.segment.0);
                let surplus = report.last_taken.len().saturating_sub(DOUBTFUL_MAX);
                report.last_taken.drain(..surplus);
            }
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => {
                report.left_behind.push(candidate.segment.0);
                report.stopped.get_or_insert_with(|| error.to_string());
            }
        }
    }
    report.last_segment = highest.max(place.next_segment.saturating_sub(1)).max(highest_named(meta)?);
    system::mark_finished(meta)?;
    meta.begin_flush(report.lsn)?;
    meta.finish_flush()?;
    Ok(report)
}

fn require_empty(meta: &dyn MetaStore) -> Result<()> {
    for column in Column::ALL {
        super::check::scan(meta, column, &mut |_, _| {
            Err(Error::new(ErrorKind::InvalidArgument, "recover").context("the index to recover into is not empty"))
        })?;
    }
    Ok(())
}

/// The store is away; what it holds is not known.
pub(super) fn is_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::NewerFormat)
}

async fn load_newest(meta: &dyn MetaStore, store: &dyn BlobStore, report: &mut RecoverReport) -> Result<Place> {
    for number in manifests(store).await?.into_iter().rev() {
        match load(meta, store, number).await {
            Ok(manifest) => {
                report.checkpoint = Some(number);
                report.checkpoint_lsn = manifest.lsn;
                report.lsn = manifest.lsn;
                report.store_uuid = Some(manifest.store_uuid);
                return Ok(manifest.place);
            }
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => {
                report.passed_over.push(format!("checkpoint {number}: {error}"));
                wipe(meta)?;
            }
        }
    }
    Ok(Place::default())
}

async fn load(meta: &dyn MetaStore, store: &dyn BlobStore, number: u64) -> Result<Manifest> {
    let manifest = read_manifest(store, number).await?;
    let mut entries = 0;
    for part in 0..manifest.parts {
        let batch = decode_part(number, part, &read_blob(store, part_id(number, part)).await?)?;
        entries += batch.ops().count() as u64;
        meta.apply(&batch)?;
        relieve(meta)?;
    }
    if entries == manifest.entries {
        return Ok(manifest);
    }
    let why = format!("checkpoint {number} has {entries} entries, its manifest says {}", manifest.entries);
    Err(Error::corrupt("load checkpoint", why))
}

/// Empties the index again after a checkpoint that turned out to be damaged.
fn wipe(meta: &dyn MetaStore) -> Result<()> {
    let mut batch = Batch::new();
    for column in Column::ALL {
        // No key is longer than a number and a name.
        batch.delete_range(column, &[], &[0xff; 300]);
    }
    meta.apply(&batch)?;
    system::mark_unfinished(meta)
}

/// Makes what was applied so far durable before it is so much that the index would do it by itself, at a moment that has
/// no LSN. It stands for no state until the recovery is finished, and says so.
fn relieve(meta: &dyn MetaStore) -> Result<()> {
    if meta.unflushed_bytes() < UNFLUSHED_BYTES_MAX {
        return Ok(());
    }
    meta.begin_flush(0)?;
    meta.finish_flush().map(drop)
}

/// Index of a segment before which none has records behind `lsn` that count: for a checkpoint that does not say where it
/// stands. LSNs grow with segment ids within one history, and what was left behind ends the search too early at worst.
/// A damaged blob counts as one with records.
async fn first_behind(blobs: &SegmentBlobs, segments: &[SegmentId], lsn: Lsn) -> Result<usize> {
    let (mut low, mut high) = (0, segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let before = match blobs.head(segments[middle]).await {
            Ok(head) => head.last_lsn <= lsn,
            Err(error) if is_away(&error) => return Err(error),
            Err(_) => false,
        };
        if before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

async fn replay(
    meta: &dyn MetaStore,
    blobs: &SegmentBlobs,
    candidate: &Candidate,
    noted: Option<SegmentLink>,
    report: &mut RecoverReport,
) -> Result<()> {
    let batches = blobs.batches(candidate.segment).await?;
    let head = *batches.head();
    if head.last_lsn.0 <= report.lsn {
        return Ok(());
    }
    require_follows(&head, noted, report)?;
    report.tail = None;
    let end = candidate.until.before().min(head.last_lsn);
    for record in batches {
        let (lsn, batch) = record?;
        if lsn > end {
            break;
        }
        if lsn.0 > report.lsn {
            let batch = Batch::decode(&batch)?;
            require_timeline(&head, &batch, report)?;
            meta.apply(&batch)?;
            relieve(meta)?;
            report.lsn = lsn.0;
            report.records += 1;
        }
        if lsn == end {
            // What comes behind may be the very damage that the history was cut at.
            break;
        }
    }
    report.lsn = report.lsn.max(end.0);
    report.tail = head.link().filter(|_| end == head.last_lsn);
    report.segments += 1;
    Ok(())
}

/// Whether the segment goes on from the state in `report`, as its LSNs and its link to the one before say.
fn require_follows(head: &SegmentHead, noted: Option<SegmentLink>, report: &RecoverReport) -> Result<()> {
    let SegmentHead { segment, first_lsn, .. } = *head;
    if first_lsn.0 > report.lsn + 1 {
        let last = report.lsn;
        let why = format!("{segment} begins with {first_lsn}, but {last} is the last before it: a segment is missing");
        return Err(Error::corrupt("recover", why));
    }
    let known = |link: Option<SegmentLink>, noted: Option<SegmentLink>| link.zip(noted);
    let follows = known(head.lineage.previous, report.tail).is_none_or(|(previous, tail)| previous == tail);
    let itself = noted.filter(|noted| noted.segment == segment);
    let is_noted = known(head.link(), itself).is_none_or(|(link, noted)| link == noted);
    if follows && is_noted {
        return Ok(());
    }
    let why = format!("{segment} follows on other records than those before it: it is of another history");
    Err(Error::corrupt("recover", why))
}

/// A later timeline is entered by the record that begins it only: without that, its segments follow on something that
/// is not there.
fn require_timeline(head: &SegmentHead, batch: &Batch, report: &mut RecoverReport) -> Result<()> {
    if head.lineage.timeline == report.timeline {
        return Ok(());
    }
    if system::timeline_begun(batch)? != Some(head.lineage.timeline) {
        let (segment, timeline) = (head.segment, head.lineage.timeline);
        let why = format!("{segment} is of timeline {timeline}, whose beginning is missing");
        return Err(Error::corrupt("recover", why));
    }
    report.timeline = head.lineage.timeline;
    Ok(())
}

/// The highest segment that any record names, whether its blob is still there or not.
fn highest_named(meta: &dyn MetaRead) -> Result<u64> {
    let mut highest = SegmentId(0);
    let mut name = |segment: SegmentId| highest = highest.max(segment);
    super::check::scan(meta, Column::Segment, &mut |key, _| {
        match SegmentKey::decode(key)? {
            SegmentKey::Live(segment) | SegmentKey::Facts(segment) => name(segment),
        }
        Ok(())
    })?;
    super::check::scan(meta, Column::FrameRef, &mut |key, _| {
        name(decode_frame_key(key)?.segment);
        Ok(())
    })?;
    super::check::scan(meta, Column::Forward, &mut |key, value| {
        let (Forward::MovedTo(other) | Forward::CopyOf(other)) = Forward::decode(key, value)?;
        name(decode_frame_key(key)?.segment);
        name(other.segment);
        Ok(())
    })?;
    super::check::scan(meta, Column::Extent, &mut |key, value| {
        if let Extent::Data { frame, .. } = Placed::decode(key, value)?.extent {
            name(frame.segment);
        }
        Ok(())
    })?;
    Ok(highest.0)
}
