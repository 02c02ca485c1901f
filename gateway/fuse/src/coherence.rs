//! What the kernel has cached of this mount and another door has changed: forgotten, in the order it was noted.
//!
//! Notes are taken while the filesystem holds locks, so they only enter a table here; a thread of its own tells the
//! kernel. That may wait: for the directory whose lock a request of this very mount holds, for a page that is being
//! read. It holds no lock of ours meanwhile, and no session thread waits for it, so every such wait ends. Notes of one
//! inode or name are one entry. Where there are many, makers of changes wait (`behind`); one that lost its patience goes
//! on, and far beyond the bound notes are lost: the kernel then believes what it has for as long as `attr_lifetime`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use fs_api::{Ino, Notice, Watcher};
use fuser::{INodeNo, Notifier};
use futures::FutureExt;
use nix::libc;
use objstore_base::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tracing::{debug, warn};

/// From here on makers of changes wait: a quarter of a second of the kernel's work.
const BEHIND: usize = 65_536;
/// Nothing more is noted.
const NOTES_MAX: usize = 4 * BEHIND;

#[derive(Default)]
struct Notes {
    /// Bytes that are others; none where only attributes are.
    inodes: HashMap<Ino, Option<Range<u64>>>,
    names: HashSet<(Ino, Box<[u8]>)>,
    lost: u64,
    ended: bool,
}

impl Notes {
    fn len(&self) -> usize {
        self.inodes.len() + self.names.len()
    }

    fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.names.is_empty()
    }

    fn add(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Attributes(ino) => drop(self.inodes.entry(ino).or_default()),
            Notice::Content { ino, range } => {
                let noted = self.inodes.entry(ino).or_default();
                *noted = Some(match noted.take() {
                    Some(old) => old.start.min(range.start)..old.end.max(range.end),
                    None => range,
                });
            }
            Notice::Name { parent, name } => drop(self.names.insert((parent, name.into()))),
        }
    }
}

pub(crate) struct Coherence {
    notes: Mutex<Notes>,
    noted: Condvar,
    /// Counts the times that the table was emptied.
    emptied: watch::Sender<u64>,
}

impl Coherence {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { notes: Mutex::default(), noted: Condvar::new(), emptied: watch::Sender::new(0) })
    }

    /// Ends [`Coherence::run`].
    pub(crate) fn end(&self) {
        self.notes.lock().ended = true;
        self.noted.notify_all();
    }

    /// Tells the kernel, until the end. Blocks.
    pub(crate) fn run(&self, notifier: &OnceLock<Notifier>) {
        loop {
            let mut notes = self.notes.lock();
            while notes.is_empty() && !notes.ended {
                self.noted.wait(&mut notes);
            }
            if notes.ended {
                return;
            }
            let taken = std::mem::take(&mut *notes);
            drop(notes);
            if taken.lost > 0 {
                warn!(lost = taken.lost, "the kernel does not follow what other doors change; it may show old state");
            }
            self.emptied.send_modify(|times| *times += 1);
            if let Some(notifier) = notifier.get() {
                tell(notifier, &taken);
            }
        }
    }
}

impl Watcher for Coherence {
    fn notice(&self, notice: Notice<'_>) {
        let mut notes = self.notes.lock();
        if notes.len() >= NOTES_MAX {
            notes.lost += 1;
            return;
        }
        let first = notes.is_empty();
        notes.add(notice);
        drop(notes);
        if first {
            self.noted.notify_one();
        }
    }

    fn behind(&self) -> Option<BoxFuture<'static, ()>> {
        // Subscribed before the look, so that an emptying after it is seen.
        let mut emptied = self.emptied.subscribe();
        if self.notes.lock().len() < BEHIND {
            return None;
        }
        // The sender goes with the mount; then nobody is behind any more.
        Some(async move { drop(emptied.changed().await) }.boxed())
    }
}

fn tell(notifier: &Notifier, notes: &Notes) {
    for (parent, name) in &notes.names {
        expect_told(parent, notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)));
    }
    for (ino, content) in &notes.inodes {
        // A negative offset means the attributes alone, a length of 0 all that follows.
        let (offset, len) = match content {
            None => (-1, 0),
            Some(range) => match (i64::try_from(range.start), i64::try_from(range.end - range.start)) {
                (Ok(start), Ok(len)) => (start, len),
                (Ok(start), Err(_)) => (start, 0),
                // No file reaches that far.
                (Err(_), _) => (-1, 0),
            },
        };
        expect_told(ino, notifier.inval_inode(INodeNo(ino.0), offset, len));
    }
}

/// What the kernel does not have it need not forget, and a mount that is gone has nothing.
fn expect_told(ino: &Ino, told: io::Result<()>) {
    if let Err(error) = told
        && !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN))
    {
        debug!(ino = ino.0, %error, "the kernel did not take an invalidation");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_one_inode_become_one_that_covers_them_all() {
        let mut notes = Notes::default();
        notes.add(Notice::Attributes(Ino(5)));
        notes.add(Notice::Content { ino: Ino(5), range: 10..20 });
        notes.add(Notice::Attributes(Ino(5)));
        notes.add(Notice::Content { ino: Ino(5), range: 90..u64::MAX });
        notes.add(Notice::Name { parent: Ino(1), name: b"a" });
        notes.add(Notice::Name { parent: Ino(1), name: b"a" });
        assert_eq!(notes.len(), 2);
        assert_eq!(notes.inodes[&Ino(5)], Some(10..u64::MAX));
    }

    #[tokio::test]
    async fn makers_of_changes_wait_until_the_table_is_emptied_and_memory_is_bounded() {
        let coherence = Coherence::new();
        for ino in 0..BEHIND as u64 {
            assert!(coherence.behind().is_none());
            coherence.notice(Notice::Attributes(Ino(ino)));
        }
        let room = coherence.behind().expect("it is far behind");
        for ino in 0..2 * NOTES_MAX as u64 {
            coherence.notice(Notice::Attributes(Ino(ino)));
        }
        assert_eq!(coherence.notes.lock().len(), NOTES_MAX);
        let (thread, notifier) = (Arc::clone(&coherence), OnceLock::new());
        let running = std::thread::spawn(move || thread.run(&notifier));
        tokio::time::timeout(std::time::Duration::from_secs(20), room).await.expect("it is emptied");
        coherence.end();
        running.join().expect("it ends");
    }
}
