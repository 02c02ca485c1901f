//! What a caller may choose, and the memory that follows from it.

/// Sizes of a [`RocksStore`](crate::RocksStore).
///
/// # Memory
/// The sum of these; with the defaults about 210 MiB at the worst and 90 MiB at rest:
///
/// | part | default |
/// |---|---|
/// | block cache: blocks, indexes and filters; nothing of a table is held outside it | 64 MiB |
/// | memtables: twice what the engine lets run up between flushes (one state active, one being flushed) | 128 MiB |
/// | arenas: at most 256 KiB per column and state that a small column leaves half empty | 5 MiB |
/// | open table files, about 20 KiB each | 5 MiB |
/// | buffers of one flush and one compaction | 10 MiB |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksConfig {
    pub block_cache_bytes: usize,
    /// Ceiling of one column's memtable. RocksDB flushes on its own above it, which must never happen; so it stands
    /// at four times the 64 MiB at which the engine begins a flush, and is an address, not an allocation.
    pub write_buffer_bytes_max: usize,
    pub open_files_max: u16,
    /// Threads for flushes and compactions together; at least one of each.
    pub background_jobs: u8,
}

impl Default for RocksConfig {
    fn default() -> Self {
        Self { block_cache_bytes: 64 << 20, write_buffer_bytes_max: 256 << 20, open_files_max: 256, background_jobs: 2 }
    }
}
