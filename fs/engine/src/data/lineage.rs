//! Which of the segments in the pool are one history, and how a recovery that leaves some behind begins the next one.
//!
//! What a recovery could not reach stays in the pool, may become readable again, and its LSNs are used again by what is
//! written afterwards. Segment ids are not: they ascend over all timelines. So a later segment that begins at or before
//! an LSN of an earlier one says that the earlier one was left behind from there on; and a segment of a lower timeline
//! than one before it was written by a machine that did not know of its successor. Neither is replayed.

use std::sync::Arc;

use cache_journal::{Lsn, SegmentId};
use cache_writeback::{BlobWriter, Compression, Lineage, SegmentBlobs, SegmentHead};
use fs_meta::{Batch, MetaStore};
use objstore_base::{BlobId, BlobStore, Error, ErrorKind, Result};

use super::image::manifest_id;
use super::recover::{RecoverReport, is_away};
use crate::system;

/// A segment that a replay may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) segment: SegmentId,
    /// `None` where it cannot be read.
    pub(super) head: Option<SegmentHead>,
    /// Records from here on are not of this history.
    pub(super) until: Lsn,
}

impl Candidate {
    fn is_left_behind(&self) -> bool {
        self.head.is_some_and(|head| head.holds_records() && head.first_lsn >= self.until)
    }
}

/// What `segments` (ascending) say of themselves, cut to one history that begins in `timeline`; those that are not of it
/// are given apart.
pub(super) async fn one_history(
    blobs: &SegmentBlobs,
    segments: &[SegmentId],
    timeline: u64,
) -> Result<(Vec<Candidate>, Vec<SegmentId>)> {
    let mut all = Vec::with_capacity(segments.len());
    for segment in segments {
        let head = match blobs.head(*segment).await {
            Ok(head) => Some(head),
            Err(error) if is_away(&error) => return Err(error),
            // The replay says why.
            Err(_) => None,
        };
        all.push(Candidate { segment: *segment, head, until: Lsn(u64::MAX) });
    }
    Ok(split(all, timeline))
}

fn split(mut all: Vec<Candidate>, timeline: u64) -> (Vec<Candidate>, Vec<SegmentId>) {
    let mut newest = timeline;
    for candidate in &mut all {
        let Some(head) = candidate.head else { continue };
        if head.lineage.timeline < newest {
            candidate.until = Lsn::ZERO;
        }
        newest = newest.max(head.lineage.timeline);
    }
    let mut floor = Lsn(u64::MAX);
    for candidate in all.iter_mut().rev() {
        candidate.until = candidate.until.min(floor);
        let Some(head) = candidate.head else { continue };
        if head.holds_records() && !candidate.is_left_behind() {
            floor = floor.min(head.first_lsn);
        }
    }
    let (behind, history): (Vec<Candidate>, Vec<Candidate>) = all.into_iter().partition(Candidate::is_left_behind);
    (history, behind.into_iter().map(|candidate| candidate.segment).collect())
}

/// Where the journal of a recovered store begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The last record of the past, and the highest segment id it used.
    pub lsn: u64,
    pub last_segment: u64,
    pub timeline: u64,
    /// What it goes on from and is not whole in the pool, and why: loss of drives may take it, and all that comes with it.
    pub not_whole: Vec<String>,
}

