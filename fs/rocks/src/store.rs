//! [`RocksStore`] itself.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fs_meta::{Batch, BatchOp, Column, Direction, MetaRead, MetaStore, Visit};
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use rocksdb::properties::{BACKGROUND_ERRORS, NUM_IMMUTABLE_MEM_TABLE};
use rocksdb::{ColumnFamily, DB, DBPinnableSlice, FlushOptions, ReadOptions, Snapshot, WriteBatch, WriteOptions};

use crate::error::{damaged, map};
use crate::{RocksConfig, options, stamp};

/// What the memtable takes for an entry beside its key and value: skip list node, sequence number, lengths.
const ENTRY_OVERHEAD_BYTES: u64 = 48;
/// A flush takes some milliseconds for little and about a second for 64 MiB: waiting starts short and grows.
const FLUSH_POLL_MIN: Duration = Duration::from_micros(500);
const FLUSH_POLL_MAX: Duration = Duration::from_millis(20);

/// The metadata index in one folder.
///
/// # Durability
/// Nothing but `finish_flush` makes anything durable, and it does so for exactly the state that `begin_flush` froze.
/// The stamp's column is written by `begin_flush` only, and an atomic flush takes all columns or none: so when the
/// stamp's frozen memtable is gone, every column of that state is on disk. (Asking RocksDB itself to wait would freeze
/// and flush what was applied meanwhile.)
///
/// # Errors
/// After a failed background flush or compaction the store refuses changes and flushes until it is opened again;
/// reads go on. Resuming in place would flush a state that has no LSN.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    writing: WriteOptions,
    reading: ReadOptions,
    unflushed_bytes: AtomicU64,
    durable_lsn: AtomicU64,
    /// The LSN of the last frozen state; held while freezing.
    frozen_lsn: Mutex<u64>,
    failure: OnceLock<Failure>,
}

struct Failure {
    kind: ErrorKind,
    text: String,
}

impl RocksStore {
    /// Opens the store in folder `path`, which is made where it is missing (its parent is not).
    ///
    /// # Errors
    /// `Corrupt` naming the folder and the repair, `StoreLocked`, `NewerFormat`, `NoSpace`.
    pub fn open(path: impl AsRef<Path>, config: &RocksConfig) -> Result<Self> {
        const OP: &str = "open index";
        let path = path.as_ref().to_path_buf();
        refuse_without_current(&path)?;
        let options = options::database(config).map_err(|e| map(OP, &path, e))?;
        let columns = options::columns(config).map_err(|e| map(OP, &path, e))?;
        let db = DB::open_cf_descriptors(&options, &path, columns).map_err(|e| map(OP, &path, e))?;
        let read = |key| db.get(key).map_err(|e| map(OP, &path, e));
        let lsn = stamp::decode(&path, read(stamp::LSN_KEY)?.as_deref(), read(stamp::UNSTAMPED_KEY)?.as_deref())?;
        let mut writing = WriteOptions::default();
        // The journal is the log.
        writing.disable_wal(true);
        let store = Self {
            db,
            path,
            writing,
            reading: ReadOptions::default(),
            unflushed_bytes: AtomicU64::new(0),
            durable_lsn: AtomicU64::new(lsn),
            frozen_lsn: Mutex::new(lsn),
            failure: OnceLock::new(),
        };
        store.mark_unstamped()?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(column.name()).expect("every column was opened, and none is ever dropped")
    }

