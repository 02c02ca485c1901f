//! [`Links`]: by what a segment is named in the one that follows it.
//!
//! A segment that was uploaded in this run is remembered; one of an earlier run is read once more where the journal
//! still has it. Where neither holds, the follower names nothing: its timeline and its LSNs still say where it stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_journal::{Journal, Lsn, SegmentId, SegmentState};
use objstore_base::Result;
use parking_lot::Mutex;

use crate::SegmentLink;
use crate::blob::RecordsCrc;

/// Many more than are on their way at a time.
const KNOWN_MAX: usize = 256;

pub(crate) struct Links {
    journal: Arc<Journal>,
    /// By last LSN.
    known: Mutex<BTreeMap<Lsn, SegmentLink>>,
}

impl Links {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { journal, known: Mutex::default() }
    }

    pub(crate) fn note(&self, link: SegmentLink) {
        let mut known = self.known.lock();
        known.insert(link.last_lsn, link);
        while known.len() > KNOWN_MAX {
            known.pop_first();
        }
    }

    /// The segment whose last record comes right before `first`. Blocks.
    pub(crate) fn before(&self, first: Lsn) -> Option<SegmentLink> {
        self.ending_at(first.before())
    }

    /// The link of `segment`. Blocks.
    pub(crate) fn of(&self, segment: SegmentId) -> Option<SegmentLink> {
        let known = self.known.lock().values().find(|link| link.segment == segment).copied();
        known.or_else(|| self.read(segment))
    }

    fn ending_at(&self, last: Lsn) -> Option<SegmentLink> {
        if let Some(link) = self.known.lock().get(&last) {
            return Some(*link);
        }
        let segments = self.journal.segments();
        let found = segments.iter().find(|s| s.last_lsn == last && s.last_lsn >= s.first_lsn)?;
        self.read(found.id)
    }

    fn read(&self, segment: SegmentId) -> Option<SegmentLink> {
        let state = self.journal.segment(segment)?.state;
        if state == SegmentState::Active {
            return None;
        }
        match self.read_local(segment) {
            Ok(link) => {
                self.note(link);
                Some(link)
            }
            Err(error) => {
                // Also where it was let go meanwhile.
                tracing::debug!(segment = segment.0, %error, "the records of a segment cannot be read again");
                None
            }
        }
    }

    fn read_local(&self, segment: SegmentId) -> Result<SegmentLink> {
        let reader = self.journal.sealed(segment)?;
        let mut records = RecordsCrc::new();
        reader.records(&mut |record| {
            records.add(record.lsn, record.batch);
            Ok(())
        })?;
        Ok(SegmentLink { segment, last_lsn: reader.info().last_lsn, records_crc: records.value() })
    }
}
