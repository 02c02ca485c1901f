//! [`Threads`]: which requests may wait on the session threads that read them, and what may wait elsewhere.
//!
//! A write borrows the session's buffer. One that has to wait for room keeps its thread, up to half of them; further ones
//! are copied and wait as tasks, up to a bound in bytes. Reads and deletes always find a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of writes that wait as tasks.
const COPIES_BYTES_MAX: usize = 64 << 20;
/// Never taken by writes.
const THREADS_KEPT: usize = 2;

pub(crate) struct Threads {
    all: usize,
    /// Inside a write.
    writing: AtomicUsize,
    /// Inside a request that is not ready at once.
    waiting: AtomicUsize,
    copies: Arc<Semaphore>,
}

/// How a write is carried out.
pub(crate) enum Way<'a> {
    Here(Counted<'a>),
    Copied(OwnedSemaphorePermit),
}

/// Counts a thread, also past a panic.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    pub(crate) fn new(all: usize) -> Self {
        let copies = Arc::new(Semaphore::new(COPIES_BYTES_MAX));
        Self { all, writing: AtomicUsize::new(0), waiting: AtomicUsize::new(0), copies }
    }

    /// The way for a write of `bytes`; `None` where memory and threads are full of writes that wait.
    pub(crate) fn write(&self, bytes: usize) -> Option<Way<'_>> {
        let here = |threads_max: usize| {
            let counted = Counted(&self.writing);
            (self.writing.fetch_add(1, Ordering::Relaxed) < threads_max).then_some(Way::Here(counted))
        };
        let threads_max = self.all.saturating_sub(THREADS_KEPT);
        if !self.are_busy()
            && let Some(way) = here(threads_max)
        {
            return Some(way);
        }
        let permits = u32::try_from(bytes).ok()?;
        match Arc::clone(&self.copies).try_acquire_many_owned(permits) {
            Ok(permit) => Some(Way::Copied(permit)),
            Err(_) => here(threads_max),
        }
    }

    /// For the time in which a request is waited for.
    pub(crate) fn wait(&self) -> Counted<'_> {
        Counted::enter(&self.waiting)
    }

    /// Whether so many threads wait that the others are kept for requests.
    pub(crate) fn are_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.all / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_wait_leave_threads_to_others_and_are_bounded_in_memory() {
        const MIB: usize = 1 << 20;
        let threads = Threads::new(16);
        let mut ways = Vec::new();
        let mut waits = Vec::new();
        let (mut here, mut copied) = (0, 0);
        while let Some(way) = threads.write(MIB) {
            match way {
                Way::Here(_) => {
                    here += 1;
                    waits.push(threads.wait());
                }
                Way::Copied(_) => copied += 1,
            }
            ways.push(way);
            assert!(ways.len() < 1000);
        }
        assert_eq!((here, copied), (14, COPIES_BYTES_MAX / MIB));
        assert!(threads.are_busy());
        drop((ways, waits));
        assert!(!threads.are_busy());
        assert!(matches!(threads.write(MIB), Some(Way::Here(_))));
    }

    #[test]
    fn writes_that_come_together_leave_threads_to_others_too() {
        let threads = Threads::new(16);
        let ways: Vec<_> = (0..20).filter_map(|_| threads.write(4096)).collect();
        assert_eq!(ways.iter().filter(|way| matches!(way, Way::Here(_))).count(), 14);
        assert_eq!(ways.len(), 20);
    }
}
