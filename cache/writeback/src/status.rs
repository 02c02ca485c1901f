//! [`WriteBackStatus`]: what `tidegate status` says about dirty data.

use std::time::Duration;

use cache_journal::{Lsn, SegmentId};
use objstore_base::ErrorKind;

use crate::Band;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// `start` was not called, or `stop` was.
    Stopped,
    /// Nothing sealed waits.
    Idle,
    Uploading,
    /// The last attempt failed; the next one comes after this time.
    Retrying(Duration),
}

/// Why uploads do not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub segment: Option<SegmentId>,
    pub kind: ErrorKind,
    pub message: String,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// How long nothing has succeeded.
    pub failing_for: Duration,
    /// False where somebody has to do something first (a local segment is damaged, access was refused).
    pub mends_by_waiting: bool,
}

/// Sums since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadTotals {
    pub segments: u64,
    /// Bytes of the segments as they were in the journal.
    pub segment_bytes: u64,
    /// Bytes of their blobs.
    pub blob_bytes: u64,
    pub frames: u64,
    /// Dead frames that did not have to go up.
    pub frames_left_out: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteBackStatus {
    pub state: UploadState,
    pub band: Band,
    /// Bytes that are on the local disk only.
    pub dirty_bytes: u64,
    pub dirty_segments: usize,
    /// Age of the oldest of them: what the loss of this machine would cost.
    pub oldest_age: Option<Duration>,
    pub max_dirty_bytes: u64,
    /// Journal files, dirty and kept as cache.
    pub local_bytes: u64,
    pub cache_bytes_max: u64,
    /// Left on the journal's filesystem, and what is kept in reserve of it; 0 before the first look.
    pub disk_available_bytes: u64,
    pub disk_reserve_bytes: u64,
    pub in_flight: Vec<SegmentId>,
    /// Average over the recent time in which there was something to upload.
    pub upload_rate_bytes_per_s: Option<u64>,
    /// When everything that is dirty now will be in the pool; `None` while uploads fail or none was seen.
    pub eta: Option<Duration>,
    pub last_error: Option<LastError>,
    pub totals: UploadTotals,
    /// Every record up to here is in the pool.
    pub in_pool: Lsn,
    /// The last record of the journal.
    pub last: Lsn,
}
