//! `heal.log`: what the pool owes its blobs, durable. Byte table in FORMAT.md.
//!
//! Records say which shards a put could not write, which it wrote beside another on one drive, and which blobs were
//! deleted while a drive was away. The list only makes healing quick and deletions certain: a full heal finds missing
//! and displaced shards without it. Records have a fixed size, so a damaged one costs itself and not what follows.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use objstore_base::{BlobClass, BlobId, Error, Result};
use objstore_env::{DiskFile, Env, OpenMode};
use objstore_shard::{Generation, PoolUuid};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const FILE_NAME: &str = "heal.log";
const MAGIC: [u8; 8] = *b"TGHEAL\0\0";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const RECORD_BYTES: usize = 32;
/// Records that are void (healed, purged) before the file is written anew, beside as many as are live.
const VOID_RECORDS_MAX: usize = 1024;
/// 1 GiB of records is no heal log of ours.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One thing to remember. The tags are on-disk values and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Shard `index` of this put was not written, or was found missing or corrupt.
    Missing { blob: BlobId, generation: Generation, index: u8 },
    /// Shard `index` of this put is durable, but on a drive that holds another of it: it is to move.
    Displaced { blob: BlobId, generation: Generation, index: u8 },
    /// Every shard up to this generation is to be removed wherever it turns up.
    Deleted { blob: BlobId, upto: Generation },
    /// Nothing is missing any more.
    Healed { blob: BlobId },
    /// No drive holds a deleted shard any more.
    Purged { blob: BlobId },
}

/// What is owed to one put: bit masks of shard indices. No index is in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debt {
    pub(crate) generation: Generation,
    missing: u32,
    displaced: u32,
}

impl Debt {
    const fn new(generation: Generation) -> Self {
        Self { generation, missing: 0, displaced: 0 }
    }

    pub(crate) fn missing(&self) -> Vec<u8> {
        indices(self.missing)
    }

    pub(crate) fn displaced(&self) -> Vec<u8> {
        indices(self.displaced)
    }
}

fn indices(mask: u32) -> Vec<u8> {
    (0..32).filter(|index| mask & (1 << index) != 0).collect()
}

/// The list as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    debts: BTreeMap<BlobId, Debt>,
    deleted: BTreeMap<BlobId, Generation>,
}

impl Owed {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Missing { blob, generation, index } => {
                let debt = self.debt(blob, generation);
                debt.missing |= 1 << (index & 31);
                debt.displaced &= !(1 << (index & 31));
            }
            Record::Displaced { blob, generation, index } => {
                let debt = self.debt(blob, generation);
                debt.displaced |= 1 << (index & 31);
                debt.missing &= !(1 << (index & 31));
            }
            Record::Deleted { blob, upto } => {
                let entry = self.deleted.entry(blob).or_insert(upto);
                *entry = upto.max(*entry);
                self.debts.remove(&blob);
            }
            Record::Healed { blob } => {
                self.debts.remove(&blob);
            }
            Record::Purged { blob } => {
                self.deleted.remove(&blob);
            }
        }
    }

    /// The debt of a put; what an older put of the blob was owed is void.
    fn debt(&mut self, blob: BlobId, generation: Generation) -> &mut Debt {
        let debt = self.debts.entry(blob).or_insert(Debt::new(generation));
        if debt.generation < generation {
            *debt = Debt::new(generation);
        }
        debt
    }

    fn changes(&self, record: Record) -> bool {
        let mut after = Self::default();
        match record {
            Record::Missing { blob, .. } | Record::Displaced { blob, .. } | Record::Healed { blob } => {
                after.debts.extend(self.debts.get(&blob).map(|debt| (blob, *debt)));
            }
            Record::Deleted { blob, .. } => {
                after.debts.extend(self.debts.get(&blob).map(|debt| (blob, *debt)));
                after.deleted.extend(self.deleted.get(&blob).map(|entry| (blob, *entry)));
            }
            Record::Purged { blob } => after.deleted.extend(self.deleted.get(&blob).map(|entry| (blob, *entry))),
        }
        let before = after.clone();
        after.apply(record);
        before != after
    }

    fn records(&self) -> Vec<Record> {
        let debts = self.debts.iter().flat_map(|(&blob, debt)| {
            let generation = debt.generation;
            let missing = debt.missing().into_iter().map(move |index| Record::Missing { blob, generation, index });
            let displaced = debt.displaced().into_iter();
            missing.chain(displaced.map(move |index| Record::Displaced { blob, generation, index }))
        });
        debts.chain(self.deleted.iter().map(|(&blob, &upto)| Record::Deleted { blob, upto })).collect()
    }
}

