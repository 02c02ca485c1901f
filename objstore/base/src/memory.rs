//! [`MemoryBlobStore`]: blobs in a map, for the tests of everything that stands on a [`BlobStore`].
//!
//! It keeps the trait's whole contract (one conformance suite runs on it and on the pool) and has two switches: the
//! store can be away, as a backend behind a cut cable is, and single blobs can be damaged beyond repair.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::future::ready;
use parking_lot::Mutex;

use crate::{BlobClass, BlobId, BlobStat, BlobStore, BoxFuture, Capacity, Error, ErrorKind, Result};

#[derive(Default)]
struct Blobs {
    bytes: BTreeMap<BlobId, Bytes>,
    damaged: BTreeSet<BlobId>,
}

/// A [`BlobStore`] in memory with failure switches. Clones of an `Arc` share it; nothing survives the process.
pub struct MemoryBlobStore {
    blobs: Mutex<Blobs>,
    total: u64,
    unavailable: AtomicBool,
    puts: AtomicU64,
    gets: AtomicU64,
}

impl Default for MemoryBlobStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBlobStore {
    /// A store of 1 TiB.
    pub fn new() -> Self {
        Self::with_capacity(1 << 40)
    }

    /// A store that answers `NoSpace` once `total` bytes are held.
    pub fn with_capacity(total: u64) -> Self {
        Self {
            blobs: Mutex::default(),
            total,
            unavailable: AtomicBool::new(false),
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
        }
    }

    /// While on, every call fails with `Unavailable` and changes nothing.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Makes reads of `id` fail with `Damaged` until it is put again.
    pub fn damage(&self, id: BlobId) {
        self.blobs.lock().damaged.insert(id);
    }

    /// Bytes held by all blobs.
    pub fn used(&self) -> u64 {
        used(&self.blobs.lock())
    }

    /// How many puts and gets succeeded.
    pub fn calls(&self) -> (u64, u64) {
        (self.puts.load(Ordering::Relaxed), self.gets.load(Ordering::Relaxed))
    }

    fn reach(&self, op: &'static str) -> Result<()> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, op).context("the store is switched off"));
        }
        Ok(())
    }

    fn put_now(&self, id: BlobId, parts: &[Bytes]) -> Result<()> {
        self.reach("put blob")?;
        let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        let mut blobs = self.blobs.lock();
        let replaced = blobs.bytes.get(&id).map_or(0, |b| b.len() as u64);
        if used(&blobs) - replaced + whole.len() as u64 > self.total {
            return Err(Error::new(ErrorKind::NoSpace, "put blob").entity(id));
        }
        blobs.bytes.insert(id, whole.freeze());
        blobs.damaged.remove(&id);
        self.puts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn find(&self, op: &'static str, id: BlobId) -> Result<Bytes> {
        self.reach(op)?;
        let blobs = self.blobs.lock();
        let bytes = blobs.bytes.get(&id).ok_or_else(|| Error::new(ErrorKind::NotFound, op).entity(id))?;
        Ok(bytes.clone())
    }

    fn get_now(&self, id: BlobId, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.find("get blob", id)?;
        if range.start > range.end || range.end > bytes.len() as u64 {
            let why = format!("range {}..{} of {} bytes", range.start, range.end, bytes.len());
            return Err(Error::new(ErrorKind::InvalidArgument, "get blob").entity(id).context(why));
        }
        if self.blobs.lock().damaged.contains(&id) {
            return Err(Error::new(ErrorKind::Damaged, "get blob").entity(id));
        }
        self.gets.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }
}

fn used(blobs: &Blobs) -> u64 {
    blobs.bytes.values().map(|b| b.len() as u64).sum()
}

impl BlobStore for MemoryBlobStore {
    fn put(&self, id: BlobId, parts: Vec<Bytes>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.put_now(id, &parts) })
    }

    fn make_whole(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(self.find("make blob whole", id).map(drop)))
    }

    fn get(&self, id: BlobId, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move { self.get_now(id, range) })
    }

    fn stat(&self, id: BlobId) -> BoxFuture<'_, Result<BlobStat>> {
        Box::pin(ready(self.find("stat blob", id).map(|b| BlobStat { len: b.len() as u64 })))
    }

    fn delete(&self, id: BlobId) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.reach("delete blob")?;
            let mut blobs = self.blobs.lock();
            blobs.bytes.remove(&id);
            blobs.damaged.remove(&id);
            Ok(())
        })
    }

    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<BlobId>>> {
        Box::pin(async move {
            self.reach("list blobs")?;
            let blobs = self.blobs.lock();
            let wanted = |id: &&BlobId| id.class == class && after.is_none_or(|after| id.number > after);
            Ok(blobs.bytes.keys().filter(wanted).take(limit).copied().collect())
        })
    }

    fn capacity(&self) -> BoxFuture<'_, Result<Capacity>> {
        Box::pin(async move {
            self.reach("capacity")?;
            Ok(Capacity { total: self.total, free: self.total - self.used().min(self.total) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_store_keeps_the_contract() {
        crate::conformance::blob_store(&MemoryBlobStore::new()).await;
    }

    #[tokio::test]
    async fn switched_off_store_fails_and_changes_nothing() {
        let store = MemoryBlobStore::with_capacity(10);
        let (kept, other) = (BlobId::segment(1), BlobId::segment(2));
        store.put(kept, vec![Bytes::from_static(b"12345")]).await.expect("room for five");
        store.set_unavailable(true);
        assert_eq!(store.put(other, vec![]).await.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
        assert_eq!(store.delete(kept).await.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
        assert_eq!(store.get(kept, 0..5).await.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
        store.set_unavailable(false);
        assert_eq!(store.get(kept, 1..3).await.map_err(|e| e.kind()), Ok(Bytes::from_static(b"23")));
        let six = vec![Bytes::from_static(b"123456")];
        assert_eq!(store.put(other, six.clone()).await.map_err(|e| e.kind()), Err(ErrorKind::NoSpace));
        store.damage(kept);
        assert_eq!(store.get(kept, 0..1).await.map_err(|e| e.kind()), Err(ErrorKind::Damaged));
        store.put(kept, six).await.expect("a replaced blob gives its room back");
        assert_eq!(store.used(), 6);
    }
}