/// Begins the next timeline of a store that was recovered into `meta` and has lost its journal. From now on no recovery
/// takes what this one left behind: a segment with one record, which says so, goes into the pool first. What it goes on
/// from has to bear the loss of drives like everything else: a machine that died while it put a blob may have left no more
/// of it than can just be read.
///
/// # Errors
/// What the pool gives where it takes no blob, unless nothing was left behind; of `meta`.
pub async fn begin_timeline(meta: &dyn MetaStore, store: Arc<dyn BlobStore>, report: &RecoverReport) -> Result<Begun> {
    let RecoverReport { lsn, last_segment, timeline, .. } = *report;
    if lsn == 0 && last_segment == 0 {
        return Ok(Begun { lsn, last_segment, timeline, not_whole: Vec::new() });
    }
    let not_whole = make_past_whole(&*store, report).await;
    let begun = Begun { lsn: lsn + 1, last_segment: last_segment + 1, timeline: timeline + 1, not_whole };
    let mut record = Batch::new();
    system::put_timeline(&mut record, begun.timeline);
    system::skip_lost_inos(meta, &mut record)?;
    let lineage = Lineage { timeline: begun.timeline, previous: report.tail };
    let mut writer = BlobWriter::new(SegmentId(begun.last_segment), lineage, Compression::None)?;
    writer.batch(Lsn(begun.lsn), record.as_bytes())?;
    let put = store.put(BlobId::segment(begun.last_segment), writer.finish()?.parts).await;
    match put {
        Ok(()) => {}
        // A pool that can only be read: nothing in it could be mistaken for what comes.
        Err(error) if report.left_behind.is_empty() && may_be_full_or_away(&error) => {
            tracing::warn!(%error, "the pool takes no blob; the store goes on in the timeline that it was in");
            return Ok(Begun { lsn, last_segment, timeline, ..begun });
        }
        Err(error) => return Err(error.context("the pool has to note which of its segments were left behind")),
    }
    meta.apply(&record)?;
    meta.begin_flush(begun.lsn)?;
    meta.finish_flush()?;
    Ok(begun)
}

/// Mends what a machine may have died with while it put it; gives what could not be mended, and why.
async fn make_past_whole(store: &dyn BlobStore, report: &RecoverReport) -> Vec<String> {
    let taken = report.last_taken.iter().map(|number| BlobId::segment(*number));
    let mut not_whole = Vec::new();
    for id in report.checkpoint.map(manifest_id).into_iter().chain(taken) {
        if let Err(error) = store.make_whole(id).await {
            not_whole.push(format!("{id}: {error}"));
        }
    }
    not_whole
}

fn may_be_full_or_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::NoSpace | ErrorKind::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(segment: u64, timeline: u64, lsns: (u64, u64)) -> Candidate {
        let (segment, lineage) = (SegmentId(segment), Lineage { timeline, previous: None });
        let (first_lsn, last_lsn) = (Lsn(lsns.0), Lsn(lsns.1));
        let head = SegmentHead { segment, first_lsn, last_lsn, lineage, records_crc: None };
        Candidate { segment, head: Some(head), until: Lsn(u64::MAX) }
    }

    fn ids(all: &[(u64, u64, (u64, u64))], timeline: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
        let all = all.iter().map(|(segment, of, lsns)| candidate(*segment, *of, *lsns)).collect();
        let (history, behind) = split(all, timeline);
        let history = history.iter().map(|c| (c.segment.0, c.until.0)).collect();
        (history, behind.iter().map(|segment| segment.0).collect())
    }

    #[test]
    fn what_a_later_timeline_writes_anew_is_left_behind() {
        let end = u64::MAX;
        assert_eq!(ids(&[(1, 1, (1, 5)), (2, 1, (6, 9))], 1), (vec![(1, 6), (2, end)], vec![]));
        // 2 and 3 could not be read; 4 begins the second timeline after 1, and 6 a third one in the middle of 5.
        let all = [
            (1, 1, (1, 5)),
            (2, 1, (6, 9)),
            (3, 1, (10, 40)),
            (4, 2, (6, 6)),
            (5, 2, (7, 20)),
            (6, 3, (15, 15)),
            (7, 3, (16, 30)),
        ];
        assert_eq!(ids(&all, 1), (vec![(1, 6), (4, 7), (5, 15), (6, 16), (7, end)], vec![2, 3]));
    }

    #[test]
    fn a_machine_that_was_replaced_writes_in_vain() {
        let all = [(1, 1, (1, 5)), (3, 2, (6, 6)), (4, 2, (7, 9)), (5, 1, (6, 12)), (6, 2, (10, 11))];
        assert_eq!(ids(&all, 1), (vec![(1, 6), (3, 7), (4, 10), (6, u64::MAX)], vec![5]));
        assert_eq!(ids(&[(9, 1, (6, 12))], 2), (vec![], vec![9]), "a checkpoint was made in the later one");
    }
}
