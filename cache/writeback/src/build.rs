//! From a sealed segment to its blob: every batch, and the frames that are not dead.

use std::collections::HashSet;

use cache_journal::{FrameId, FrameNo, SegmentReader};
use objstore_base::Result;

use crate::{BlobWriter, BuiltBlob, Compression, FrameHead, Lineage, Liveness};

/// Reads the segment once and gives the blob to be put. Blocks; holds the compressed blob and one frame.
///
/// # Errors
/// `Corrupt`, naming segment and frame, where the local file does not verify; what the liveness gives.
pub fn build_blob(
    segment: &SegmentReader,
    lineage: Lineage,
    liveness: &dyn Liveness,
    compression: Compression,
) -> Result<BuiltBlob> {
    let id = segment.id();
    let mut writer = BlobWriter::new(id, lineage, compression)?;
    let mut killed: HashSet<FrameNo> = HashSet::new();
    segment.records(&mut |record| {
        writer.batch(record.lsn, record.batch)?;
        liveness.killed_by(id, record.batch, &mut |frame| {
            killed.insert(frame);
        })
    })?;
    writer.span(segment.info().first_lsn, segment.info().last_lsn);
    let mut raw = Vec::new();
    for (frame, entry) in segment.frames().iter().filter(|(_, entry)| entry.len > 0) {
        if killed.contains(&frame) && !liveness.is_live(FrameId::new(id, frame))? {
            writer.leave_out();
            continue;
        }
        raw.resize(entry.len as usize, 0);
        segment.read_frame(frame, &mut raw)?;
        let (ino, offset, origin) = (entry.ino, entry.offset, entry.origin);
        let head = FrameHead { frame, ino, offset, origin, chunk_crcs: segment.frames().chunk_crcs(entry) };
        writer.frame(&head, &raw)?;
    }
    writer.finish()
}