/// The open file. Lock order: `file`, then `owed`; `file` serialises appends and is taken on blocking threads only.
pub(crate) struct HealLog {
    env: Env,
    path: PathBuf,
    seed: u64,
    file: Mutex<Appender>,
    owed: Mutex<Owed>,
}

struct Appender {
    file: Arc<dyn DiskFile>,
    records: usize,
    end: u64,
    /// A write or sync failed: what the file holds is not known, and the next record goes to a fresh one.
    in_doubt: bool,
}

impl Appender {
    fn append(&mut self, news: &[Record], seed: u64) -> io::Result<()> {
        let bytes: Vec<u8> = news.iter().flat_map(|record| encode(*record, seed)).collect();
        self.in_doubt = true;
        self.file.write_all_at(&[IoSlice::new(&bytes)], self.end)?;
        self.file.sync_data()?;
        self.in_doubt = false;
        self.end += bytes.len() as u64;
        self.records += news.len();
        Ok(())
    }
}

impl HealLog {
    /// Opens or creates the log in `dir`. Blocks.
    ///
    /// # Errors
    /// `Mismatch` for another pool's log, `NewerFormat`, and what the disk says. Damaged records are left out with a
    /// warning.
    pub(crate) fn open(env: &Env, dir: &Path, pool: PoolUuid) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let failed = |e| Error::io("open heal log", e).entity(path.display());
        env.disk.create_dir_durable(dir).map_err(failed)?;
        let seed = xxh3_64_with_seed(&pool.0, 0);
        let content = match env.disk.read_file(&path, FILE_BYTES_MAX) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
        };
        let owed = decode(&content, pool, seed).map_err(|e| e.entity(path.display()))?;
        let appender = rewrite(env, &path, pool, seed, &owed).map_err(failed)?;
        Ok(Self { env: env.clone(), path, seed, file: Mutex::new(appender), owed: Mutex::new(owed) })
    }

    /// Makes `records` durable. Blocks for one sync; nothing is written where nothing changes.
    pub(crate) fn record(&self, pool: PoolUuid, records: &[Record]) -> Result<()> {
        let mut appender = self.file.lock();
        let news: Vec<Record> = {
            let owed = self.owed.lock();
            records.iter().copied().filter(|&record| owed.changes(record)).collect()
        };
        if news.is_empty() {
            return Ok(());
        }
        let failed = |e| Error::io("write heal log", e).entity(self.path.display());
        let mut after = self.owed.lock().clone();
        news.iter().for_each(|record| after.apply(*record));
        self.env.failpoints.hit("heal_log.write").map_err(failed)?;
        if appender.in_doubt || appender.records + news.len() > VOID_RECORDS_MAX + 2 * after.records().len() {
            *appender = rewrite(&self.env, &self.path, pool, self.seed, &after).map_err(failed)?;
        } else {
            appender.append(&news, self.seed).map_err(failed)?;
        }
        *self.owed.lock() = after;
        Ok(())
    }

    /// Blobs with shards that are missing or displaced.
    pub(crate) fn debts(&self) -> Vec<(BlobId, Debt)> {
        self.owed.lock().debts.iter().map(|(&blob, &debt)| (blob, debt)).collect()
    }

    /// What is owed to one blob. A put that has more than one shard on a drive is acknowledged with this on record.
    pub(crate) fn debt_of(&self, blob: BlobId) -> Option<Debt> {
        self.owed.lock().debts.get(&blob).copied()
    }

    /// Whether `record` is known already.
    pub(crate) fn knows(&self, record: Record) -> bool {
        !self.owed.lock().changes(record)
    }

    /// Blobs whose deletion has not reached every drive.
    pub(crate) fn deleted(&self) -> Vec<BlobId> {
        self.owed.lock().deleted.keys().copied().collect()
    }

    /// Shards of `blob` up to this generation do not exist any more.
    pub(crate) fn deleted_upto(&self, blob: BlobId) -> Option<Generation> {
        self.owed.lock().deleted.get(&blob).copied()
    }
}

