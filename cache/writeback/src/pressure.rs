//! Back-pressure: how long a writer waits before its bytes may become dirty (F6).
//!
//! Below 80 % of the limit a writer is let in by one atomic addition. Above, writers queue first in, first out: up to
//! 90 % each waits a moment that grows with the level, up to 95 % each waits until as many bytes as it brings have
//! gone up, above that until there is room. Only the last may end in an error, when the writer's patience is over.
//! Nothing here knows the journal: the exact level is handed in.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};

/// A writer in the slow band waits no longer than this: the band's effect is pace, not refusal.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Where no upload has been seen yet (or none succeeds), the slow band lets in as if the cache went up in this time.
const DRAIN_GUESS: Duration = Duration::from_secs(300);

/// How full the dirty part of the cache is, as writers feel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Below 80 %: nobody waits.
    Free,
    /// 80 to 90 %: a growing delay.
    Slowed,
    /// 90 to 95 %: as fast as uploads.
    WriteThrough,
    /// Above 95 %: nobody is let in.
    Full,
    /// The filesystem under the journal is at its reserve: nobody is let in.
    DiskFull,
}

pub(crate) struct Pressure {
    max: u64,
    /// Dirty bytes at the last exact look plus what was let in since.
    level: AtomicU64,
    disk_full: AtomicBool,
    /// Writers in the queue; while there are any, newcomers queue too.
    queued: AtomicUsize,
    /// Held by the writer whose turn it is. Fair: waiters get it in the order of their coming.
    pub(super) turn: Mutex<()>,
    /// Bytes that went up and have not been given to a writer of the write-through band.
    credit: AtomicU64,
    /// Counts events that may have made room.
    room: watch::Sender<u64>,
}

/// One place in the queue.
pub(crate) struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pressure {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max: max.max(1),
            level: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            turn: Mutex::new(()),
            credit: AtomicU64::new(0),
            room: watch::Sender::new(0),
        }
    }

    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    const fn percent(&self, percent: u64) -> u64 {
        // Limits are far below 2^64 / 100.
        self.max / 100 * percent + self.max % 100 * percent / 100
    }

    /// Lets `bytes` in if nobody has to wait.
    pub(crate) fn admit_at_once(&self, bytes: u64) -> bool {
        if self.disk_full.load(Ordering::Relaxed) || self.queued.load(Ordering::Acquire) > 0 {
            return false;
        }
        let before = self.level.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) < self.percent(80) {
            return true;
        }
        self.level.fetch_sub(bytes, Ordering::AcqRel);
        false
    }

    /// Lets `bytes` in, whatever the level.
    pub(crate) fn add(&self, bytes: u64) {
        self.level.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Replaces the level by an exact look; what others let in meanwhile is kept.
    pub(crate) fn correct(&self, exact: impl FnOnce() -> u64) {
        let before = self.level.load(Ordering::Acquire);
        let exact = exact();
        self.level.fetch_add(exact.wrapping_sub(before), Ordering::AcqRel);
    }

    pub(crate) fn band(&self) -> Band {
        let level = self.level.load(Ordering::Acquire);
        match () {
            () if self.disk_full.load(Ordering::Acquire) => Band::DiskFull,
            () if level < self.percent(80) => Band::Free,
            () if level < self.percent(90) => Band::Slowed,
            () if level < self.percent(95) => Band::WriteThrough,
            () => Band::Full,
        }
    }

    /// Whether less than half of the limit is dirty.
    pub(crate) fn below_half(&self) -> bool {
        self.level.load(Ordering::Acquire) < self.percent(50)
    }

    pub(crate) fn enqueue(&self) -> Queued<'_> {
        self.queued.fetch_add(1, Ordering::AcqRel);
        Queued(&self.queued)
    }

    /// How long a writer of `bytes` pauses in the slow band while uploads run at `rate` bytes per second: nothing at
    /// its lower end, and at its upper end so long that writers together are as fast as uploads.
    pub(crate) fn pause(&self, bytes: u64, rate: Option<u64>) -> Duration {
        let over = self.level.load(Ordering::Acquire).saturating_sub(self.percent(80)) as f64;
        let share = (over / self.percent(10).max(1) as f64).min(1.0);
        let guess = self.max as f64 / DRAIN_GUESS.as_secs_f64();
        let rate = rate.map_or(guess, |rate| guess.max(rate as f64)).max(1.0);
        Duration::from_secs_f64(bytes as f64 * share / rate).min(PAUSE_MAX)
    }

    /// `bytes` went up: credit for the write-through band, never more than the band is wide.
    pub(crate) fn uploaded(&self, bytes: u64) {
        let cap = self.percent(5);
        let add = |credit: u64| Some(credit.saturating_add(bytes).min(cap));
        // The closure never refuses, so neither does the update.
        self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).unwrap_or_default();
        self.made_room();
    }

    /// Takes credit for a writer of `bytes`, if there is as much.
    pub(crate) fn take_credit(&self, bytes: u64) -> bool {
        let wanted = bytes.min(self.percent(5));
        let take = |credit: u64| credit.checked_sub(wanted);
        self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    pub(crate) fn made_room(&self) {
        self.room.send_modify(|events| *events += 1);
    }

    /// Sees every event that may have made room from now on.
    pub(crate) fn watch_room(&self) -> watch::Receiver<u64> {
        self.room.subscribe()
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::AcqRel) && !full {
            self.made_room();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_begin_where_they_are_promised() {
        let pressure = Pressure::new(1000);
        for (level, band) in [
            (0, Band::Free),
            (799, Band::Free),
            (800, Band::Slowed),
            (899, Band::Slowed),
            (900, Band::WriteThrough),
            (949, Band::WriteThrough),
            (950, Band::Full),
            (5000, Band::Full),
        ] {
            pressure.correct(|| level);
            assert_eq!(pressure.band(), band, "{level}");
        }
        pressure.correct(|| 0);
        pressure.set_disk_full(true);
        assert_eq!(pressure.band(), Band::DiskFull);
        assert!(!pressure.admit_at_once(1));
    }

    #[test]
    fn pause_grows_from_nothing_to_the_pace_of_uploads() {
        let pressure = Pressure::new(1000);
        let pause = |level| {
            pressure.correct(|| level);
            pressure.pause(100, Some(1000))
        };
        assert_eq!(pause(800), Duration::ZERO);
        assert!(pause(820) < pause(860));
        assert_eq!(pause(900), Duration::from_millis(100));
        assert_eq!(pressure.pause(u64::MAX, None), PAUSE_MAX);
    }

    #[test]
    fn what_is_let_in_during_a_look_is_not_forgotten() {
        let pressure = Pressure::new(1000);
        assert!(pressure.admit_at_once(300));
        pressure.correct(|| {
            pressure.add(50);
            200
        });
        assert_eq!(pressure.level.load(Ordering::Relaxed), 250);
        assert!(!pressure.admit_at_once(550), "the limit is below 80 %");
        assert!(pressure.admit_at_once(549));
        let queued = pressure.enqueue();
        assert!(!pressure.admit_at_once(0), "nobody overtakes the queue");
        drop(queued);
    }
}
