//! What the owner decides about a journal.

use std::path::PathBuf;

/// Settings of one journal. The identity and the segment size belong to the store; the rest may change at each start.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The folder of the segment files; nothing else lives in it.
    pub dir: PathBuf,
    /// Identity of the store; segments of another one are refused.
    pub store_uuid: [u8; 16],
    /// Whether a folder without segments is a new journal. Where the store says that there was one, `false` makes its
    /// absence an error.
    pub create: bool,
    /// File size of a segment. 64 MiB: large enough that seals, blobs and table loads are rare, small enough that one
    /// is uploaded in about a second.
    pub segment_bytes: u64,
    /// Bulk appends wait for a sync beyond this many unsynced bytes, so that a commit never waits behind more. 8 MiB
    /// is a few milliseconds of a local disk.
    pub unsynced_bytes_max: u64,
    /// Uploaded segments stay as a read cache up to this many bytes of local files; see `Journal::retire_to_limit`.
    pub cache_bytes_max: u64,
    /// Files kept ready, already written once: overwriting is two to three times faster to sync than extending.
    pub spare_segments: usize,
    /// Segment files open at a time, beyond those being written.
    pub open_files_max: usize,
    /// Memory for the frame tables of sealed segments.
    pub table_cache_bytes: usize,
}

impl JournalConfig {
    pub fn new(dir: impl Into<PathBuf>, store_uuid: [u8; 16]) -> Self {
        Self {
            dir: dir.into(),
            store_uuid,
            create: true,
            segment_bytes: 64 << 20,
            unsynced_bytes_max: 8 << 20,
            cache_bytes_max: 10 << 30,
            spare_segments: 1,
            open_files_max: 256,
            table_cache_bytes: 32 << 20,
        }
    }
}
