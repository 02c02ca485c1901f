//! Whether writers keep the journal's disk busy just now.

use std::time::Duration;

/// Appends are counted over windows of at least this length.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct Activity {
    busy_bytes_per_s: u64,
    since: Duration,
    appended: u64,
    busy: bool,
}

impl Activity {
    pub(crate) const fn new(busy_bytes_per_s: u64) -> Self {
        Self { busy_bytes_per_s, since: Duration::ZERO, appended: 0, busy: false }
    }

    /// Notes that `appended` bytes have been appended by `now`, in all.
    pub(crate) fn note(&mut self, now: Duration, appended: u64) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed < WINDOW {
            return;
        }
        let busy = self.busy_bytes_per_s as f64 * elapsed.as_secs_f64();
        self.busy = appended.saturating_sub(self.appended) as f64 >= busy;
        (self.since, self.appended) = (now, appended);
    }

    /// As the last whole window saw it.
    pub(crate) const fn busy(&self) -> bool {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_the_last_whole_window_saw() {
        let mut activity = Activity::new(16 << 20);
        let at = Duration::from_millis;
        activity.note(at(1000), 1 << 20);
        assert!(!activity.busy());
        activity.note(at(1500), 100 << 20);
        assert!(!activity.busy(), "the window is not over");
        activity.note(at(2000), 100 << 20);
        assert!(activity.busy());
        activity.note(at(2900), 100 << 20);
        assert!(activity.busy());
        activity.note(at(3000), 101 << 20);
        assert!(!activity.busy());
    }
}
