//! [`Project`]: what one project takes and may take, as every thread sees it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use fs_api::Ino;

use super::limit::QuotaLimits;
use super::records::ProjectRecord;

/// A limit that is none.
const UNLIMITED: i64 = i64::MAX;

/// A count and what it may grow to. A taking that does not fit changes nothing, so that two of them together never
/// pass the limit, and what waits to become durable is in the count already.
#[derive(Debug)]
struct Meter {
    taken: AtomicI64,
    max: AtomicI64,
}

impl Meter {
    fn new(taken: i64) -> Self {
        Self { taken: taken.into(), max: UNLIMITED.into() }
    }

    /// Takes `more` if there is room for it.
    fn take(&self, more: i64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let fits = |taken: i64| taken.checked_add(more).filter(|after| *after <= max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Moves the count by `delta` whatever the limit is.
    fn add(&self, delta: i64) {
        self.taken.fetch_add(delta, Ordering::Relaxed);
    }

    fn taken(&self) -> u64 {
        u64::try_from(self.taken.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn set_max(&self, max: Option<u64>) {
        let max = max.map_or(UNLIMITED, |max| i64::try_from(max).unwrap_or(UNLIMITED));
        self.max.store(max, Ordering::Relaxed);
    }

    fn max(&self) -> Option<u64> {
        match self.max.load(Ordering::Relaxed) {
            UNLIMITED => None,
            max => u64::try_from(max).ok(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Project {
    root: Ino,
    /// Bytes of extents, those that gathered writes will take included.
    bytes: Meter,
    inodes: Meter,
    /// Its tree is being walked.
    counting: AtomicBool,
    /// Moves within the tree that the walk may have missed.
    disturbances: AtomicU64,
}

impl Project {
    pub(super) fn new(record: ProjectRecord, bytes: i64, inodes: i64, counting: bool) -> Self {
        let project = Self {
            root: record.root,
            bytes: Meter::new(bytes),
            inodes: Meter::new(inodes),
            counting: counting.into(),
            disturbances: AtomicU64::new(0),
        };
        project.limit(record.limits);
        project
    }

    pub(super) const fn root(&self) -> Ino {
        self.root
    }

    pub(super) fn limit(&self, limits: QuotaLimits) {
        self.bytes.set_max(limits.bytes);
        self.inodes.set_max(limits.inodes);
    }

    pub(super) fn limits(&self) -> QuotaLimits {
        QuotaLimits { bytes: self.bytes.max(), inodes: self.inodes.max() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.taken()
    }

    pub(super) fn inodes(&self) -> u64 {
        self.inodes.taken()
    }

    /// Takes both if there is room for what grows of them.
    pub(super) fn take(&self, bytes: i64, inodes: i64) -> bool {
        if bytes > 0 && !self.bytes.take(bytes) {
            return false;
        }
        if inodes > 0 && !self.inodes.take(inodes) {
            if bytes > 0 {
                self.bytes.add(-bytes);
            }
            return false;
        }
        self.add(bytes.min(0), inodes.min(0));
        true
    }

    pub(super) fn add(&self, bytes: i64, inodes: i64) {
        self.bytes.add(bytes);
        self.inodes.add(inodes);
    }

    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Acquire)
    }

    pub(super) fn counted(&self) {
        self.counting.store(false, Ordering::Release);
    }

    pub(super) fn disturb(&self) {
        self.disturbances.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(bytes: u64, inodes: u64) -> Project {
        let limits = QuotaLimits { bytes: Some(bytes), inodes: Some(inodes) };
        Project::new(ProjectRecord { root: Ino(1), limits }, 0, 0, false)
    }

    #[test]
    fn what_does_not_fit_takes_nothing_and_what_shrinks_always_fits() {
        let project = limited(100, 2);
        assert!(project.take(60, 1) && project.take(40, 1));
        assert!(!project.take(1, 0) && !project.take(0, 1) && !project.take(-1, 1));
        assert_eq!((project.bytes(), project.inodes()), (100, 2));
        project.add(50, 1);
        assert!(project.take(-10, 0) && project.take(0, 0) && project.take(0, -1));
        assert_eq!((project.bytes(), project.inodes()), (140, 2));
        project.limit(QuotaLimits::default());
        assert!(project.take(1 << 40, 1 << 40));
    }

    #[test]
    fn takers_side_by_side_never_pass_the_limit() {
        let project = limited(1000, u64::MAX);
        let taken: i64 = std::thread::scope(|scope| {
            let takers: Vec<_> = (1..=4)
                .map(|size| {
                    let project = &project;
                    scope.spawn(move || (0..1000).filter(|_| project.take(size, 0)).count() as i64 * size)
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().expect("it ends")).sum()
        });
        assert_eq!((taken, project.bytes()), (1000, 1000));
    }
}