/// Writes the live records to a fresh file. An interrupted rewrite leaves the old one.
fn rewrite(env: &Env, path: &Path, pool: PoolUuid, seed: u64, owed: &Owed) -> io::Result<Appender> {
    let records = owed.records();
    let mut bytes = header(pool).to_vec();
    bytes.extend(records.iter().flat_map(|record| encode(*record, seed)));
    env.disk.write_atomic(path, &bytes)?;
    let file = env.disk.open(path, OpenMode::ReadWrite)?;
    Ok(Appender { file, records: records.len(), end: bytes.len() as u64, in_doubt: false })
}

fn header(pool: PoolUuid) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&pool.0);
    let sum = xxh3_64_with_seed(&out[..32], 0);
    out[32..].copy_from_slice(&sum.to_le_bytes());
    out
}

fn encode(record: Record, seed: u64) -> [u8; RECORD_BYTES] {
    let (tag, blob, generation, index) = match record {
        Record::Missing { blob, generation, index } => (1, blob, generation, index),
        Record::Deleted { blob, upto } => (2, blob, upto, 0),
        Record::Healed { blob } => (3, blob, Generation(0), 0),
        Record::Purged { blob } => (4, blob, Generation(0), 0),
        Record::Displaced { blob, generation, index } => (5, blob, generation, index),
    };
    let mut out = [0; RECORD_BYTES];
    out[..3].copy_from_slice(&[tag, blob.class as u8, index]);
    out[8..16].copy_from_slice(&blob.number.to_le_bytes());
    out[16..24].copy_from_slice(&generation.0.to_le_bytes());
    let sum = xxh3_64_with_seed(&out[..24], seed);
    out[24..].copy_from_slice(&sum.to_le_bytes());
    out
}

fn decode_record(bytes: &[u8; RECORD_BYTES], seed: u64) -> Option<Record> {
    let word = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b));
    if word(24)? != xxh3_64_with_seed(&bytes[..24], seed) {
        return None;
    }
    let blob = BlobId::new(BlobClass::from_tag(bytes[1])?, word(8)?);
    let generation = Generation(word(16)?);
    match bytes[0] {
        1 if bytes[2] < 32 => Some(Record::Missing { blob, generation, index: bytes[2] }),
        2 => Some(Record::Deleted { blob, upto: generation }),
        3 => Some(Record::Healed { blob }),
        4 => Some(Record::Purged { blob }),
        5 if bytes[2] < 32 => Some(Record::Displaced { blob, generation, index: bytes[2] }),
        _ => None,
    }
}

fn decode(content: &[u8], pool: PoolUuid, seed: u64) -> Result<Owed> {
    let mut owed = Owed::default();
    let Some((head, records)) = content.split_first_chunk::<HEADER_BYTES>() else { return Ok(owed) };
    if *head != header(pool) {
        let expected = header(pool);
        let newer = head[..8] == MAGIC && head[8..10] != expected[8..10];
        let other = head[..16] == expected[..16] && head[16..32] != expected[16..32];
        let (kind, why) = match (newer, other) {
            (true, _) => (objstore_base::ErrorKind::NewerFormat, "written by a newer tidegate"),
            (_, true) => (objstore_base::ErrorKind::Mismatch, "the heal log belongs to another pool"),
            _ => (objstore_base::ErrorKind::Corrupt, "not a heal log; remove it and run a full heal"),
        };
        return Err(Error::new(kind, "open heal log").context(why));
    }
    let (chunks, torn) = records.as_chunks::<RECORD_BYTES>();
    let mut damaged = usize::from(!torn.is_empty());
    for chunk in chunks {
        match decode_record(chunk, seed) {
            Some(record) => owed.apply(record),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::warn!(damaged, "heal log has damaged or unfinished records: run a full heal");
    }
    Ok(owed)
}

#[cfg(test)]
mod tests;
