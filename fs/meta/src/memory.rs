//! [`MemoryStore`]: the store as ordered maps, for tests and for the simulation.
//!
//! What a flush made durable is a [`DurableImage`] beside the store, as files are beside a process: it outlives the
//! store, and opening it again gives what a restart after a crash would find.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use objstore_base::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};

use crate::{Batch, BatchOp, Column, Direction, MetaRead, MetaStore, Visit};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One state of all columns. Cloning shares the maps; the first change after that copies the changed column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Columns([Arc<Map>; Column::ALL.len()]);

impl Columns {
    fn map(&self, column: Column) -> &Map {
        &self.0[column.index()]
    }

    fn map_mut(&mut self, column: Column) -> &mut Map {
        Arc::make_mut(&mut self.0[column.index()])
    }

    /// Whether `op` fits what is there: only a counter can be added to.
    fn accepts(&self, op: &BatchOp<'_>) -> bool {
        match *op {
            BatchOp::Add { column, key, .. } => self.map(column).get(key).is_none_or(|value| value.len() == 8),
            _ => true,
        }
    }

    fn apply(&mut self, op: &BatchOp<'_>) {
        match *op {
            BatchOp::Put { column, key, value } => {
                self.map_mut(column).insert(key.to_vec(), value.to_vec());
            }
            BatchOp::Delete { column, key } => {
                self.map_mut(column).remove(key);
            }
            BatchOp::Add { column, key, delta } => {
                let old = self.map(column).get(key).and_then(|value| value.as_slice().try_into().ok());
                let old = old.map_or(0, i64::from_le_bytes);
                self.map_mut(column).insert(key.to_vec(), old.wrapping_add(delta).to_le_bytes().to_vec());
            }
            BatchOp::DeleteRange { column, start, end } => {
                if start < end {
                    let doomed: Vec<_> = between(self.map(column), start..end).map(|(key, _)| key.clone()).collect();
                    let map = self.map_mut(column);
                    for key in doomed {
                        map.remove(&key);
                    }
                }
            }
        }
    }
}

fn between<'a>(map: &'a Map, range: Range<&[u8]>) -> std::collections::btree_map::Range<'a, Vec<u8>, Vec<u8>> {
    map.range::<[u8], _>((Bound::Included(range.start), Bound::Excluded(range.end)))
}

impl MetaRead for Columns {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.map(column).get(key).cloned())
    }

    fn scan(&self, column: Column, range: Range<&[u8]>, direction: Direction, visit: Visit<'_>) -> Result<()> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut entries = between(self.map(column), range);
        loop {
            let entry = match direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            };
            match entry {
                Some((key, value)) if visit(key, value) == ControlFlow::Continue(()) => {}
                _ => return Ok(()),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Durable {
    columns: Columns,
    lsn: u64,
    /// Counts the opens: a store from before the last one is a dead process and may not write any more.
    epoch: u64,
}

/// What is on the store's imaginary disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct DurableImage(Arc<Mutex<Durable>>);

impl DurableImage {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store as it starts from this disk. A store opened earlier from it can no longer flush.
    pub fn open(&self) -> MemoryStore {
        let mut durable = self.0.lock();
        durable.epoch += 1;
        MemoryStore {
            live: RwLock::new(Live { columns: durable.columns.clone(), frozen: None }),
            unflushed: AtomicU64::new(0),
            epoch: durable.epoch,
            image: self.clone(),
        }
    }
}

#[derive(Debug)]
struct Live {
    columns: Columns,
    frozen: Option<(Columns, u64)>,
}

/// A [`MetaStore`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    live: RwLock<Live>,
    unflushed: AtomicU64,
    epoch: u64,
    image: DurableImage,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store on a disk of its own.
    pub fn new() -> Self {
        DurableImage::new().open()
    }

    /// The store as it would be found after a crash at this moment: the last finished flush.
    pub fn crash(&self) -> MemoryStore {
        self.image.open()
    }

    /// The disk under this store, to open again after a crash.
    pub fn durable_image(&self) -> DurableImage {
        self.image.clone()
    }
}

impl MetaRead for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.live.read().columns.get(column, key)
    }

    /// Scans a shared copy, so that `visit` may call the store again.
    fn scan(&self, column: Column, range: Range<&[u8]>, direction: Direction, visit: Visit<'_>) -> Result<()> {
        let columns = self.live.read().columns.clone();
        columns.scan(column, range, direction, visit)
    }
}

impl MetaStore for MemoryStore {
    fn apply(&self, batch: &Batch) -> Result<()> {
        let ops = batch.ops().collect::<Result<Vec<_>>>()?;
        let mut live = self.live.write();
        if ops.iter().any(|op| !live.columns.accepts(op)) {
            return Err(Error::corrupt("add to counter", "the value there is not 8 bytes"));
        }
        for op in &ops {
            live.columns.apply(op);
        }
        self.unflushed.fetch_add(batch.as_bytes().len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn MetaRead + '_>> {
        Ok(Box::new(self.live.read().columns.clone()))
    }

    fn begin_flush(&self, lsn: u64) -> Result<()> {
        let mut live = self.live.write();
        live.frozen = Some((live.columns.clone(), lsn));
        self.unflushed.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn finish_flush(&self) -> Result<u64> {
        let frozen = self.live.write().frozen.take();
        let mut durable = self.image.0.lock();
        if durable.epoch != self.epoch {
            return Err(Error::new(ErrorKind::StoreLocked, "flush index")
                .context("the store was opened again; this one belongs to a crashed process"));
        }
        if let Some((columns, lsn)) = frozen {
            durable.columns = columns;
            durable.lsn = lsn;
        }
        Ok(durable.lsn)
    }

    fn flushed_lsn(&self) -> u64 {
        self.image.0.lock().lsn
    }

    fn unflushed_bytes(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
