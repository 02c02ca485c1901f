//! Payload writes that run outside the append lock; a sync waits for those it has to cover.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct Inner {
    next: u64,
    open: BTreeSet<u64>,
}

#[derive(Default)]
pub(crate) struct Flights {
    inner: Mutex<Inner>,
    landed: Condvar,
}

/// One write under way; lands when dropped.
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    number: u64,
}

impl Flights {
    /// Called under the append lock, so that numbers follow the order of the log.
    pub(crate) fn start(&self) -> Flight<'_> {
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number);
        Flight { flights: self, number }
    }

    /// The bound that covers every flight started so far.
    pub(crate) fn bound(&self) -> u64 {
        self.inner.lock().next
    }

    /// Waits until every flight below `bound` has landed.
    pub(crate) fn wait_below(&self, bound: u64) {
        let mut inner = self.inner.lock();
        while inner.open.first().is_some_and(|first| *first < bound) {
            self.landed.wait(&mut inner);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut inner = self.flights.inner.lock();
        inner.open.remove(&self.number);
        drop(inner);
        self.flights.landed.notify_all();
    }
}
