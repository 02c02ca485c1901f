//! Fetching frames from the pool: neighbouring frames with one ranged get, through the read cache, which lets one
//! fetch serve everyone who waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cache_journal::{FrameId, FrameNo, SegmentId};
use cache_writeback::SegmentBlobs;
use objstore_base::{Error, ErrorKind, Result};

use super::read::{Piece, part_of};
use crate::engine::Engine;

impl Engine {
    /// Fills the parts of `bytes` that `pieces` name.
    pub(crate) async fn fetch_pieces(&self, bytes: &mut [u8], pieces: &[Piece]) -> Result<()> {
        let found = self.fetch_frames(pieces).await?;
        for piece in pieces {
            let whole = found.get(&piece.frame).map_or(&[][..], |whole| whole);
            let start = piece.skip as usize;
            let part = whole.get(start..start + piece.out.len()).ok_or_else(|| {
                let error = Error::new(ErrorKind::Corrupt, "read frame").entity(piece.frame);
                error.context("it is shorter than its extent says")
            })?;
            part_of(bytes, piece)?.copy_from_slice(part);
        }
        Ok(())
    }

    /// The frames that `pieces` name, whole.
    pub(crate) async fn fetch_frames(&self, pieces: &[Piece]) -> Result<BTreeMap<FrameId, Bytes>> {
        let mut frames: Vec<FrameId> = pieces.iter().map(|piece| piece.frame).collect();
        frames.sort_unstable();
        frames.dedup();
        let blobs = Arc::clone(&self.data.blobs);
        let found = self.data.read_cache.get_or_fetch_run(&frames, move |missing| Box::pin(fetch(blobs, missing)));
        Ok(frames.iter().copied().zip(found.await?).collect())
    }
}

/// The bytes of `frames`, ascending, segment by segment.
async fn fetch(blobs: Arc<SegmentBlobs>, frames: Vec<FrameId>) -> Result<Vec<(FrameId, Bytes)>> {
    let mut wanted: BTreeMap<SegmentId, Vec<FrameNo>> = BTreeMap::new();
    for frame in &frames {
        wanted.entry(frame.segment).or_default().push(frame.frame);
    }
    let mut found = Vec::with_capacity(frames.len());
    for (segment, numbers) in wanted {
        found.extend(blobs.read_frames(segment, &numbers).await?);
    }
    Ok(found)
}
