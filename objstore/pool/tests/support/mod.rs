//! A pool on a simulated machine, and the objects that every test of it stores.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use objstore_base::{BlobId, BlobStore, Error, ErrorKind, Result};
use objstore_env::sim::SimWorld;
use objstore_env::{Disk, OpenMode};
use objstore_pool::{HealReport, Pool, PoolConfig};
use objstore_shard::{PoolUuid, ShardHeader};

pub use objstore_base::conformance::pattern;

pub const CELL: usize = 64 << 10;

pub struct Site {
    pub world: SimWorld,
    pub config: PoolConfig,
}

/// Reads `SEED=` to repeat a run.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    eprintln!("SEED={seed}");
    seed
}

impl Site {
    pub fn new(k: usize, m: usize, drives: usize) -> Self {
        Self::with_seed(k, m, drives, seed(1))
    }

    pub fn with_seed(k: usize, m: usize, drives: usize, seed: u64) -> Self {
        let world = SimWorld::new(seed);
        let paths: Vec<PathBuf> = (0..drives).map(|slot| PathBuf::from(format!("/drives/{slot}"))).collect();
        let config = PoolConfig {
            cell_bytes: CELL as u32,
            ..PoolConfig::new(PoolUuid([7; 16]), k, m, paths, "/data/pool".into())
        };
        Self { world, config }
    }

    pub fn create(&self) -> Pool {
        self.world.run(Pool::create(self.world.env(), self.config.clone())).expect("create")
    }

    pub fn try_open(&self) -> Result<Pool> {
        self.world.run(Pool::open(self.world.env(), self.config.clone()))
    }

    pub fn open(&self) -> Pool {
        self.try_open().expect("open")
    }

    /// Closes the pool and opens it again, as a restart does.
    pub fn reopen(&self, pool: Pool) -> Pool {
        self.world.run(pool.stop());
        drop(pool);
        self.open()
    }

    pub fn put(&self, pool: &Pool, id: BlobId, content: &Bytes) -> Result<()> {
        let cut = content.len() / 2;
        self.world.run(pool.put(id, vec![content.slice(..cut), content.slice(cut..)]))
    }

    pub fn get(&self, pool: &Pool, id: BlobId, len: usize) -> Result<Bytes> {
        self.world.run(pool.get(id, 0..len as u64))
    }

    pub fn heal(&self, pool: &Pool) -> HealReport {
        self.world.run(pool.heal(|_| {})).expect("heal")
    }

    pub fn disk(&self) -> &dyn Disk {
        self.world.disk()
    }

    /// All shard files of a drive.
    pub fn shards(&self, slot: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.walk(&self.config.drives[slot], &mut found);
        found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains('.')));
        found.retain(|path| path.parent() != Some(&self.config.drives[slot]));
        found.sort();
        found
    }

    /// The shard files of one blob on a drive.
    pub fn shards_of(&self, slot: usize, id: BlobId) -> Vec<PathBuf> {
        let prefix = format!("{id}.");
        let mut found = self.shards(slot);
        found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
        found
    }

    fn walk(&self, dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in self.disk().list(dir).unwrap_or_default() {
            let path = dir.join(&entry.name);
            if entry.is_dir { self.walk(&path, found) } else { found.push(path) }
        }
    }

    pub fn read(&self, path: &Path) -> Vec<u8> {
        self.disk().read_file(path, 1 << 30).expect("read file")
    }

    pub fn write(&self, path: &Path, content: &[u8]) {
        let file = self.disk().open(path, OpenMode::Truncate).expect("open file");
        file.write_all_at(&[std::io::IoSlice::new(content)], 0).expect("write file");
        file.sync_data().expect("sync file");
        self.disk().sync_dir(path.parent().expect("a file has one")).expect("sync directory");
    }

    pub fn remove(&self, path: &Path) {
        self.disk().remove_file(path).expect("remove file");
    }

    /// Removes everything under a directory, and the directory.
    pub fn remove_tree(&self, dir: &Path) {
        for entry in self.disk().list(dir).expect("list") {
            let path = dir.join(&entry.name);
            if entry.is_dir { self.remove_tree(&path) } else { self.remove(&path) }
        }
        self.disk().remove_dir(dir).expect("remove directory");
    }

    pub fn header(&self, path: &Path) -> ShardHeader {
        let content = self.read(path);
        let len = ShardHeader::encoded_len(&content, content.len() as u64).expect("a header");
        ShardHeader::decode(&content[..len]).expect("a header")
    }
}

/// Twenty objects around the sizes where something begins or ends: unit, cell, row.
pub fn objects() -> Vec<(BlobId, Bytes)> {
    let row = 4 * CELL;
    let sizes = [
        0,
        1,
        CELL - 1,
        CELL,
        CELL + 1,
        (10 << 20) + 3,
        2,
        3,
        4,
        5,
        4095,
        4096,
        4097,
        row - 1,
        row,
        row + 1,
        2 * row,
        2 * row + CELL + 1,
        3 * CELL,
        100_000,
    ];
    sizes
        .into_iter()
        .enumerate()
        .map(|(n, size)| (BlobId::segment(n as u64 + 1), pattern(n as u64 + 11, size)))
        .collect()
}

pub fn store(site: &Site, pool: &Pool, objects: &[(BlobId, Bytes)]) {
    for (id, content) in objects {
        site.put(pool, *id, content).expect("put");
    }
    site.world.run(pool.stop());
}

/// Every object reads back byte for byte.
pub fn check(site: &Site, pool: &Pool, objects: &[(BlobId, Bytes)], case: &str) {
    for (id, content) in objects {
        let got =
            site.get(pool, *id, content.len()).unwrap_or_else(|e| panic!("{case}: {id} of {}: {e}", content.len()));
        assert!(got == *content, "{case}: {id} of {} bytes differs", content.len());
    }
}

/// Every object has all its shards, verified, and nothing is owed.
pub fn check_whole(site: &Site, pool: &Pool, objects: &[(BlobId, Bytes)], case: &str) {
    for (id, content) in objects {
        let found = site.world.run(pool.describe(*id)).unwrap_or_else(|e| panic!("{case}: {id}: {e}"));
        assert!(found.is_whole() && found.len == Some(content.len() as u64), "{case}: {found:?}");
    }
    let status = site.world.run(pool.status());
    assert_eq!((status.missing_shards, status.pending_deletions), (0, 0), "{case}");
}

/// All subsets of `count` out of `n`.
pub fn subsets(n: usize, count: usize) -> Vec<Vec<usize>> {
    let of_size = (0_u32..1 << n).filter(|mask| mask.count_ones() as usize == count);
    of_size.map(|mask| (0..n).filter(|index| mask & (1 << index) != 0).collect()).collect()
}

pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.map_err(|e: Error| e.kind()).expect_err("an error")
}
