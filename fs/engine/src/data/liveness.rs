//! Which frames are live: what the upload asks before it leaves one out (F29).
//!
//! Decided from applied state, and never from its absence: a frame whose record is appended but not yet applied has no
//! entry and counts as live. A copy made by compaction lives while the frame it stands for does and is still said to
//! be there.

use std::sync::Arc;

use cache_journal::FrameId;
use cache_writeback::Liveness;
use fs_meta::{Column, MetaStore};
use objstore_base::Result;

use super::forward::forward_of;
use super::records::{Forward, FrameUse, frame_key};

struct IndexLiveness {
    meta: Arc<dyn MetaStore>,
}

/// Liveness as the index tells it.
pub(crate) fn liveness(meta: Arc<dyn MetaStore>) -> Arc<dyn Liveness> {
    Arc::new(IndexLiveness { meta })
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
}
