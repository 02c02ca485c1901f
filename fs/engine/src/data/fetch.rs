//! Fetching frames from the pool: neighbouring frames with one ranged get, through the read cache.

use std::collections::BTreeMap;

use cache_journal::{FrameId, FrameNo, SegmentId};
use fs_api::Context;
use objstore_base::{Error, ErrorKind, Result};

use super::read::{Piece, part_of};
use crate::engine::Engine;
use crate::handles::FileUse;

impl Engine {
    /// Fills the parts of `bytes` that `pieces` name.
    pub(crate) async fn fetch_pieces(
        &self,
        _cx: &Context,
        _file: FileUse,
        _offset: u64,
        bytes: &mut [u8],
        pieces: &[Piece],
    ) -> Result<()> {
        let mut wanted: BTreeMap<SegmentId, Vec<FrameNo>> = BTreeMap::new();
        for piece in pieces {
            wanted.entry(piece.frame.segment).or_default().push(piece.frame.frame);
        }
        for (segment, mut frames) in wanted {
            frames.sort_unstable();
            frames.dedup();
            for (frame, whole) in self.data.blobs.read_frames(segment, &frames).await? {
                fill(bytes, pieces, frame, &whole)?;
            }
        }
        Ok(())
    }
}

/// Copies the parts of `frame` to where `pieces` want them.
fn fill(bytes: &mut [u8], pieces: &[Piece], frame: FrameId, whole: &[u8]) -> Result<()> {
    for piece in pieces.iter().filter(|piece| piece.frame == frame) {
        let start = piece.skip as usize;
        let part = whole.get(start..start + piece.out.len()).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read frame").entity(frame).context("it is shorter than its extent says")
        })?;
        part_of(bytes, piece)?.copy_from_slice(part);
    }
    Ok(())
}
