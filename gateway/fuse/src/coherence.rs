//! What the kernel has cached of this mount and another door has changed: forgotten, in the order it was noted.
//!
//! Notes are taken while the filesystem holds locks, so they only enter a table here; threads of their own tell the
//! kernel, one of inodes and one of names. The kernel may make them wait: for the directory whose lock a request of this
//! very mount holds (which may itself wait for room in the cache), for a page that is being read. They hold no lock of
//! ours meanwhile, and no session thread waits for them, so every such wait ends. Notes of one inode or name are one
//! entry. Where there are many, makers of changes wait (`behind`); one that lost its patience goes on, and far beyond the
//! bound notes are lost: then everything that the kernel knows is told anew, and a name may be believed for as long as
//! `attr_lifetime`.
//!
//! An inode that the kernel is just learning of it cannot be made to forget: it does not have it yet, and `fuser` keeps to
//! itself that it does not. A change noted while the reply is made takes the trust from that reply (`is_noted`); one that
//! comes in the second after it is told again for a while.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fs_api::{Ino, Notice, Watcher};
use fuser::{INodeNo, Notifier};
use futures::FutureExt;
use nix::libc;
use objstore_base::BoxFuture;
use objstore_env::Clock;
use tracing::{debug, warn};

use crate::kernel::Kernel;
use crate::lane::{Lane, Taken};

/// Slots of the last note of an inode: inodes that share one cost each other an attribute request.
const STAMPS: usize = 4096;
/// How long the kernel may take to use a reply: microseconds, unless the thread that waits for it is kept from running.
const LEARNING: Duration = Duration::from_secs(1);
/// So many times is told again what it may have been learning, with doubling pauses: for longer than that.
const LATE_ROUNDS: usize = 9;

/// Bytes that are others; none where only attributes are.
type Inodes = HashMap<Ino, Option<Range<u64>>>;
type Names = HashSet<(Ino, Box<[u8]>)>;

/// A point in the order of notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

pub(crate) struct Coherence {
    inodes: Lane<Inodes>,
    names: Lane<Names>,
    noted: AtomicU64,
    stamps: Box<[AtomicU64]>,
    /// When the kernel was last told of an inode by a name, in milliseconds.
    learned: Box<[AtomicU64]>,
}

impl Coherence {
    pub(crate) fn new() -> Arc<Self> {
        let [stamps, learned] = [(); 2].map(|()| (0..STAMPS).map(|_| AtomicU64::new(0)).collect());
        Arc::new(Self { inodes: Lane::new(), names: Lane::new(), noted: AtomicU64::new(0), stamps, learned })
    }

    /// Ends [`Coherence::tell_inodes`] and [`Coherence::tell_names`].
    pub(crate) fn end(&self) {
        self.inodes.end();
        self.names.end();
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment(self.noted.load(Ordering::SeqCst))
    }

    /// Whether a change of `ino` (or of one that shares its slot) has been noted after `since`.
    pub(crate) fn is_noted(&self, ino: Ino, since: Moment) -> bool {
        self.stamp(ino).load(Ordering::SeqCst) > since.0
    }

    fn stamp(&self, ino: Ino) -> &AtomicU64 {
        &self.stamps[slot(ino)]
    }

    /// The kernel is about to learn of `ino`.
    pub(crate) fn learned(&self, ino: Ino, now: Duration) {
        // Past the start of the clock, which stands for never.
        self.learned[slot(ino)].fetch_max(now.as_millis() as u64 + 1, Ordering::SeqCst);
    }

    /// Whether the kernel may still be about to.
    fn is_learned(&self, ino: Ino, now: Duration) -> bool {
        let learned = self.learned[slot(ino)].load(Ordering::SeqCst);
        learned > 0 && now.saturating_sub(Duration::from_millis(learned)) < LEARNING
    }

    /// Tells the kernel of inodes, until the end. Blocks.
    pub(crate) fn tell_inodes(&self, notifier: &OnceLock<Notifier>, kernel: &Kernel, clock: &dyn Clock) {
        let mut late = Late::default();
        while let Some(Taken { mut notes, lost }) = self.inodes.take(late.wait(clock.monotonic())) {
            let Some(notifier) = notifier.get() else { continue };
            if lost > 0 {
                warn!(lost, "the kernel does not follow what other doors change; it is told to forget everything");
                notes.extend(kernel.known().into_iter().map(|ino| (ino, Some(0..u64::MAX))));
            }
            let now = clock.monotonic();
            // Pages it can only have of an inode that it has.
            late.tell(now, |ino| tell_inode(notifier, ino, None));
            for (ino, content) in notes.into_iter().filter(|(ino, _)| kernel.knows(*ino)) {
                tell_inode(notifier, ino, content);
                if self.is_learned(ino, now) {
                    late.add(ino, now);
                }
            }
        }
    }

    /// Tells the kernel of names, until the end. Blocks.
    pub(crate) fn tell_names(&self, notifier: &OnceLock<Notifier>, kernel: &Kernel) {
        while let Some(Taken { notes, lost }) = self.names.take(None) {
            if lost > 0 {
                warn!(lost, "the kernel does not follow what other doors change; it may show old names");
            }
            let Some(notifier) = notifier.get() else { continue };
            for (parent, name) in notes.iter().filter(|(parent, _)| kernel.knows(*parent)) {
                expect_told(*parent, notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)));
            }
        }
    }
}

