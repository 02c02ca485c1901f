//! The `System` column: format version, counters of the whole store, and leases of inode numbers.

use std::sync::atomic::{AtomicI64, Ordering};

use cache_journal::Lsn;
use fs_api::{Ino, ROOT_INO};
use fs_meta::{Batch, BatchOp, Column, MetaRead, MetaStore};
use objstore_base::{Error, ErrorKind, Result};

/// Counter: inodes, the root and orphans included.
pub(crate) const INODES: &[u8] = b"inodes";
/// Counter: bytes of extents.
pub(crate) const BYTES: &[u8] = b"bytes";
/// Version of all records together, u32.
const FORMAT: &[u8] = b"format";
/// Present while a recovery fills the index.
const RECOVERING: &[u8] = b"recovering";
/// Number of the history, u64; absent is 1.
const TIMELINE: &[u8] = b"timeline";
/// First inode number not leased, u64.
const INO_LEASED: &[u8] = b"ino-leased";

/// With records that say which project an inode belongs to: from the first quota of a store on.
const FORMAT_VERSION: u32 = 2;
/// What a new store has, which a program that knows no quotas reads.
const FORMAT_WITHOUT_QUOTAS: u32 = 1;
/// Inode numbers per lease: a start loses what is left of one. As many as are not used up while a slow disk syncs.
const LEASE: u64 = 1 << 16;
/// More than any machine made between its last upload and its end.
const LOST_INOS_MAX: u64 = 1 << 32;

/// Totals of the store, as of the last applied change.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    inodes: AtomicI64,
    bytes: AtomicI64,
}

impl Counters {
    pub(crate) fn load(meta: &dyn MetaRead) -> Result<Self> {
        Ok(Self { inodes: counter(meta, INODES)?.into(), bytes: counter(meta, BYTES)?.into() })
    }

    pub(crate) fn add(&self, inodes: i64, bytes: i64) {
        if inodes != 0 {
            self.inodes.fetch_add(inodes, Ordering::Relaxed);
        }
        if bytes != 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn inodes(&self) -> u64 {
        u64::try_from(self.inodes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// A counter of the `System` column; absent is 0.
pub(crate) fn counter(meta: &dyn MetaRead, key: &[u8]) -> Result<i64> {
    match meta.get(Column::System, key)? {
        None => Ok(0),
        Some(value) => Ok(i64::from_le_bytes(fixed(key, &value)?)),
    }
}

/// Numbers that may be given out without writing anything.
pub(crate) struct InoLease {
    next: u64,
    end: u64,
    /// The record of the last lease, while it is not durable, and the end of those before.
    pending: Option<(Lsn, u64)>,
}

impl InoLease {
    pub(crate) fn load(meta: &dyn MetaRead) -> Result<Self> {
        let leased = match meta.get(Column::System, INO_LEASED)? {
            None => ROOT_INO.0 + 1,
            Some(value) => u64::from_le_bytes(fixed(INO_LEASED, &value)?),
        };
        Ok(Self { next: leased, end: leased, pending: None })
    }

    /// Whether it is time for the next lease: half of one is left, for as long as a sync may take.
    pub(crate) const fn is_short(&self) -> bool {
        self.next == self.end || (self.end - self.next <= LEASE / 2 && self.pending.is_none())
    }

    /// Puts the next lease into `batch` and gives its end; it counts when the batch is applied.
    pub(crate) fn extend(&self, batch: &mut Batch) -> u64 {
        let end = self.end + LEASE;
        batch.put(Column::System, INO_LEASED, &end.to_le_bytes());
        end
    }

    /// What was put into a batch is the record `at` now.
    pub(crate) const fn granted(&mut self, end: u64, at: Lsn) {
        let before = match self.pending {
            Some((_, before)) => before,
            None => self.end,
        };
        self.pending = Some((at, before));
        self.end = end;
    }

    /// Everything up to `durable` is durable.
    pub(crate) fn settled(&mut self, durable: Lsn) {
        self.pending = self.pending.filter(|(at, _)| *at > durable);
    }

    /// The next number, and the record that has to be durable before it is used.
    pub(crate) const fn take(&mut self) -> (Ino, Lsn) {
        let ino = self.next;
        self.next += 1;
        match self.pending {
            Some((at, before)) if ino >= before => (Ino(ino), at),
            _ => (Ino(ino), Lsn(0)),
        }
    }
}

/// Whether the index belongs to an existing store.
///
/// # Errors
/// `NewerFormat` where a newer program wrote it.
pub(crate) fn is_formatted(meta: &dyn MetaRead) -> Result<bool> {
    let Some(value) = meta.get(Column::System, FORMAT)? else { return Ok(false) };
    let version = u32::from_le_bytes(fixed(FORMAT, &value)?);
    if version > FORMAT_VERSION {
        return Err(Error::new(ErrorKind::NewerFormat, "open store").context(format!(
            "the metadata has format {version}, this program reads up to {FORMAT_VERSION}; use a newer tidegate"
        )));
    }
    Ok(true)
}

pub(crate) fn put_format(batch: &mut Batch) {
    batch.put(Column::System, FORMAT, &FORMAT_WITHOUT_QUOTAS.to_le_bytes());
}

pub(crate) fn put_format_with_quotas(batch: &mut Batch) {
    batch.put(Column::System, FORMAT, &FORMAT_VERSION.to_le_bytes());
}

/// Marks an index that a recovery is still filling: what is there so far is no state of the store.
pub(crate) fn mark_unfinished(meta: &dyn MetaStore) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(Column::System, RECOVERING, &[]);
    meta.apply(&batch)
}

pub(crate) fn mark_finished(meta: &dyn MetaStore) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete(Column::System, RECOVERING);
    meta.apply(&batch)
}

/// # Errors
/// `Corrupt` where a recovery into this index was not finished.
pub(crate) fn require_finished(meta: &dyn MetaRead) -> Result<()> {
    match meta.get(Column::System, RECOVERING)? {
        None => Ok(()),
        Some(_) => Err(Error::corrupt("open store", "a recovery was not finished; run `tidegate recover` again")),
    }
}

/// The history that the store is in: how often it was recovered without its journal, counted from 1.
pub(crate) fn timeline(meta: &dyn MetaRead) -> Result<u64> {
    match meta.get(Column::System, TIMELINE)? {
        None => Ok(1),
        Some(value) => Ok(u64::from_le_bytes(fixed(TIMELINE, &value)?)),
    }
}

pub(crate) fn put_timeline(batch: &mut Batch, timeline: u64) {
    batch.put(Column::System, TIMELINE, &timeline.to_le_bytes());
}

/// Leaves out the numbers of what a recovery may have lost: clients still have handles with them.
pub(crate) fn skip_lost_inos(meta: &dyn MetaRead, batch: &mut Batch) -> Result<()> {
    let end = InoLease::load(meta)?.end.saturating_add(LOST_INOS_MAX);
    batch.put(Column::System, INO_LEASED, &end.to_le_bytes());
    Ok(())
}

/// The timeline that `batch` begins, if it does.
pub(crate) fn timeline_begun(batch: &Batch) -> Result<Option<u64>> {
    for op in batch.ops() {
        if let BatchOp::Put { column: Column::System, key: TIMELINE, value } = op? {
            return Ok(Some(u64::from_le_bytes(fixed(TIMELINE, value)?)));
        }
    }
    Ok(None)
}

fn fixed<const N: usize>(key: &[u8], value: &[u8]) -> Result<[u8; N]> {
    value.try_into().map_err(|_| {
        Error::corrupt("read store settings", format!("{} has {} bytes", String::from_utf8_lossy(key), value.len()))
    })
}
