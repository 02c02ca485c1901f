//! Virtual time: it stands still while anything runs and jumps to the next timer when nothing does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use objstore_base::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::{Clock, WallTime};

/// 2026-01-01 00:00 UTC: where the wall clock of every simulation starts.
const WALL_START: i64 = 1_767_225_600_000_000_000;

/// The clocks of a paused tokio runtime.
#[derive(Clone)]
pub struct SimClock {
    runtime: Handle,
    start: Instant,
    /// Virtual time of earlier power-ons, which the wall clock remembers and the monotonic one does not.
    before: Duration,
    /// How far the wall clock is off.
    skew: Arc<AtomicI64>,
}

impl SimClock {
    /// The clock of a runtime built with `start_paused`.
    pub fn new(runtime: Handle) -> Self {
        Self::after(runtime, Duration::ZERO, Arc::default())
    }

    pub(super) fn after(runtime: Handle, before: Duration, skew: Arc<AtomicI64>) -> Self {
        let start = now(&runtime);
        Self { runtime, start, before, skew }
    }

    /// Sets the wall clock forward or back; monotonic time does not notice.
    pub fn jump_wall(&self, nanos: i64) {
        self.skew.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Virtual time over all power-ons.
    pub fn total(&self) -> Duration {
        self.before + self.monotonic()
    }
}

/// Asked outside of the runtime, tokio would answer with real time.
fn now(runtime: &Handle) -> Instant {
    let _inside = runtime.enter();
    Instant::now()
}

impl Clock for SimClock {
    fn wall(&self) -> WallTime {
        let virtual_time = i64::try_from(self.total().as_nanos()).unwrap_or(i64::MAX);
        WallTime(WALL_START.saturating_add(virtual_time).saturating_add(self.skew.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        now(&self.runtime) - self.start
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}
