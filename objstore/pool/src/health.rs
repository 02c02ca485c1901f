//! Whether a drive deserves to be read from first: three errors within a minute make it suspect for a minute.

use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
const ERRORS_MAX: usize = 3;
/// Reads that had to be hedged in [`WINDOW`]. More than errors: a busy machine is slow on every drive.
const SLOW_MAX: usize = 10;

#[derive(Default)]
pub(crate) struct Health {
    errors: Strikes<ERRORS_MAX>,
    slow: Strikes<SLOW_MAX>,
    pub(crate) errors_total: u64,
    pub(crate) last_error: Option<String>,
}

/// The times of the last `MAX` events.
#[derive(Default)]
struct Strikes<const MAX: usize>(VecDeque<Duration>);

impl<const MAX: usize> Strikes<MAX> {
    fn add(&mut self, now: Duration) {
        self.0.push_back(now);
        if self.0.len() > MAX {
            self.0.pop_front();
        }
    }

    /// `MAX` events came within one window, and the last of them was less than a window ago.
    fn is_out(&self, now: Duration) -> bool {
        match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) => {
                self.0.len() >= MAX && last.saturating_sub(*first) <= WINDOW && now.saturating_sub(*last) < WINDOW
            }
            _ => false,
        }
    }
}

impl Health {
    pub(crate) fn error(&mut self, now: Duration, why: String) {
        self.errors.add(now);
        self.errors_total += 1;
        self.last_error = Some(why);
    }

    pub(crate) fn slow(&mut self, now: Duration) {
        self.slow.add(now);
    }

    pub(crate) fn is_suspect(&self, now: Duration) -> bool {
        self.errors.is_out(now) || self.slow.is_out(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_errors_in_a_minute_make_a_drive_suspect_for_a_minute() {
        let mut health = Health::default();
        health.error(at(0), "EIO".into());
        health.error(at(70), "EIO".into());
        health.error(at(75), "EIO".into());
        assert!(!health.is_suspect(at(76)), "the first error is too long ago");
        health.error(at(80), "EIO".into());
        assert!(health.is_suspect(at(80)) && health.is_suspect(at(139)));
        assert!(!health.is_suspect(at(140)), "a minute without errors");
        assert_eq!(health.errors_total, 4);
    }
}
