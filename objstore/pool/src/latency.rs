//! How long reads take: the measure of what is slow.

use std::collections::VecDeque;
use std::time::Duration;

/// Reads remembered: enough for a 95th percentile, few enough to follow a change.
const SAMPLES_MAX: usize = 256;
/// Reads after which the percentile is computed anew.
const REFRESH: usize = 16;
const HEDGE_DELAY_MIN: Duration = Duration::from_millis(50);
const HEDGE_FACTOR: u32 = 3;

#[derive(Default)]
pub(crate) struct Latency {
    samples: VecDeque<Duration>,
    since_refresh: usize,
    p95: Duration,
}

impl Latency {
    pub(crate) fn add(&mut self, took: Duration) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(took);
        self.since_refresh += 1;
        if self.since_refresh >= REFRESH {
            self.since_refresh = 0;
            let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
            sorted.sort_unstable();
            self.p95 = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or_default();
        }
    }

    /// How long a read may take before others are started beside it.
    pub(crate) fn hedge_delay(&self) -> Duration {
        (self.p95 * HEDGE_FACTOR).max(HEDGE_DELAY_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hedge_delay_follows_the_95th_percentile() {
        let mut latency = Latency::default();
        assert_eq!(latency.hedge_delay(), HEDGE_DELAY_MIN);
        (1..=160).for_each(|ms| latency.add(Duration::from_millis(ms)));
        assert_eq!(latency.hedge_delay(), Duration::from_millis(153) * 3);
        (0..SAMPLES_MAX).for_each(|_| latency.add(Duration::from_micros(10)));
        assert_eq!(latency.hedge_delay(), HEDGE_DELAY_MIN);
    }
}
