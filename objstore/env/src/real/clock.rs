//! The machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use objstore_base::BoxFuture;

use crate::{Clock, WallTime};

/// The system's wall clock, and its monotonic clock counted from the construction of this value.
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn wall(&self) -> WallTime {
        // Outside 1677..2262 the nanoseconds do not fit; a clock that far off is clamped, as nothing decides by it.
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        WallTime(nanos)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// To be polled on a tokio runtime with its timer enabled.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // The timer is made at the first poll: a sleep may be asked for on a thread outside the runtime.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}
