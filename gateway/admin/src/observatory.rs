//! [`Observatory`]: where everything that is observed comes together.

use std::sync::Arc;

use objstore_env::Clock;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::audit::AuditLog;
use crate::counters::{DoorCounters, DoorStats};
use crate::names::Names;
use crate::trace::{Line, Readers, Trace, TraceFilter};

/// What was counted since the start, by one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Monotonic, to make rates of two of these.
    pub at_us: u64,
    pub doors: Vec<DoorStats>,
}

impl Stats {
    /// What was counted since `before`, and how long that was.
    pub fn since(&self, before: &Self) -> Self {
        let old = |name: &str| before.doors.iter().find(|door| door.door == name);
        Self {
            at_us: self.at_us.saturating_sub(before.at_us),
            doors: self.doors.iter().map(|door| door.since(old(&door.door))).collect(),
        }
    }
}

/// All doors of one service.
pub struct Observatory {
    doors: RwLock<Vec<Arc<DoorCounters>>>,
    pub(crate) names: Names,
    readers: Readers,
    audit: RwLock<Option<Arc<AuditLog>>>,
}

impl Observatory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            doors: RwLock::default(),
            names: Names::new(),
            readers: Readers::default(),
            audit: RwLock::default(),
        })
    }

    /// The counters of `door`, new or as they are where it was there before.
    pub(crate) fn door(&self, door: &str) -> Arc<DoorCounters> {
        let mut doors = self.doors.write();
        if let Some(known) = doors.iter().find(|known| known.door == door) {
            return Arc::clone(known);
        }
        let counters = Arc::new(DoorCounters::new(door));
        doors.push(Arc::clone(&counters));
        counters
    }

    pub fn stats(&self, clock: &dyn Clock) -> Stats {
        let at_us = u64::try_from(clock.monotonic().as_micros()).unwrap_or(u64::MAX);
        Stats { at_us, doors: self.doors() }
    }

    pub fn doors(&self) -> Vec<DoorStats> {
        self.doors.read().iter().map(|door| door.stats()).collect()
    }

    /// Every operation from now on that `filter` lets through; `None` where too many watch already.
    pub fn trace(&self, filter: TraceFilter) -> Option<Trace> {
        self.readers.add(filter)
    }

    /// Writes to `log` from now on, or to none.
    pub fn audit(&self, log: Option<Arc<AuditLog>>) {
        *self.audit.write() = log;
    }

    /// Whether lines are wanted at all: if not, none is put together.
    pub(crate) fn is_watched(&self) -> bool {
        self.readers.any() || self.audit.read().is_some()
    }

    pub(crate) fn tell(&self, line: Line, audited: bool) {
        let line = Arc::new(line);
        if self.readers.any() {
            self.readers.tell(&line);
        }
        if audited && let Some(log) = self.audit.read().as_ref().filter(|log| log.wants(&line.share)) {
            log.note(&line);
        }
    }
}
