//! Which frames are live: what the upload asks before it leaves one out (F29).
//!
//! Decided from applied state, and never from its absence: a frame whose record is appended but not yet applied has no
//! entry and counts as live. A copy made by compaction lives while the frame it stands for does and is still said to
//! be there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cache_journal::{FrameId, FrameNo, SegmentId};
use cache_writeback::Liveness;
use fs_meta::{BatchOp, BatchReader, Column, MetaStore};
use objstore_base::Result;
use parking_lot::Mutex;

use super::forward::forward_of;
use super::records::{Forward, FrameUse, decode_frame_key, frame_key};

/// Segments whose sums are kept: many more than are built at a time.
const SUMS_MAX: usize = 16;

struct IndexLiveness {
    meta: Arc<dyn MetaStore>,
    /// Per segment, by how much its own records changed the references of its frames. A frame lost its last name in
    /// this segment when that is -1: it was born there with one, and every change up to its death is in there. Sums of
    /// a frame that outlives its segment never go below 0, however often the records are read again, so a repeated
    /// build needs no fresh start.
    sums: Mutex<BTreeMap<SegmentId, HashMap<FrameNo, i64>>>,
}

/// Liveness as the index tells it.
pub(crate) fn liveness(meta: Arc<dyn MetaStore>) -> Arc<dyn Liveness> {
    Arc::new(IndexLiveness { meta, sums: Mutex::default() })
}

pub(crate) fn use_of(read: &dyn fs_meta::MetaRead, frame: FrameId) -> Result<FrameUse> {
    let key = frame_key(frame);
    FrameUse::stored(&key, read.get(Column::FrameRef, &key)?.as_deref())
}

impl Liveness for IndexLiveness {
    fn is_live(&self, frame: FrameId) -> Result<bool> {
        match forward_of(&*self.meta, frame)? {
            None => Ok(!use_of(&*self.meta, frame)?.is_dead()),
            Some(Forward::MovedTo(_)) => Ok(false),
            Some(Forward::CopyOf(named)) => {
                let here = forward_of(&*self.meta, named)? == Some(Forward::MovedTo(frame));
                Ok(here && !use_of(&*self.meta, named)?.is_dead())
            }
        }
    }

    fn killed_by(&self, segment: SegmentId, batch: &[u8], killed: &mut dyn FnMut(FrameNo)) -> Result<()> {
        let mut all = self.sums.lock();
        let sums = all.entry(segment).or_default();
        for op in BatchReader::new(batch) {
            let BatchOp::Add { column: Column::FrameRef, key, delta } = op? else { continue };
            let frame = decode_frame_key(key)?;
            if frame.segment != segment {
                continue;
            }
            let sum = sums.entry(frame.frame).or_default();
            *sum += FrameUse::unpacked(delta).refs;
            if *sum < 0 {
                killed(frame.frame);
            }
        }
        while all.len() > SUMS_MAX {
            // Segments are built in order: the lowest is long done.
            all.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fs_meta::{Batch, MemoryStore};

    use super::*;

    fn batch(changes: &[(u64, u32, i64)]) -> Batch {
        let mut batch = Batch::new();
        for (segment, frame, refs) in changes {
            let frame = FrameId::new(SegmentId(*segment), FrameNo(*frame));
            batch.add(Column::FrameRef, &frame_key(frame), FrameUse { refs: *refs, bytes: *refs * 10 }.packed());
        }
        batch
    }

    #[test]
    fn only_frames_that_die_in_their_own_segment_are_killed_by_it() {
        let liveness = liveness(Arc::new(MemoryStore::new()));
        // 1 dies at once; 2 is shared and loses one name; 3 is shared and loses both; 4 belongs to another segment.
        let records = [
            batch(&[(7, 1, -1), (7, 2, 1), (7, 3, 1)]),
            batch(&[(7, 2, -1), (7, 3, -1), (6, 4, -1)]),
            batch(&[(7, 3, -1)]),
        ];
        for _ in 0..3 {
            let mut killed = Vec::new();
            for record in &records {
                liveness
                    .killed_by(SegmentId(7), record.as_bytes(), &mut |frame| killed.push(frame.0))
                    .expect("decodes");
            }
            killed.sort_unstable();
            killed.dedup();
            assert_eq!(killed, [1, 3]);
        }
    }

    #[test]
    fn a_frame_lives_from_before_its_record_is_applied_until_its_last_name_goes() {
        let meta = Arc::new(MemoryStore::new());
        let liveness = liveness(Arc::clone(&meta) as _);
        let id = |segment, frame| FrameId::new(SegmentId(segment), FrameNo(frame));
        let (frame, copy, other) = (id(1, 0), id(9, 5), id(9, 6));
        assert!(liveness.is_live(frame).expect("reads"));
        let mut moved = Batch::new();
        moved.put(Column::Forward, &frame_key(frame), &Forward::MovedTo(copy).encode());
        moved.put(Column::Forward, &frame_key(copy), &Forward::CopyOf(frame).encode());
        moved.put(Column::Forward, &frame_key(other), &Forward::CopyOf(frame).encode());
        meta.apply(&moved).expect("applies");
        let live = |frame| liveness.is_live(frame).expect("reads");
        assert!(!live(frame) && live(copy) && !live(other), "the bytes are needed where they are now");
        meta.apply(&batch(&[(1, 0, -1)])).expect("applies");
        assert!(!live(copy));
    }
}
