//! Clients that a share does not admit, as the log tells of them: a line for the first time and for each doubling from
//! there. Whoever is refused can ask as often as the network carries it; the log must not grow with that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

use crate::shares::{Share, ShareId};

/// Clients that are counted one by one; those beyond are counted together.
const CLIENTS_MAX: usize = 4096;

/// What a client wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    Mount,
    Handle,
}

#[derive(Default)]
struct Counts {
    clients: BTreeMap<(ShareId, IpAddr, Refused), u64>,
    others: u64,
}

/// A leaf lock, held for one count.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Counts>);

impl Refusals {
    pub(crate) fn tell(&self, share: &Share, client: SocketAddr, refused: Refused) {
        let times = self.count(share.id, client.ip(), refused);
        if !times.is_power_of_two() {
            return;
        }
        let share = String::from_utf8_lossy(&share.path);
        match refused {
            Refused::Mount => tracing::warn!(proto = "nfs", %client, %share, times,
                "a client that the share does not admit wanted to mount it"),
            Refused::Handle => tracing::warn!(proto = "nfs", %client, %share, times,
                "a client that the share does not admit used a handle"),
        }
    }

    /// How often this was by now, this time included.
    fn count(&self, share: ShareId, client: IpAddr, refused: Refused) -> u64 {
        let mut counts = self.0.lock();
        let key = (share, client.to_canonical(), refused);
        let is_full = counts.clients.len() >= CLIENTS_MAX && !counts.clients.contains_key(&key);
        let count = if is_full { &mut counts.others } else { counts.clients.entry(key).or_default() };
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h43_each_client_is_counted_by_itself_and_thousands_of_them_together() {
        let refusals = Refusals::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for times in 1..=3 {
            assert_eq!(refusals.count(ShareId(1), address(1), Refused::Handle), times);
        }
        assert_eq!(refusals.count(ShareId(1), address(1), Refused::Mount), 1);
        assert_eq!(refusals.count(ShareId(2), address(1), Refused::Handle), 1);
        let lines = (2..100_000).filter(|n| refusals.count(ShareId(1), address(*n), Refused::Handle).is_power_of_two());
        assert!(lines.count() < CLIENTS_MAX + 32, "a client with many addresses");
        assert_eq!(refusals.count(ShareId(1), address(1), Refused::Handle), 4, "who is counted stays so");
    }
}
