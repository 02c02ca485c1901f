//! Letting segments go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use objstore_base::Result;

use crate::ids::{Lsn, SegmentId};
use crate::journal::Journal;
use crate::segment::{Phase, Segment};

/// Retired files kept for reuse even where the configuration asks for fewer.
const SPARES_KEPT: usize = 2;

impl Journal {
    /// Takes away uploaded segments whose metadata is in the durable index, least recently read first, until at most
    /// `target_bytes` are local or none is left that may go (I2). Their files are reused or removed. Gives the bytes
    /// freed.
    pub fn retire(&self, target_bytes: u64) -> Result<u64> {
        let guard = self.retiring.lock();
        let mut local = self.local_bytes();
        if local <= target_bytes {
            return Ok(0);
        }
        let flushed = Lsn(self.index_flushed.load(Ordering::Acquire));
        let mut candidates: Vec<Arc<Segment>> = self.segments.read().values().cloned().collect();
        candidates.retain(|s| {
            let body = s.body.read();
            body.phase == Phase::Uploaded && body.last_lsn <= flushed
        });
        candidates.sort_by_key(|s| (s.last_read.load(Ordering::Relaxed), s.id));
        let mut going = Vec::new();
        let before = local;
        for segment in candidates {
            if local <= target_bytes {
                break;
            }
            local -= segment.body.read().file_bytes;
            going.push(segment);
        }
        self.let_go(&going)?;
        drop(guard);
        Ok(before - local)
    }

    /// `retire` down to `cache_bytes_max`.
    pub fn retire_to_limit(&self) -> Result<u64> {
        self.retire(self.config.cache_bytes_max)
    }

    /// Drops a sealed segment in which no frame is live, uploaded or not; false where its metadata is not in the
    /// durable index yet, or it is still written. The caller vouches for the frames.
    pub fn drop_dead(&self, id: SegmentId) -> Result<bool> {
        let guard = self.retiring.lock();
        let flushed = Lsn(self.index_flushed.load(Ordering::Acquire));
        let Some(segment) = self.find(id) else { return Ok(false) };
        {
            let body = segment.body.read();
            if body.phase < Phase::Sealed || body.last_lsn > flushed {
                return Ok(false);
            }
        }
        self.let_go(&[segment])?;
        drop(guard);
        Ok(true)
    }

    /// The caller holds `retiring`.
    fn let_go(&self, going: &[Arc<Segment>]) -> Result<()> {
        if going.is_empty() {
            return Ok(());
        }
        // The position in the log must survive without these files: the active segment's header carries it.
        self.sync_all()?;
        let flushed = Lsn(self.index_flushed.load(Ordering::Acquire));
        let mut spares = Vec::new();
        for segment in going {
            let (last_lsn, file_bytes) = {
                let body = segment.body.read();
                (body.last_lsn, body.file_bytes)
            };
            assert!(last_lsn <= flushed, "I2: {} holds metadata that is not in the durable index", segment.id);
            self.hit("journal.retire")?;
            self.segments.write().remove(&segment.id);
            self.tables.remove(segment.id);
            let whole = file_bytes == self.config.segment_bytes;
            let wanted = self.files.spare_count() + spares.len() < self.config.spare_segments.max(SPARES_KEPT);
            spares.extend(self.files.retire(segment.id, whole && wanted)?);
        }
        self.hit("journal.retire.sync")?;
        self.files.sync_dir()?;
        self.files.add_retired(spares);
        Ok(())
    }
}
