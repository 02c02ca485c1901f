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

impl OpStats {
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        Self {
            op: self.op.clone(),
            errors: self.errors.saturating_sub(before.errors),
            bytes: self.bytes.saturating_sub(before.bytes),
            latency: self.latency.since(&before.latency),
        }
    }
}

impl ClientStats {
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        Self {
            ops: self.ops.saturating_sub(before.ops),
            errors: self.errors.saturating_sub(before.errors),
            bytes: self.bytes.saturating_sub(before.bytes),
            busy_us: self.busy_us.saturating_sub(before.busy_us),
        }
    }
}

impl DoorStats {
    /// What was counted since `before`; what is under way is as it is now. Without what nobody called in between.
    pub fn since(&self, before: Option<&Self>) -> Self {
        let op_before = |op: &str| before.and_then(|door| door.ops.iter().find(|old| old.op == op));
        let client_before = |client: &str| before.and_then(|door| door.clients.get(client));
        let ops = self.ops.iter().map(|op| op.since(op_before(&op.op)));
        let clients = self.clients.iter().map(|(client, stats)| (client.clone(), stats.since(client_before(client))));
        Self {
            door: self.door.clone(),
            in_flight: self.in_flight,
            ops: ops.filter(|op| op.latency.count() > 0).collect(),
            clients: clients.filter(|(_, stats)| stats.ops > 0).collect(),
        }
    }
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
    fn between_two_moments_is_what_was_called_between_them() {
        let counters = DoorCounters::new("nfs");
        counters.note(Op::Read, Some("a"), Duration::from_micros(5), 100, false);
        counters.note(Op::Write, Some("b"), Duration::from_micros(5), 100, false);
        let before = counters.stats();
        counters.note(Op::Read, Some("a"), Duration::from_millis(5), 50, true);
        let between = counters.stats().since(Some(&before));
        assert_eq!(between.ops.len(), 1, "nobody wrote: {between:?}");
        assert_eq!((between.ops[0].bytes, between.ops[0].errors, between.ops[0].latency.count()), (50, 1, 1));
        assert_eq!(between.clients.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(before.since(None), before);
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
