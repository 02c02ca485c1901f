//! What outlives a call: shard writes that go on after their put returned, and the tasks that carry them.
//!
//! A straggler may land after its blob was deleted or put again. It registers before the put lets the blob's lock go;
//! whoever deletes or replaces the blob revokes it, and when it lands it takes the lock and removes its shard. Between
//! landing and removal it must not look newer than what replaced it: a later put takes a higher generation than any
//! that is known here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_env::Env;
use objstore_shard::Generation;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Puts with writes still under way, and whether what they write is still wanted.
#[derive(Default)]
pub(crate) struct Stragglers {
    wanted: Mutex<BTreeMap<(BlobId, Generation), bool>>,
    /// The newest put of each blob that failed after it had begun. Such a blob is put again sooner or later, so there
    /// is one entry for each that ever met a failure, and no end to it but the process's.
    withdrawn: Mutex<BTreeMap<BlobId, Generation>>,
}

impl Stragglers {
    pub(crate) fn register(&self, id: BlobId, generation: Generation) {
        self.wanted.lock().insert((id, generation), true);
    }

    /// Nothing that is still being written of `id` is wanted any more. Called under the blob's lock.
    pub(crate) fn revoke(&self, id: BlobId) {
        let all = (id, Generation(0))..=(id, Generation(u64::MAX));
        self.wanted.lock().range_mut(all).for_each(|(_, wanted)| *wanted = false);
    }

    /// A put has failed; shards of it may be landing, or may not have been removed.
    pub(crate) fn withdraw(&self, id: BlobId, generation: Generation) {
        let mut withdrawn = self.withdrawn.lock();
        let newest = withdrawn.entry(id).or_insert(generation);
        *newest = generation.max(*newest);
    }

    /// The newest put of the blob of which a shard may turn up without being on a drive now.
    pub(crate) fn newest(&self, id: BlobId) -> Option<Generation> {
        let all = (id, Generation(0))..=(id, Generation(u64::MAX));
        let late = self.wanted.lock().range(all).next_back().map(|((_, generation), _)| *generation);
        late.max(self.withdrawn.lock().get(&id).copied())
    }

    /// Ends the registration; whether what was written is wanted. Called under the blob's lock.
    pub(crate) fn settle(&self, id: BlobId, generation: Generation) -> bool {
        self.wanted.lock().remove(&(id, generation)).unwrap_or(false)
    }
}

/// Tasks without a caller; [`Self::drain`] waits for all of them.
#[derive(Default)]
pub(crate) struct Background {
    running: Arc<(AtomicU64, Notify)>,
}

impl Background {
    pub(crate) fn spawn(&self, env: &Env, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let running = Arc::clone(&self.running);
        running.0.fetch_add(1, Ordering::AcqRel);
        let ended = Ended(running);
        // Dropping the handle detaches the task; `drain` is what joins it.
        drop(env.tasks.spawn(
            name,
            Box::pin(async move {
                let _ended = ended;
                task.await;
            }),
        ));
    }

    pub(crate) async fn drain(&self) {
        loop {
            let ended = self.running.1.notified();
            if self.running.0.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

struct Ended(Arc<(AtomicU64, Notify)>);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.1.notify_waiters();
        }
    }
}

/// A bound on bytes in memory, counted in units of 4 KiB. One call never asks for more than all of it, so none waits
/// for itself.
pub(crate) struct Room {
    units: Arc<Semaphore>,
    units_max: u32,
}

const ROOM_UNIT: u64 = 4 << 10;

impl Room {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let units_max = (bytes_max / ROOM_UNIT).clamp(1, u64::from(u32::MAX >> 3)) as u32;
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    pub(crate) async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(ROOM_UNIT).min(u64::from(self.units_max)) as u32;
        let taken = Arc::clone(&self.units).acquire_many_owned(units).await;
        taken.map_err(|e| Error::new(ErrorKind::ShuttingDown, "use pool").source(e))
    }
}
