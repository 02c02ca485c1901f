//! Who has to be told when this server restarts: the clients that hold monitored locks, on a durable list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::ready;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use parking_lot::Mutex;

/// Clients on the list: of this life, and of earlier ones who are yet to be told. Twice those that hold or wait for
/// anything at a time, so that a list full of clients of before leaves room for as many new ones.
pub(crate) const LISTED_MAX: usize = 8192;

/// A client as it called itself; the address is what it is reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitored {
    pub address: IpAddr,
    pub name: Bytes,
}

/// The durable list, and the number of this server's state. Who adds sees to it that the list has at most 8192 clients, each
/// with a name as the protocol allows it.
///
/// # Durability
/// A change is kept for good when its future completes.
pub trait MonitorStore: Send + Sync {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Monitored>>>;

    /// In place of an entry of the same address.
    fn add(&self, host: Monitored) -> BoxFuture<'_, Result<()>>;

    fn remove(&self, gone: BTreeSet<IpAddr>) -> BoxFuture<'_, Result<()>>;

    /// An odd number that no earlier start had: a status monitor's state is odd while it is up.
    fn next_state(&self) -> BoxFuture<'_, Result<i32>>;
}

/// The odd number after `state`; after the largest it starts anew, which is another number all the same.
pub(crate) fn state_after(state: i32) -> i32 {
    match state.checked_add(2) {
        Some(next) if next > 0 => next | 1,
        _ => 1,
    }
}

/// A list that lives as long as the value: for tests, and for a store that is in memory itself.
#[derive(Default)]
pub struct MemoryMonitors(Mutex<(i32, BTreeMap<IpAddr, Bytes>)>);

impl MonitorStore for MemoryMonitors {
    fn list(&self) -> BoxFuture<'_, Result<Vec<Monitored>>> {
        let held = self.0.lock();
        let hosts = held.1.iter().map(|(address, name)| Monitored { address: *address, name: name.clone() });
        ready(Ok(hosts.collect())).boxed()
    }

    fn add(&self, host: Monitored) -> BoxFuture<'_, Result<()>> {
        self.0.lock().1.insert(host.address, host.name);
        ready(Ok(())).boxed()
    }

    fn remove(&self, gone: BTreeSet<IpAddr>) -> BoxFuture<'_, Result<()>> {
        self.0.lock().1.retain(|address, _| !gone.contains(address));
        ready(Ok(())).boxed()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<i32>> {
        let mut held = self.0.lock();
        held.0 = state_after(held.0);
        ready(Ok(held.0)).boxed()
    }
}

/// The list, and who was put on it since this start.
pub(crate) struct Monitors {
    store: Arc<dyn MonitorStore>,
    /// Over store accesses too: who is told of the last restart and locks again meanwhile stays on the list.
    current: tokio::sync::Mutex<BTreeSet<IpAddr>>,
    hosts_max: usize,
}

impl Monitors {
    pub(crate) fn new(store: Arc<dyn MonitorStore>, hosts_max: usize) -> Self {
        Self { store, current: tokio::sync::Mutex::default(), hosts_max }
    }

    /// Puts a client on the list, where it was not put since this start; in the place of one that is not `known` any
    /// more where the list is full. A client is known before it is watched, so that none loses its place as it comes.
    ///
    /// One of before this start keeps its place: it may hold locks, in its own eyes, until it was told.
    ///
    /// # Errors
    /// `NoSpace` where nobody's place is free.
    pub(crate) async fn watch(&self, host: Monitored, known: impl Fn(IpAddr) -> bool) -> Result<()> {
        let mut current = self.current.lock().await;
        if current.contains(&host.address) {
            return Ok(());
        }
        if current.len() >= self.hosts_max || !self.has_room(host.address).await? {
            let Some(gone) = current.iter().copied().find(|address| !known(*address)) else {
                return Err(Error::new(ErrorKind::NoSpace, "monitor client").context("too many clients are monitored"));
            };
            self.store.remove(BTreeSet::from([gone])).await?;
            current.remove(&gone);
        }
        let address = host.address;
        self.store.add(host).await?;
        current.insert(address);
        Ok(())
    }

    /// Whether the whole list stays within its bound with `address` on it.
    async fn has_room(&self, address: IpAddr) -> Result<bool> {
        let listed = self.store.list().await?;
        Ok(listed.len() < LISTED_MAX || listed.iter().any(|host| host.address == address))
    }

    /// Takes clients that have had their time to lock again, or cannot be told of the last restart, off the list; who did
    /// lock again stays.
    pub(crate) async fn forget(&self, hosts: Vec<Monitored>) -> Result<()> {
        let current = self.current.lock().await;
        let addresses = hosts.into_iter().map(|host| host.address);
        let gone: BTreeSet<IpAddr> = addresses.filter(|address| !current.contains(address)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.store.remove(gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> Monitored {
        let address = IpAddr::from(u128::try_from(number).expect("a small number").to_be_bytes());
        Monitored { address, name: Bytes::from_static(b"x") }
    }

    #[test]
    fn clients_of_before_keep_their_places_and_new_ones_share_what_is_left() {
        let store = Arc::new(MemoryMonitors::default());
        for number in 0..LISTED_MAX - 2 {
            store.add(host(number)).now_or_never().expect("in memory").expect("added");
        }
        let monitors = Monitors::new(store.clone(), LISTED_MAX);
        let watch = |number, known: fn(IpAddr) -> bool| {
            let watched = monitors.watch(host(number), known).now_or_never().expect("in memory");
            watched.map_err(|error| error.kind())
        };
        let listed = || store.list().now_or_never().expect("in memory").expect("the list");
        for new in [LISTED_MAX, LISTED_MAX + 1] {
            assert_eq!(watch(new, |_| true), Ok(()));
        }
        assert_eq!(watch(LISTED_MAX + 2, |_| true), Err(ErrorKind::NoSpace));
        assert_eq!(watch(0, |_| true), Ok(()), "one of before locks again, and has its place");
        assert_eq!(watch(LISTED_MAX + 2, |address| address != host(LISTED_MAX).address), Ok(()));
        assert_eq!(listed().len(), LISTED_MAX);
        for number in [1, LISTED_MAX - 3, LISTED_MAX + 1, LISTED_MAX + 2] {
            assert!(listed().contains(&host(number)), "{number}");
        }
        monitors.forget(vec![host(1)]).now_or_never().expect("in memory").expect("forgotten");
        assert_eq!(watch(LISTED_MAX, |_| true), Ok(()), "there is room again");
    }

    #[test]
    fn states_are_odd_and_each_is_another() {
        assert_eq!(state_after(0), 3);
        assert_eq!(state_after(3), 5);
        assert_eq!(state_after(i32::MAX), 1);
        assert_eq!(state_after(-7), 1);
    }
}