impl Watcher for Coherence {
    fn notice(&self, notice: Notice<'_>) {
        if let Notice::Attributes(ino) | Notice::Content { ino, .. } = notice {
            let moment = self.noted.fetch_add(1, Ordering::SeqCst) + 1;
            self.stamp(ino).fetch_max(moment, Ordering::SeqCst);
        }
        match notice {
            Notice::Attributes(ino) => self.inodes.note(|inodes| add(inodes, ino, None)),
            Notice::Content { ino, range } => self.inodes.note(|inodes| add(inodes, ino, Some(range))),
            Notice::Name { parent, name } => self.names.note(|names| {
                names.insert((parent, name.into()));
            }),
        }
    }

    fn behind(&self) -> Option<BoxFuture<'static, ()>> {
        match (self.inodes.behind(), self.names.behind()) {
            (Some(inodes), Some(names)) => Some(futures::future::join(inodes, names).map(drop).boxed()),
            (inodes, names) => inodes.or(names),
        }
    }
}

const fn slot(ino: Ino) -> usize {
    (ino.0 % STAMPS as u64) as usize
}

fn add(inodes: &mut Inodes, ino: Ino, range: Option<Range<u64>>) {
    let noted = inodes.entry(ino).or_default();
    *noted = match (noted.take(), range) {
        (Some(old), Some(new)) => Some(old.start.min(new.start)..old.end.max(new.end)),
        (old, new) => old.or(new),
    };
}

/// Inodes that the kernel may have been learning of when it was told: they are told again, less and less often.
#[derive(Default)]
struct Late {
    /// Per round, in the order in which they are due.
    rounds: [VecDeque<(Duration, Ino)>; LATE_ROUNDS],
    all: HashSet<Ino>,
}

impl Late {
    const fn pause(round: usize) -> Duration {
        Duration::from_millis(2 << round)
    }

    fn wait(&self, now: Duration) -> Option<Duration> {
        let due = self.rounds.iter().filter_map(|round| round.front()).map(|(due, _)| *due).min();
        due.map(|due| due.saturating_sub(now))
    }

    fn add(&mut self, ino: Ino, now: Duration) {
        if self.all.insert(ino) {
            self.rounds[0].push_back((now + Self::pause(0), ino));
        }
    }

    fn tell(&mut self, now: Duration, tell: impl Fn(Ino)) {
        for round in 0..LATE_ROUNDS {
            while let Some((_, ino)) = self.rounds[round].pop_front_if(|(due, _)| *due <= now) {
                tell(ino);
                match self.rounds.get_mut(round + 1) {
                    Some(next) => next.push_back((now + Self::pause(round + 1), ino)),
                    None => drop(self.all.remove(&ino)),
                }
            }
        }
    }
}

fn tell_inode(notifier: &Notifier, ino: Ino, content: Option<Range<u64>>) {
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

/// What the kernel does not have it need not forget, and a mount that is gone has nothing.
fn expect_told(ino: Ino, told: io::Result<()>) {
    if let Err(error) = told
        && !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN))
    {
        debug!(ino = ino.0, %error, "the kernel did not take an invalidation");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn notes_of_one_inode_become_one_that_covers_them_all() {
        let mut inodes = Inodes::new();
        add(&mut inodes, Ino(5), None);
        add(&mut inodes, Ino(5), Some(10..20));
        add(&mut inodes, Ino(5), None);
        add(&mut inodes, Ino(5), Some(90..u64::MAX));
        assert_eq!(inodes, Inodes::from([(Ino(5), Some(10..u64::MAX))]));
    }

    #[test]
    fn what_is_noted_after_a_moment_is_told_from_what_was_before() {
        let coherence = Coherence::new();
        coherence.notice(Notice::Attributes(Ino(5)));
        let since = coherence.moment();
        assert!(!coherence.is_noted(Ino(5), since));
        coherence.notice(Notice::Name { parent: Ino(5), name: b"a" });
        coherence.notice(Notice::Attributes(Ino(6)));
        assert!(!coherence.is_noted(Ino(5), since));
        coherence.notice(Notice::Content { ino: Ino(5), range: 0..1 });
        assert!(coherence.is_noted(Ino(5), since));
    }

    #[test]
    fn an_inode_that_was_just_learned_is_told_again_and_again_but_not_for_ever() {
        let coherence = Coherence::new();
        let secs = Duration::from_secs;
        assert!(!coherence.is_learned(Ino(1), secs(100)));
        coherence.learned(Ino(1), secs(100));
        assert!(coherence.is_learned(Ino(1), secs(101)) && !coherence.is_learned(Ino(1), secs(200)));

        let mut late = Late::default();
        assert_eq!(late.wait(Duration::ZERO), None);
        let told = Cell::new(0);
        let tell = |ino| {
            assert_eq!(ino, Ino(1));
            told.set(told.get() + 1);
        };
        let mut now = Duration::ZERO;
        late.add(Ino(1), now);
        late.add(Ino(1), now);
        late.tell(now, tell);
        assert_eq!(told.get(), 0);
        while let Some(wait) = late.wait(now) {
            now += wait;
            late.tell(now, tell);
        }
        assert_eq!(told.get(), LATE_ROUNDS);
        assert!(now > LEARNING && now < 2 * LEARNING, "{now:?}");
        late.add(Ino(1), now);
        assert!(late.wait(now).is_some());
    }
}