    fn stamp_family(&self) -> &ColumnFamily {
        self.db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME).expect("RocksDB always has it")
    }

    fn encode(&self, batch: &Batch) -> Result<WriteBatch> {
        let mut write = WriteBatch::default();
        for op in batch.ops() {
            match op? {
                BatchOp::Put { column, key, value } => write.put_cf(self.family(column), key, value),
                BatchOp::Delete { column, key } => write.delete_cf(self.family(column), key),
                BatchOp::Add { column, key, delta } => write.merge_cf(self.family(column), key, delta.to_le_bytes()),
                BatchOp::DeleteRange { column, start, end } if start < end => {
                    write.delete_range_cf(self.family(column), start, end);
                }
                BatchOp::DeleteRange { .. } => {}
            }
        }
        Ok(write)
    }

    fn write(&self, op: &'static str, write: WriteBatch) -> Result<()> {
        self.check_failure(op)?;
        self.db.write_opt(write, &self.writing).map_err(|e| self.fail(op, map(op, &self.path, e)))
    }

    /// From here on a flush that nobody began would be told by its key.
    fn mark_unstamped(&self) -> Result<()> {
        let mut write = WriteBatch::default();
        write.put_cf(self.stamp_family(), stamp::UNSTAMPED_KEY, b"");
        self.write("mark index", write)
    }

    fn freeze(&self) -> Result<()> {
        let mut flush = FlushOptions::default();
        flush.set_wait(false);
        let mut families: Vec<_> = Column::ALL.into_iter().map(|column| self.family(column)).collect();
        families.push(self.stamp_family());
        self.db.flush_cfs_opt(&families, &flush).map_err(|e| map("begin index flush", &self.path, e))
    }

    /// States that are frozen and not durable yet.
    fn frozen_states(&self) -> Result<u64> {
        let found = self.db.property_int_value_cf(self.stamp_family(), NUM_IMMUTABLE_MEM_TABLE);
        found
            .map_err(|e| map("flush index", &self.path, e))?
            .ok_or_else(|| Error::new(ErrorKind::Internal, "flush index").context("no count of frozen memtables"))
    }

    /// Remembers the first failure and stops RocksDB's own attempts to go on, which would flush unstamped changes.
    fn fail(&self, op: &'static str, error: Error) -> Error {
        let failure = Failure { kind: error.kind(), text: error.to_string() };
        if self.failure.set(failure).is_ok() {
            self.db.cancel_all_background_work(false);
            tracing::error!(path = %self.path.display(), %error, op, "the metadata index refuses changes until restart");
        }
        error
    }

    fn check_failure(&self, op: &'static str) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(Error::new(failure.kind, op)
                .entity(self.path.display())
                .context(format!("refused until restart, since: {}", failure.text))),
        }
    }

    /// # Errors
    /// What stopped RocksDB's background work, if anything did.
    fn check_background(&self, op: &'static str) -> Result<()> {
        self.check_failure(op)?;
        match self.db.property_int_value(BACKGROUND_ERRORS) {
            Ok(Some(0)) => Ok(()),
            // The reason is only told to writers.
            Ok(_) => match self.db.write_opt(WriteBatch::default(), &self.writing) {
                Err(e) => Err(self.fail(op, map(op, &self.path, e))),
                Ok(()) => Err(self.fail(
                    op,
                    Error::new(ErrorKind::Io, op)
                        .entity(self.path.display())
                        .context("a background flush or compaction failed; its LOG says why"),
                )),
            },
            Err(e) => Err(map(op, &self.path, e)),
        }
    }

    fn read(&self, column: Column, key: &[u8], options: &ReadOptions) -> Result<Option<Vec<u8>>> {
        let found = self.db.get_pinned_cf_opt(self.family(column), key, options);
        let found: Option<DBPinnableSlice<'_>> = found.map_err(|e| self.unreadable(column, e))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        column: Column,
        range: Range<&[u8]>,
        direction: Direction,
        mut options: ReadOptions,
        visit: Visit<'_>,
    ) -> Result<()> {
        if range.start >= range.end {
            return Ok(());
        }
        options.set_iterate_lower_bound(range.start);
        options.set_iterate_upper_bound(range.end);
        let mut entries = self.db.raw_iterator_cf_opt(self.family(column), options);
        match direction {
            Direction::Forward => entries.seek_to_first(),
            Direction::Backward => entries.seek_to_last(),
        }
        while let Some((key, value)) = entries.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                return Ok(());
            }
            match direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.prev(),
            }
        }
        entries.status().map_err(|e| self.unreadable(column, e))
    }

    fn unreadable(&self, column: Column, source: rocksdb::Error) -> Error {
        map("read index", &self.path, source).context(format!("column {}", column.name()))
    }
}

