//! Latencies in buckets that double.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first bucket ends at 1 us, the last but one at 8.4 s; the last has no end.
const BUCKETS: usize = 25;

/// Counts of durations, written by many threads at once.
#[derive(Default)]
pub struct Latency {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// What was counted by one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyStats {
    /// How many took less than 1, 2, 4, … microseconds and no less than the one before; the last took longer.
    pub counts: Vec<u64>,
    pub sum_us: u64,
}

impl Latency {
    pub fn note(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        if let Some(count) = self.counts.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn stats(&self) -> LatencyStats {
        LatencyStats {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

impl LatencyStats {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let old = before.counts.iter().copied().chain(std::iter::repeat(0));
        Self {
            counts: self.counts.iter().zip(old).map(|(new, old)| new.saturating_sub(old)).collect(),
            sum_us: self.sum_us.saturating_sub(before.sum_us),
        }
    }

    /// What was counted here and in `other`.
    pub fn plus(&self, other: &Self) -> Self {
        let len = self.counts.len().max(other.counts.len());
        let at = |counts: &[u64], bucket: usize| counts.get(bucket).copied().unwrap_or(0);
        Self {
            counts: (0..len).map(|b| at(&self.counts, b).saturating_add(at(&other.counts, b))).collect(),
            sum_us: self.sum_us.saturating_add(other.sum_us),
        }
    }

    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count()).unwrap_or(0)
    }

    /// The end of the bucket in which the `share` of all lies (0.99: all but one of a hundred took less).
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return bucket_end_us(bucket);
            }
        }
        0
    }

    /// Ends in seconds with the counts up to there that lie in this bucket, the last without an end.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let last = self.counts.len().saturating_sub(1);
        let end = |bucket| if bucket == last { f64::INFINITY } else { bucket_end_us(bucket) as f64 / 1e6 };
        self.counts.iter().enumerate().map(|(bucket, count)| (end(bucket), *count)).collect()
    }
}

const fn bucket_end_us(bucket: usize) -> u64 {
    1 << bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_their_buckets() {
        let latency = Latency::default();
        (0..99).for_each(|_| latency.note(Duration::from_micros(3)));
        latency.note(Duration::from_millis(3));
        let stats = latency.stats();
        assert_eq!(stats.count(), 100);
        assert_eq!(stats.quantile_us(0.5), 4);
        assert_eq!(stats.quantile_us(0.99), 4);
        assert_eq!(stats.quantile_us(1.0), 4096);
        assert_eq!(stats.mean_us(), (99 * 3 + 3000) / 100);
        assert_eq!(stats.since(&stats).count(), 0);
        assert_eq!(stats.plus(&stats).since(&stats), stats);
        assert_eq!(LatencyStats::default().plus(&stats), stats);
        assert_eq!(LatencyStats::default().quantile_us(0.5), 0);
    }

    #[test]
    fn the_shortest_and_the_longest_have_their_bucket() {
        let latency = Latency::default();
        latency.note(Duration::ZERO);
        latency.note(Duration::from_secs(100_000));
        let counts = latency.stats().counts;
        assert_eq!((counts[0], counts[BUCKETS - 1]), (1, 1));
    }
}
