//! [`Liveness`]: what the upload asks the engine before it leaves a frame out of a blob.

use cache_journal::{FrameId, FrameNo, SegmentId};
use objstore_base::Result;

/// Tells dead frames from live ones.
///
/// A frame is left out of its segment's blob only if both answers say so: a record **of the same segment** took its
/// last name away, and nothing names it now. The first is what keeps promise 6: whoever rebuilds the store from the
/// pool stops at the end of a segment, and a frame that died later is still named there. A frame that dies after its
/// segment's end is compaction's business.
pub trait Liveness: Send + Sync {
    /// Whether anything names the frame: an extent, a snapshot, an open file. Snapshots count until their deletion is
    /// in the pool.
    fn is_live(&self, frame: FrameId) -> Result<bool>;

    /// Hands every frame of `segment` to `killed` whose last name the metadata batch takes away; `batch` is of a
    /// record of that segment. Without an implementation nothing is ever left out.
    fn killed_by(&self, segment: SegmentId, batch: &[u8], killed: &mut dyn FnMut(FrameNo)) -> Result<()> {
        let (_, _, _) = (segment, batch, killed);
        Ok(())
    }
}
