//! One lock per blob for those who change it: put, delete and heal of one id take turns. Reads take none.

use std::collections::BTreeMap;
use std::sync::Arc;

use objstore_base::BlobId;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

#[derive(Default)]
pub(crate) struct BlobLocks {
    locks: Mutex<BTreeMap<BlobId, Arc<tokio::sync::Mutex<()>>>>,
}

/// Held while a blob is changed.
pub(crate) struct BlobGuard {
    owner: Arc<BlobLocks>,
    id: BlobId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl BlobLocks {
    pub(crate) async fn lock(self: &Arc<Self>, id: BlobId) -> BlobGuard {
        let lock = Arc::clone(self.locks.lock().entry(id).or_default());
        BlobGuard { owner: Arc::clone(self), id, guard: Some(lock.lock_owned().await) }
    }
}

impl Drop for BlobGuard {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut locks = self.owner.locks.lock();
        // Waiters hold a clone; without one the map's is the last.
        if locks.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.id);
        }
    }
}
