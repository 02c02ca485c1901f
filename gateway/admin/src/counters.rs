//! What is counted of one door, and of each of its clients.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::latency::{Latency, LatencyStats};
use crate::op::Op;

/// Clients that are counted one by one; those beyond are counted together.
const CLIENTS_MAX: usize = 1024;
/// Under this name.
const OTHER_CLIENTS: &str = "others";

#[derive(Default)]
struct OpCounters {
    errors: AtomicU64,
    bytes: AtomicU64,
    latency: Latency,
}

/// Counters of one door. Written without a lock, but for those of a named client.
pub(crate) struct DoorCounters {
    pub(crate) door: String,
    ops: [OpCounters; Op::COUNT],
    in_flight: AtomicU64,
    clients: Mutex<BTreeMap<String, ClientStats>>,
}

/// One operation of one door, as counted by one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpStats {
    pub op: String,
    pub errors: u64,
    /// Read or written.
    pub bytes: u64,
    pub latency: LatencyStats,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStats {
    pub ops: u64,
    pub errors: u64,
    pub bytes: u64,
    /// Time its requests took, together.
    pub busy_us: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStats {
    pub door: String,
    pub in_flight: u64,
    /// Those that were called at all.
    pub ops: Vec<OpStats>,
    pub clients: BTreeMap<String, ClientStats>,
}

impl DoorCounters {
    pub(crate) fn new(door: &str) -> Self {
        Self {
            door: door.to_owned(),
            ops: std::array::from_fn(|_| OpCounters::default()),
            in_flight: AtomicU64::new(0),
            clients: Mutex::default(),
        }
    }

    /// An operation is under way until what this gives is dropped, also where the caller gives it up.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn note(&self, op: Op, client: Option<&str>, took: Duration, bytes: u64, failed: bool) {
        let Some(counters) = self.ops.get(op as usize) else { return };
        counters.latency.note(took);
        if bytes > 0 {
            counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if failed {
            counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(client) = client {
            self.note_client(client, took, bytes, failed);
        }
    }

    fn note_client(&self, client: &str, took: Duration, bytes: u64, failed: bool) {
        let mut clients = self.clients.lock();
        let known = clients.contains_key(client);
        let client = if known || clients.len() < CLIENTS_MAX { client } else { OTHER_CLIENTS };
        if !clients.contains_key(client) {
            clients.insert(client.to_owned(), ClientStats::default());
        }
        let Some(stats) = clients.get_mut(client) else { return };
        stats.ops += 1;
        stats.errors += u64::from(failed);
        stats.bytes += bytes;
        stats.busy_us = stats.busy_us.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn stats(&self) -> DoorStats {
        let called = |(op, counters): (Op, &OpCounters)| {
            let latency = counters.latency.stats();
            (latency.count() > 0).then(|| OpStats {
                op: op.name().to_owned(),
                errors: counters.errors.load(Ordering::Relaxed),
                bytes: counters.bytes.load(Ordering::Relaxed),
                latency,
            })
        };
        DoorStats {
            door: self.door.clone(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            ops: Op::ALL.into_iter().zip(&self.ops).filter_map(called).collect(),
            clients: self.clients.lock().clone(),
        }
    }
}

pub(crate) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_beyond_the_bound_are_counted_together() {
        let counters = DoorCounters::new("nfs");
        for client in 0..CLIENTS_MAX + 10 {
            counters.note(Op::Read, Some(&client.to_string()), Duration::from_micros(5), 100, false);
        }
        let stats = counters.stats();
        assert_eq!(stats.clients.len(), CLIENTS_MAX + 1);
        assert_eq!(stats.clients[OTHER_CLIENTS].ops, 10);
        assert_eq!(stats.ops.len(), 1, "only what was called is listed");
        assert_eq!(stats.ops[0].bytes, 100 * (CLIENTS_MAX as u64 + 10));
    }

    #[test]
    fn what_is_given_up_is_not_under_way_any_more() {
        let counters = DoorCounters::new("fuse");
        let (first, second) = (counters.begin(), counters.begin());
        drop(first);
        assert_eq!(counters.stats().in_flight, 1);
        drop(second);
        assert_eq!(counters.stats().in_flight, 0);
    }
}
