//! What the owner decides about the read cache.

use std::path::PathBuf;

/// Settings of one [`crate::ReadCache`]. All may change at each start.
#[derive(Clone, Debug)]
pub struct ReadCacheConfig {
    /// The folder of the cache's files; nothing else lives in it.
    pub dir: PathBuf,
    /// Frames in memory.
    pub memory_bytes_max: u64,
    /// Bytes of all files together; 0 for no disk level.
    pub disk_bytes_max: u64,
    /// Frames in memory that wait to be written to the disk level. Beyond it they are not written at all: a cache
    /// disk that is slower than the pool must not slow reads down.
    pub queue_bytes_max: u64,
}

impl ReadCacheConfig {
    pub fn new(dir: impl Into<PathBuf>, disk_bytes_max: u64) -> Self {
        Self { dir: dir.into(), memory_bytes_max: 128 << 20, disk_bytes_max, queue_bytes_max: 16 << 20 }
    }
}
