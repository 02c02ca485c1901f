//! [`ReadCacheStats`]: counters since the start, and what is held now.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Counters {
    pub memory_hits: AtomicU64,
    pub disk_hits: AtomicU64,
    pub disk_hit_bytes: AtomicU64,
    pub misses: AtomicU64,
    pub fetches: AtomicU64,
    pub fetched_bytes: AtomicU64,
    pub joined: AtomicU64,
    pub corrupt: AtomicU64,
    pub disk_errors: AtomicU64,
    pub not_written: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCacheStats {
    /// Frames found in memory.
    pub memory_hits: u64,
    /// Frames found on the cache's disk, and their bytes.
    pub disk_hits: u64,
    pub disk_hit_bytes: u64,
    /// Frames found nowhere.
    pub misses: u64,
    /// Fetches for them; fewer than misses, where one fetch brought several.
    pub fetches: u64,
    pub fetched_bytes: u64,
    /// Frames that somebody else was fetching already.
    pub joined: u64,
    /// Entries of the disk that did not verify, and were fetched instead.
    pub corrupt: u64,
    /// Failed reads and writes of the cache's disk.
    pub disk_errors: u64,
    /// Frames that were not written to the disk: its queue was full, or writing is paused after an error.
    pub not_written: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub disk_frames: u64,
}
