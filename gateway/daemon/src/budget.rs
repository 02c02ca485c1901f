//! Memory: one budget for everything that caches or buffers, and how it is shared.

/// What all caches and buffers may take together, in the default.
pub(crate) const MEMORY_BYTES: u64 = 512 << 20;

/// Shares of [`MEMORY_BYTES`]. The index takes about 146 MiB beside its block cache when it is flushed under load (its
/// memtables twice 64 MiB, and buffers), which is part of the sum:
///
/// | part | MiB |
/// |---|---|
/// | index: block cache | 64 |
/// | index: memtables, arenas, flush and compaction buffers | 146 |
/// | inodes (96 Ki of 300 bytes) and names (96 Ki of 150 bytes) | 42 |
/// | gathered small writes | 64 |
/// | frames read from the pool, in memory, 16 of them on their way to the cache disk | 64 + 16 |
/// | frame tables of local segments, and of blobs | 32 + 24 |
/// | segments on their way to the pool (2 in flight, compressed in parts) | 52 |
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) index_cache_bytes: usize,
    pub(crate) inode_cache_entries: usize,
    pub(crate) dentry_cache_entries: usize,
    pub(crate) gather_bytes: usize,
    pub(crate) frame_cache_bytes: u64,
    pub(crate) journal_table_bytes: usize,
}

impl Budget {
    pub(crate) const DEFAULT: Self = Self {
        index_cache_bytes: 64 << 20,
        inode_cache_entries: 96 << 10,
        dentry_cache_entries: 96 << 10,
        gather_bytes: 64 << 20,
        frame_cache_bytes: 64 << 20,
        journal_table_bytes: 32 << 20,
    };
}

/// What the index takes beside its block cache, and segments under way.
const INDEX_BUFFERS_BYTES: u64 = 146 << 20;
const UPLOAD_BYTES: u64 = 52 << 20;
/// What the read cache holds on its way to disk, and the engine's tables of blobs.
const READ_QUEUE_BYTES: u64 = 16 << 20;
const BLOB_TABLE_BYTES: u64 = 24 << 20;

const fn sum(budget: &Budget) -> u64 {
    budget.index_cache_bytes as u64
        + INDEX_BUFFERS_BYTES
        + budget.inode_cache_entries as u64 * 300
        + budget.dentry_cache_entries as u64 * 150
        + budget.gather_bytes as u64
        + budget.frame_cache_bytes
        + budget.journal_table_bytes as u64
        + READ_QUEUE_BYTES
        + BLOB_TABLE_BYTES
        + UPLOAD_BYTES
}

const _: () = assert!(sum(&Budget::DEFAULT) <= MEMORY_BYTES, "the shares exceed the budget");
