//! Time that slow disk calls owe.
//!
//! A disk call cannot wait in virtual time: it is synchronous. It notes what it would have taken, and whoever ran it
//! waits afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A running total; clones share it.
#[derive(Clone, Default)]
pub struct Latency(Arc<AtomicU64>);

impl Latency {
    pub(super) fn owe(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All the time owed so far.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
