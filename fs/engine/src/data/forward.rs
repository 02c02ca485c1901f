//! Where frames live: their own segment, or where compaction moved them.
//!
//! Extents keep naming a frame as it was born. The index has an entry for each frame that moved; the segments with such
//! entries are few and known in memory, so that the usual lookup costs nothing.

use std::collections::HashSet;
use std::ops::ControlFlow;

use cache_journal::{FrameId, FrameNo, SegmentId};
use fs_meta::{Column, Direction, MetaRead};
use objstore_base::Result;
use parking_lot::RwLock;

use super::records::{Forward, decode_frame_key, frame_key};
use crate::engine::Engine;

/// Segments of which some frames have moved.
#[derive(Default)]
pub(crate) struct Moved(RwLock<HashSet<SegmentId>>);

impl Moved {
    pub(crate) fn note(&self, segment: SegmentId) {
        self.0.write().insert(segment);
    }

    pub(crate) fn load(&self, read: &dyn MetaRead) -> Result<()> {
        let mut found = HashSet::new();
        let mut bad = None;
        read.scan(Column::Forward, &[][..]..&[0xff; 13][..], Direction::Forward, &mut |key, value| {
            let decoded = decode_frame_key(key).and_then(|frame| Ok((frame, Forward::decode(key, value)?)));
            match decoded {
                Ok((frame, Forward::MovedTo(_))) => {
                    found.insert(frame.segment);
                }
                Ok((_, Forward::CopyOf(_))) => {}
                Err(error) => {
                    bad = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        bad.map_or(Ok(()), Err)?;
        *self.0.write() = found;
        Ok(())
    }

    fn contains(&self, segment: SegmentId) -> bool {
        let moved = self.0.read();
        !moved.is_empty() && moved.contains(&segment)
    }

    /// Where the bytes of `frame`, as an extent names it, are now.
    pub(crate) fn home(&self, read: &dyn MetaRead, frame: FrameId) -> Result<FrameId> {
        if !self.contains(frame.segment) {
            return Ok(frame);
        }
        match forward_of(read, frame)? {
            Some(Forward::MovedTo(home)) => Ok(home),
            _ => Ok(frame),
        }
    }
}

pub(crate) fn forward_of(read: &dyn MetaRead, frame: FrameId) -> Result<Option<Forward>> {
    let key = frame_key(frame);
    let value = read.get(Column::Forward, &key)?;
    value.map(|value| Forward::decode(&key, &value)).transpose()
}

/// First and last key of the frames of `segment`, half-open.
pub(crate) fn frame_keys(segment: SegmentId) -> ([u8; 12], [u8; 12]) {
    (frame_key(FrameId::new(segment, FrameNo(0))), frame_key(FrameId::new(segment.next(), FrameNo(0))))
}

impl Engine {
    /// Where the bytes of `frame` are now. Stable while the gate is held.
    pub(crate) fn home(&self, frame: FrameId) -> Result<FrameId> {
        self.data.moved.home(&*self.meta, frame)
    }
}
