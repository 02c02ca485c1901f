//! How fast dirty bytes go up: a moving average over the time in which there was something to upload.

use std::time::Duration;

/// The average forgets with this time constant: long enough to even out single segments, short enough to follow a
/// line that becomes slow.
const MEMORY: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct Rate {
    bytes_per_s: Option<f64>,
    /// The end of the last upload, or the begin of the first after a pause.
    since: Option<Duration>,
}

impl Rate {
    /// Something began to go up at `now`.
    pub(crate) fn busy(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// Nothing goes up any more.
    pub(crate) fn idle(&mut self) {
        self.since = None;
    }

    /// `bytes` are in the pool at `now`.
    pub(crate) fn uploaded(&mut self, now: Duration, bytes: u64) {
        let since = self.since.replace(now).unwrap_or(now);
        let seconds = now.saturating_sub(since).as_secs_f64().max(1e-6);
        let sample = bytes as f64 / seconds;
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        self.bytes_per_s = Some(match self.bytes_per_s {
            Some(average) => average + (sample - average) * weight.max(0.05),
            None => sample,
        });
    }

    /// Bytes of segments per second; `None` before the first upload.
    pub(crate) fn bytes_per_s(&self) -> Option<u64> {
        self.bytes_per_s.map(|rate| rate as u64)
    }

    /// When `bytes` will be in the pool at this rate.
    pub(crate) fn eta(&self, bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_s()?.max(1);
        Some(Duration::from_secs_f64(bytes as f64 / rate as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_follows_the_line_and_pauses_do_not_count() {
        let mut rate = Rate::default();
        assert_eq!(rate.eta(1), None);
        let mut now = Duration::from_secs(100);
        rate.busy(now);
        for _ in 0..10 {
            now += Duration::from_secs(1);
            rate.uploaded(now, 10_000_000);
        }
        assert_eq!(rate.bytes_per_s(), Some(10_000_000));
        rate.idle();
        now += Duration::from_secs(3600);
        rate.busy(now);
        now += Duration::from_secs(1);
        rate.uploaded(now, 10_000_000);
        assert_eq!(rate.bytes_per_s(), Some(10_000_000));
        for _ in 0..100 {
            now += Duration::from_secs(1);
            rate.uploaded(now, 1_000_000);
        }
        assert!(rate.bytes_per_s().is_some_and(|r| (1_000_000..1_200_000).contains(&r)));
        assert!(rate.eta(10_000_000).is_some_and(|eta| eta > Duration::from_secs(8)));
    }
}
