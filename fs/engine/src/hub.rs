//! The hub: who watches, and what they are told.
//!
//! Costs one atomic load where nobody watches, and a short look where only the door that changes something does.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fs_api::{Context, DoorId, Notice, Registration, Watcher};
use futures::future::select;
use parking_lot::RwLock;

use crate::engine::Engine;

#[derive(Default)]
pub(crate) struct Hub(Arc<Watchers>);

#[derive(Default)]
struct Watchers {
    count: AtomicUsize,
    next: AtomicU64,
    all: RwLock<Vec<Entry>>,
}

struct Entry {
    id: u64,
    door: DoorId,
    watcher: Arc<dyn Watcher>,
}

impl Hub {
    pub(crate) fn watch(&self, door: DoorId, watcher: Arc<dyn Watcher>) -> Registration {
        let watchers = Arc::clone(&self.0);
        let id = watchers.next.fetch_add(1, Ordering::Relaxed);
        let mut all = watchers.all.write();
        all.push(Entry { id, door, watcher });
        watchers.count.store(all.len(), Ordering::Release);
        drop(all);
        Registration::new(move || {
            let mut all = watchers.all.write();
            all.retain(|entry| entry.id != id);
            watchers.count.store(all.len(), Ordering::Release);
        })
    }

    /// Whether anybody has to hear of a change through `door`. `None` is the store itself: what it does by itself
    /// changes nothing that can be seen.
    pub(crate) fn is_heard(&self, door: Option<DoorId>) -> bool {
        let Some(door) = door.filter(|_| self.0.count.load(Ordering::Acquire) > 0) else { return false };
        self.0.all.read().iter().any(|entry| entry.door != door)
    }

    /// Tells all but `door`. The caller holds the stripes of what changed, and readers see the change already.
    pub(crate) fn tell(&self, door: DoorId, notice: &Notice<'_>) {
        for entry in self.0.all.read().iter().filter(|entry| entry.door != door) {
            entry.watcher.notice(notice.clone());
        }
    }

    /// The watchers that are far behind with what `door` changed.
    fn behind(&self, door: DoorId) -> Vec<Arc<dyn Watcher>> {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let all = self.0.all.read();
        let others = all.iter().filter(|entry| entry.door != door && entry.watcher.behind().is_some());
        others.map(|entry| Arc::clone(&entry.watcher)).collect()
    }
}

impl Engine {
    /// Holds a change's answer back while a watcher is far behind, so that what it has to remember stays bounded; no
    /// longer than the caller is patient. Called with no lock held.
    pub(crate) async fn let_watchers_follow(&self, cx: &Context) {
        for watcher in self.hub.behind(cx.door) {
            if let Some(room) = watcher.behind() {
                select(pin!(room), self.env.clock.sleep(cx.patience)).await;
            }
        }
    }
}
