//! `recover`: the index built again from the pool alone.
//!
//! The newest checkpoint that can be read whole is loaded, then the metadata batches of the segments behind it are
//! replayed in the order of their LSNs. A segment that is missing or damaged ends the replay: what comes behind it
//! could not be right, so the store is as it was before (I3), and the report says why. What the local journal still
//! has on top of that is replayed when the store is opened.

use std::sync::Arc;

use cache_journal::{Lsn, SegmentId};
use cache_writeback::{Batches, SegmentBlobs};
use fs_meta::{Batch, Column, MetaStore};
use objstore_base::{BlobClass, BlobStore, Error, ErrorKind, Result};

use super::checkpoint::{list_all, manifests, read_blob, read_manifest};
use super::image::{Manifest, decode_part, part_id};

const TABLE_CACHE_BYTES: u64 = 8 << 20;

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
    /// Highest segment id in the pool: the journal goes on above it.
    pub last_segment: u64,
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
    let mut report = RecoverReport::default();
    load_newest(meta, &*store, &mut report).await?;
    let segments: Vec<SegmentId> =
        list_all(&*store, BlobClass::Segment).await?.into_iter().map(|id| SegmentId(id.number)).collect();
    report.last_segment = segments.last().map_or(0, |segment| segment.0);
    let blobs = SegmentBlobs::new(store, TABLE_CACHE_BYTES);
    let first = first_behind(&blobs, &segments, Lsn(report.lsn)).await?;
    for segment in segments.into_iter().skip(first) {
        match replay(meta, &blobs, segment, &mut report).await {
            // Where a segment follows on what was replayed, the unreadable one before it never held anything: an
            // upload that its machine did not live to finish.
            Ok(()) => report.stopped = None,
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => {
                report.stopped.get_or_insert_with(|| error.to_string());
            }
        }
    }
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
fn is_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::NewerFormat)
}

async fn load_newest(meta: &dyn MetaStore, store: &dyn BlobStore, report: &mut RecoverReport) -> Result<()> {
    for number in manifests(store).await?.into_iter().rev() {
        match load(meta, store, number).await {
            Ok(manifest) => {
                report.checkpoint = Some(number);
                report.checkpoint_lsn = manifest.lsn;
                report.lsn = manifest.lsn;
                report.store_uuid = Some(manifest.store_uuid);
                return Ok(());
            }
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => {
                report.passed_over.push(format!("checkpoint {number}: {error}"));
                wipe(meta)?;
            }
        }
    }
    Ok(())
}

async fn load(meta: &dyn MetaStore, store: &dyn BlobStore, number: u64) -> Result<Manifest> {
    let manifest = read_manifest(store, number).await?;
    let mut entries = 0;
    for part in 0..manifest.parts {
        let batch = decode_part(number, part, &read_blob(store, part_id(number, part)).await?)?;
        entries += batch.ops().count() as u64;
        meta.apply(&batch)?;
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
    meta.apply(&batch)
}

/// Index of the first segment with records behind `lsn`. LSNs grow with segment ids; a damaged blob counts as one.
async fn first_behind(blobs: &SegmentBlobs, segments: &[SegmentId], lsn: Lsn) -> Result<usize> {
    let (mut low, mut high) = (0, segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let before = match blobs.batches(segments[middle]).await {
            Ok(batches) => batches.last_lsn() <= lsn,
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
    segment: SegmentId,
    report: &mut RecoverReport,
) -> Result<()> {
    let batches: Batches = blobs.batches(segment).await?;
    let (first, last) = (batches.first_lsn(), batches.last_lsn());
    if first.0 > report.lsn + 1 {
        let why =
            format!("{segment} begins with {first}, but {} is the last before it: a segment is missing", report.lsn);
        return Err(Error::corrupt("recover", why));
    }
    for record in batches {
        let (lsn, batch) = record?;
        if lsn.0 > report.lsn {
            meta.apply(&Batch::decode(&batch)?)?;
            report.lsn = lsn.0;
            report.records += 1;
        }
    }
    report.lsn = report.lsn.max(last.0);
    report.segments += 1;
    Ok(())
}
