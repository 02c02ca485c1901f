//! What the owner decides about write-back.

use std::time::Duration;

use crate::Compression;

/// Settings of one [`crate::WriteBack`]. All may change at each start.
#[derive(Clone, Debug)]
pub struct WriteBackConfig {
    pub compression: Compression,
    /// The history that the segments belong to; the owner reads it from the store.
    pub timeline: u64,
    /// Bytes that may wait for upload. Writers feel it from 80 % on (see `WriteBack::admit`).
    pub max_dirty_bytes: u64,
    /// A segment that is not full goes up when its oldest record is this old: what the loss of the machine may cost.
    pub upload_delay: Duration,
    /// A smaller segment waits for `small_segment_delay` instead, so that a quiet store makes few blobs. Where the
    /// loss of a machine must never cost more than `upload_delay`, set this to 0.
    pub small_segment_bytes: u64,
    pub small_segment_delay: Duration,
    /// While writers are busy (they append at least so much) and less than half of `max_dirty_bytes` are dirty, a full
    /// segment waits up to `busy_delay`: its upload would take the disk and the cores from them, and what they
    /// overwrite or remove soon need not go up at all.
    pub busy_bytes_per_s: u64,
    pub busy_delay: Duration,
    /// Puts that run at a time. Two hide the local work between two puts; more would hold more segments in memory.
    pub uploads_in_flight_max: usize,
    /// The first retry comes after up to `retry_delay_min`, each further one after up to twice as long, at most
    /// `retry_delay_max`; the actual delay is chance below that.
    pub retry_delay_min: Duration,
    pub retry_delay_max: Duration,
    pub disk_reserve: DiskReserve,
}

/// What stays free on the filesystem under the journal; writers wait where it is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReserve {
    pub bytes_min: u64,
    pub percent: u8,
}

impl DiskReserve {
    /// Bytes to keep free of a filesystem of `total` bytes: the larger of both.
    pub fn of(&self, total: u64) -> u64 {
        self.bytes_min.max(total / 100 * u64::from(self.percent))
    }
}

impl WriteBackConfig {
    pub fn new(max_dirty_bytes: u64) -> Self {
        Self {
            compression: Compression::default(),
            timeline: 1,
            max_dirty_bytes,
            upload_delay: Duration::from_secs(30),
            small_segment_bytes: 4 << 20,
            small_segment_delay: Duration::from_secs(300),
            busy_bytes_per_s: 16 << 20,
            busy_delay: Duration::from_secs(10),
            uploads_in_flight_max: 2,
            retry_delay_min: Duration::from_millis(500),
            retry_delay_max: Duration::from_secs(30),
            disk_reserve: DiskReserve { bytes_min: 256 << 20, percent: 2 },
        }
    }
}
