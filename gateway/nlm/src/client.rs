//! What one client, an address, holds and waits for, so that it can be taken away as a whole.
//!
//! Whoever changes a client's locks holds its record's lock over the change in the table of locks too: the two agree
//! whenever nobody holds it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fs_api::{Ino, LockRange};
use tokio::sync::Mutex;

use crate::limits::NlmLimits;
use crate::range::Ranges;
use crate::waiter::{WaitKey, Waiter};

/// Over all clients.
#[derive(Default)]
pub(crate) struct Totals {
    held: AtomicUsize,
    waiters: AtomicUsize,
}

pub(crate) struct Client {
    pub(crate) record: Mutex<Record>,
}

pub(crate) struct Record {
    held: BTreeMap<(Ino, u64), Ranges>,
    ranges: usize,
    waiters: Vec<Arc<Waiter>>,
    /// The state number of its last restart that was acted on; a repeat of the same news means nothing.
    restarted_as: Option<i32>,
    totals: Arc<Totals>,
}

impl Client {
    fn new(totals: &Arc<Totals>) -> Self {
        let (held, waiters, totals) = (BTreeMap::new(), Vec::new(), Arc::clone(totals));
        Self { record: Mutex::new(Record { held, ranges: 0, waiters, restarted_as: None, totals }) }
    }
}

impl Record {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiters.is_empty()
    }

    /// Whether one more range, or two where it lies inside one of another kind, stays within the bounds or past them by one.
    pub(crate) fn may_hold_more(&self, limits: &NlmLimits) -> bool {
        self.ranges + self.waiters.len() < limits.held_per_client_max
            && self.totals.held.load(Ordering::Relaxed) < limits.held_max
    }

    /// Whether freeing `range` stays within the bounds: it makes one range more where it cuts one in two.
    pub(crate) fn may_let_go(&self, ino: Ino, owner: u64, range: LockRange, limits: &NlmLimits) -> bool {
        let splits = self.held.get(&(ino, owner)).is_some_and(|ranges| ranges.splits(range));
        !splits || self.may_hold_more(limits)
    }

    pub(crate) fn may_wait_more(&self, limits: &NlmLimits) -> bool {
        self.waiters.len() < limits.waiters_per_client_max
            && self.totals.waiters.load(Ordering::Relaxed) < limits.waiters_max
    }

    pub(crate) fn holds(&mut self, key: &WaitKey) {
        self.change(key.ino, key.owner, |ranges| ranges.add(key.range, key.kind));
    }

    pub(crate) fn lets_go(&mut self, ino: Ino, owner: u64, range: LockRange) {
        self.change(ino, owner, |ranges| ranges.cut(range));
    }

    fn change(&mut self, ino: Ino, owner: u64, change: impl FnOnce(&mut Ranges)) {
        let ranges = self.held.entry((ino, owner)).or_default();
        let before = ranges.count();
        change(ranges);
        let after = ranges.count();
        if after == 0 {
            self.held.remove(&(ino, owner));
        }
        // Both are counted in: the sums cannot fall below zero.
        self.ranges = self.ranges + after - before;
        self.totals.held.fetch_add(after, Ordering::Relaxed);
        self.totals.held.fetch_sub(before, Ordering::Relaxed);
    }

    pub(crate) fn waits(&mut self, waiter: Arc<Waiter>) {
        self.totals.waiters.fetch_add(1, Ordering::Relaxed);
        self.waiters.push(waiter);
    }

    pub(crate) fn waiter(&self, key: &WaitKey) -> Option<Arc<Waiter>> {
        self.waiters.iter().find(|waiter| waiter.key == *key).cloned()
    }

    pub(crate) fn waiters_of(&self, ino: Ino, owner: u64) -> Vec<Arc<Waiter>> {
        self.waiters.iter().filter(|w| w.key.ino == ino && w.key.owner == owner).cloned().collect()
    }

    pub(crate) fn is_waiting(&self, waiter: &Arc<Waiter>) -> bool {
        self.waiters.iter().any(|known| Arc::ptr_eq(known, waiter))
    }

    /// Whether it was still there.
    pub(crate) fn forget(&mut self, waiter: &Arc<Waiter>) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|known| !Arc::ptr_eq(known, waiter));
        let gone = before - self.waiters.len();
        self.totals.waiters.fetch_sub(gone, Ordering::Relaxed);
        gone > 0
    }

    /// Whether this restart is news.
    pub(crate) fn restarted(&mut self, state: i32) -> bool {
        self.restarted_as.replace(state) != Some(state)
    }

    /// Gives up all waits, empties the record, and tells whose locks on which files have to go.
    pub(crate) fn clear(&mut self) -> Vec<(Ino, u64)> {
        let waiters = std::mem::take(&mut self.waiters);
        let mut owners: Vec<(Ino, u64)> = std::mem::take(&mut self.held).into_keys().collect();
        for waiter in &waiters {
            waiter.give_up();
            // One that was given its lock and has not been noted yet.
            owners.push((waiter.key.ino, waiter.key.owner));
        }
        self.totals.waiters.fetch_sub(waiters.len(), Ordering::Relaxed);
        self.totals.held.fetch_sub(std::mem::take(&mut self.ranges), Ordering::Relaxed);
        owners
    }
}

/// The records of all clients. A record stays for the sake of `restarted_as` until its place is needed.
#[derive(Default)]
pub(crate) struct Clients {
    known: parking_lot::Mutex<BTreeMap<IpAddr, Arc<Client>>>,
    totals: Arc<Totals>,
}

impl Clients {
    pub(crate) fn find(&self, address: IpAddr) -> Option<Arc<Client>> {
        self.known.lock().get(&address).cloned()
    }

    /// The record of `address`, a new one where it has none; `None` where there is no room for one.
    pub(crate) fn record(&self, address: IpAddr, clients_max: usize) -> Option<Arc<Client>> {
        let mut known = self.known.lock();
        if let Some(client) = known.get(&address) {
            return Some(Arc::clone(client));
        }
        if known.len() >= clients_max {
            // A record that is in use by a call is held by more than this map, or locked.
            let idle = |client: &Arc<Client>| {
                Arc::strong_count(client) == 1 && client.record.try_lock().is_ok_and(|record| record.is_empty())
            };
            let free = known.iter().find(|(_, client)| idle(client)).map(|(address, _)| *address)?;
            known.remove(&free);
        }
        let client = Arc::new(Client::new(&self.totals));
        known.insert(address, Arc::clone(&client));
        Some(client)
    }

    /// Ranges held and waits, over all clients.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.totals.held.load(Ordering::Relaxed), self.totals.waiters.load(Ordering::Relaxed))
    }
}
