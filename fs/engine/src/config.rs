//! What an engine is opened with.

use std::sync::Arc;

use cache_journal::JournalConfig;
use cache_readcache::ReadCacheConfig;
use cache_writeback::WriteBackConfig;

/// Frames from the pool kept on the local disk, beside the segments that are still there.
const READ_CACHE_DISK_BYTES: u64 = 4 << 30;

/// Told which requests a journal record carries, in the order of the journal: the ground truth for tests of what a
/// crash may lose. Called with the stripes of the changed inodes held; it must not call the engine.
pub trait CommitObserver: Send + Sync {
    fn committed(&self, lsn: u64, requests: &[u64]);
}

/// When reading renews the access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atime {
    /// Where it is not after the last change, or a day old.
    #[default]
    Relative,
    Never,
}

/// How far files get with the journal's own disk, where drives of the pool lie on it: `files` bytes of files for every
/// `disk` bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedDisk {
    pub files: u64,
    pub disk: u64,
}

/// Sizes and rules of one engine.
#[derive(Clone)]
pub struct EngineConfig {
    pub journal: JournalConfig,
    pub write_back: WriteBackConfig,
    pub atime: Atime,
    /// Decoded inodes kept in memory (about 300 bytes each).
    pub inode_cache_entries: usize,
    /// Names kept in memory, found and not found (about 150 bytes each).
    pub dentry_cache_entries: usize,
    /// Bytes of small writes gathered before they become frames.
    pub gather_bytes_max: usize,
    /// What is kept of the pool in memory and on the local disk.
    pub read_cache: ReadCacheConfig,
    /// Index bytes in memory beyond which they are flushed.
    pub index_unflushed_bytes_max: u64,
    /// Owner and permission bits of the root directory of a new store.
    pub root_uid: u32,
    pub root_gid: u32,
    pub root_mode: u32,
    pub observer: Option<Arc<dyn CommitObserver>>,
    /// `None` where no drive of the pool is on the journal's disk.
    pub shared_disk: Option<SharedDisk>,
}

impl EngineConfig {
    /// The defaults for a store whose journal and write-back are configured so.
    pub fn new(journal: JournalConfig, write_back: WriteBackConfig) -> Self {
        let read_cache = ReadCacheConfig::new(journal.dir.with_file_name("cache"), READ_CACHE_DISK_BYTES);
        Self {
            read_cache,
            journal,
            write_back,
            atime: Atime::default(),
            inode_cache_entries: 128 << 10,
            dentry_cache_entries: 128 << 10,
            gather_bytes_max: 64 << 20,
            index_unflushed_bytes_max: 64 << 20,
            root_uid: 0,
            root_gid: 0,
            root_mode: 0o755,
            observer: None,
            shared_disk: None,
        }
    }
}
