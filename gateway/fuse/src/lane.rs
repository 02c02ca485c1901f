//! [`Lane`]: a bounded table of notes between those who make them and the one thread that takes them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::FutureExt;
use objstore_base::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// From here on makers of changes wait: a quarter of a second of the kernel's work.
const BEHIND: usize = 65_536;
/// Nothing more is noted.
const NOTES_MAX: usize = 4 * BEHIND;

/// A collection that says how much is in it.
pub(crate) trait Table: Default {
    fn len(&self) -> usize;
}

impl<K, V> Table for HashMap<K, V> {
    fn len(&self) -> usize {
        self.len()
    }
}

impl<T> Table for HashSet<T> {
    fn len(&self) -> usize {
        self.len()
    }
}

#[derive(Default)]
struct State<T> {
    notes: T,
    lost: u64,
    ended: bool,
}

/// What was noted since the last time, and how many notes had no room.
pub(crate) struct Taken<T> {
    pub(crate) notes: T,
    pub(crate) lost: u64,
}

pub(crate) struct Lane<T> {
    state: Mutex<State<T>>,
    noted: Condvar,
    /// Counts the times that the table was emptied.
    emptied: watch::Sender<u64>,
}

impl<T: Table> Lane<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), noted: Condvar::new(), emptied: watch::Sender::new(0) }
    }

    /// Ends [`Lane::take`].
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.noted.notify_all();
    }

    pub(crate) fn note(&self, add: impl FnOnce(&mut T)) {
        let mut state = self.state.lock();
        let before = state.notes.len();
        if before >= NOTES_MAX {
            state.lost += 1;
            return;
        }
        add(&mut state.notes);
        drop(state);
        if before == 0 {
            self.noted.notify_one();
        }
    }

    /// Waits for notes, for `patience` at the most, and takes them all. `None` at the end.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Option<Taken<T>> {
        let mut state = self.state.lock();
        while state.notes.len() == 0 && !state.ended {
            match patience {
                None => self.noted.wait(&mut state),
                Some(patience) => {
                    if self.noted.wait_for(&mut state, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        if state.ended {
            return None;
        }
        let taken = Taken { notes: std::mem::take(&mut state.notes), lost: std::mem::take(&mut state.lost) };
        drop(state);
        self.emptied.send_modify(|times| *times += 1);
        Some(taken)
    }

    /// Where there are so many notes that their makers have to wait: until they are taken.
    pub(crate) fn behind(&self) -> Option<BoxFuture<'static, ()>> {
        // Subscribed before the look, so that an emptying after it is seen.
        let mut emptied = self.emptied.subscribe();
        if self.state.lock().notes.len() < BEHIND {
            return None;
        }
        // The sender goes with the mount; then nobody is behind any more.
        Some(async move { drop(emptied.changed().await) }.boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn makers_of_changes_wait_until_the_table_is_emptied_and_memory_is_bounded() {
        let lane: Arc<Lane<HashSet<u64>>> = Arc::new(Lane::new());
        for ino in 0..BEHIND as u64 {
            assert!(lane.behind().is_none());
            lane.note(|notes| notes.extend([ino]));
        }
        let room = lane.behind().expect("it is far behind");
        for ino in 0..2 * NOTES_MAX as u64 {
            lane.note(|notes| notes.extend([ino]));
        }
        let thread = Arc::clone(&lane);
        let taking = std::thread::spawn(move || {
            let first = thread.take(None).expect("it has not ended");
            let nothing = thread.take(Some(Duration::from_millis(1))).expect("it has not ended");
            (first.notes.len(), first.lost, nothing.notes.len())
        });
        tokio::time::timeout(Duration::from_secs(20), room).await.expect("it is emptied");
        assert_eq!(taking.join().expect("it ends"), (NOTES_MAX, NOTES_MAX as u64, 0));
        lane.end();
        assert!(lane.take(None).is_none());
    }
}