/// RocksDB would take a folder without `CURRENT` for a new store, and delete the old one's tables.
#[allow(clippy::disallowed_methods, reason = "RocksDB lives on the real filesystem only, and so does its folder")]
fn refuse_without_current(path: &Path) -> Result<()> {
    let mut leftover = None;
    let listing = match std::fs::read_dir(path) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("open index", e).entity(path.display())),
    };
    for entry in listing {
        let name = entry.map_err(|e| Error::io("open index", e).entity(path.display()))?.file_name();
        let name = name.to_string_lossy();
        if name == "CURRENT" {
            return Ok(());
        }
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") {
            leftover = Some(name.into_owned());
        }
    }
    match leftover {
        None => Ok(()),
        Some(name) => Err(damaged("open index", path, &format!("there is {name}, but no CURRENT"))),
    }
}

impl MetaRead for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.read(column, key, &self.reading)
    }

    fn scan(&self, column: Column, range: Range<&[u8]>, direction: Direction, visit: Visit<'_>) -> Result<()> {
        self.visit(column, range, direction, ReadOptions::default(), visit)
    }
}

impl MetaStore for RocksStore {
    fn apply(&self, batch: &Batch) -> Result<()> {
        let write = self.encode(batch)?;
        let bytes = batch.as_bytes().len() as u64 + write.len() as u64 * ENTRY_OVERHEAD_BYTES;
        self.write("apply to index", write)?;
        self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn MetaRead + '_>> {
        let snapshot = self.db.snapshot();
        let mut reading = ReadOptions::default();
        reading.set_snapshot(&snapshot);
        Ok(Box::new(RocksSnapshot { store: self, reading, snapshot }))
    }

    fn begin_flush(&self, lsn: u64) -> Result<()> {
        self.check_background("begin index flush")?;
        let mut frozen_lsn = self.frozen_lsn.lock();
        let mut write = WriteBatch::default();
        write.put_cf(self.stamp_family(), stamp::LSN_KEY, stamp::encode(lsn));
        write.delete_cf(self.stamp_family(), stamp::UNSTAMPED_KEY);
        self.write("begin index flush", write)?;
        let frozen = self.freeze();
        // Also where freezing failed: what is in memory now has no LSN of its own any more.
        self.mark_unstamped()?;
        frozen?;
        *frozen_lsn = lsn;
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn finish_flush(&self) -> Result<u64> {
        let lsn = *self.frozen_lsn.lock();
        let (never, waiting) = (Mutex::new(()), Condvar::new());
        let mut pause = FLUSH_POLL_MIN;
        while self.frozen_states()? > 0 {
            self.check_background("flush index")?;
            waiting.wait_for(&mut never.lock(), pause);
            pause = (pause * 2).min(FLUSH_POLL_MAX);
        }
        self.durable_lsn.fetch_max(lsn, Ordering::AcqRel);
        Ok(lsn)
    }

    fn flushed_lsn(&self) -> u64 {
        self.durable_lsn.load(Ordering::Acquire)
    }

    fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }
}

/// A fixed view; `reading` names `snapshot`, which must outlive every read and so goes last.
struct RocksSnapshot<'a> {
    store: &'a RocksStore,
    reading: ReadOptions,
    snapshot: Snapshot<'a>,
}

impl MetaRead for RocksSnapshot<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.store.read(column, key, &self.reading)
    }

    fn scan(&self, column: Column, range: Range<&[u8]>, direction: Direction, visit: Visit<'_>) -> Result<()> {
        let mut reading = ReadOptions::default();
        reading.set_snapshot(&self.snapshot);
        self.store.visit(column, range, direction, reading, visit)
    }
}

#[cfg(test)]
mod tests;
