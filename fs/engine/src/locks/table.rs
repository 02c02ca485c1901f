//! The table of all locks and of those who wait for one.

use std::collections::{BTreeMap, HashMap, HashSet};

use fs_api::{DoorId, Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace};
use futures::channel::oneshot;
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use super::file::FileLocks;

/// Ranges held on one file: every change of a lock walks them. One change goes past it by one at most, as a lock taken
/// inside an own range of the other kind makes three of one.
const RANGES_MAX: usize = 16_384;
/// Waiters of the whole store: a client cannot fill the memory with them.
const WAITERS_MAX: usize = 65_536;

type FileKey = (Ino, LockSpace);

struct Waiter {
    file: FileKey,
    owner: LockOwner,
    range: LockRange,
    kind: LockKind,
    pid: u32,
    granted: oneshot::Sender<Result<()>>,
}

struct State {
    files: HashMap<FileKey, FileLocks>,
    /// By ticket, so first come, first served among those who conflict.
    waiters: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    /// On one file.
    ranges_max: usize,
}

pub(crate) struct LockTable {
    state: Mutex<State>,
}

impl Default for LockTable {
    fn default() -> Self {
        Self::bounded(RANGES_MAX)
    }
}

/// A place in the queue; the receiver hears when the lock was given, or that there is no room for it.
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<Result<()>>,
}

/// What came of asking for a lock.
pub(super) enum Outcome {
    Done,
    Held,
    Queued(Ticket),
}

impl LockTable {
    /// At most `ranges_max` on one file.
    pub(super) fn bounded(ranges_max: usize) -> Self {
        let (files, waiters) = (HashMap::new(), BTreeMap::new());
        Self { state: Mutex::new(State { files, waiters, next_ticket: 0, ranges_max }) }
    }

    /// A lock in the way of `request`.
    pub(super) fn test(&self, ino: Ino, request: &LockRequest) -> Option<LockRequest> {
        let kind = request.kind?;
        let state = self.state.lock();
        state.conflict((ino, request.space), request.owner, request.range, kind)
    }

    /// Takes, changes or drops a lock, or queues for it where `wait` says so.
    ///
    /// # Errors
    /// `Deadlock` where those in the way wait, directly or through others, for this owner. `NoSpace` where the file has too
    /// many ranges for one more, also for an unlock that would make two of one.
    pub(super) fn set(&self, ino: Ino, request: &LockRequest, wait: bool) -> Result<Outcome> {
        let file = (ino, request.space);
        let LockRequest { owner, range, pid, .. } = *request;
        let mut state = self.state.lock();
        let conflict = request.kind.and_then(|kind| state.conflict(file, owner, range, kind).map(|c| (kind, c)));
        let Some((kind, _)) = conflict else {
            if state.is_full(file) && (request.kind.is_some() || state.splits(file, owner, range)) {
                return Err(no_room(ino));
            }
            state.set(file, owner, range, request.kind, pid);
            return Ok(Outcome::Done);
        };
        if request.space == LockSpace::Flock {
            // Changing the kind of a `flock` lock gives up the old one first, so two who upgrade do not wait for each
            // other.
            state.set(file, owner, range, None, pid);
        }
        match wait {
            false => Ok(Outcome::Held),
            true => state.queue(file, owner, range, kind, pid).map(Outcome::Queued),
        }
    }

    /// Frees a lock that was given and that nobody heard of. Also where that splits a range and there is no room: this goes
    /// past the bound by one for each who waited at most, and those have a bound of their own.
    pub(super) fn take_back(&self, ino: Ino, request: &LockRequest) {
        let LockRequest { space, owner, range, pid, .. } = *request;
        self.state.lock().set((ino, space), owner, range, None, pid);
    }

    /// Gives up a place in the queue; whether the lock had been given before (and stays).
    pub(super) fn leave(&self, ticket: u64) -> bool {
        self.state.lock().waiters.remove(&ticket).is_none()
    }

    /// Frees everything `owner` holds on `ino` in `space`.
    pub(crate) fn drop_owner(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        let mut state = self.state.lock();
        let file = (ino, space);
        let Some(locks) = state.files.get_mut(&file) else { return };
        if locks.drop_owner(owner) {
            state.grant(file);
        }
        state.forget_if_empty(file);
    }

    /// Frees everything that owners of `door` hold, and ends their waiting.
    pub(crate) fn drop_door(&self, door: DoorId) {
        let mut state = self.state.lock();
        // First, so that nothing is given to them; who waits hears that the sender is gone.
        state.waiters.retain(|_, waiter| waiter.owner.door != door.0);
        let files: Vec<FileKey> = state.files.keys().copied().collect();
        for file in files {
            if state.files.get_mut(&file).is_some_and(|locks| locks.drop_door(door)) {
                state.grant(file);
            }
            state.forget_if_empty(file);
        }
    }
}

impl State {
    fn conflict(&self, file: FileKey, owner: LockOwner, range: LockRange, kind: LockKind) -> Option<LockRequest> {
        let held = self.files.get(&file)?.conflicts(owner, range, kind).next()?;
        Some(LockRequest { space: file.1, owner: held.owner, range: held.range, kind: Some(held.kind), pid: held.pid })
    }

    fn is_full(&self, file: FileKey) -> bool {
        self.files.get(&file).is_some_and(|locks| locks.ranges() >= self.ranges_max)
    }

    fn splits(&self, file: FileKey, owner: LockOwner, range: LockRange) -> bool {
        self.files.get(&file).is_some_and(|locks| locks.splits(owner, range))
    }

    fn set(&mut self, file: FileKey, owner: LockOwner, range: LockRange, kind: Option<LockKind>, pid: u32) {
        self.files.entry(file).or_default().set(owner, range, kind, pid);
        if kind != Some(LockKind::Exclusive) {
            // Something may have become free: an unlock, or an exclusive range turned shared.
            self.grant(file);
        }
        self.forget_if_empty(file);
    }

    /// Gives the locks that have become free to those who wait, in the order in which they came.
    fn grant(&mut self, file: FileKey) {
        let waiting: Vec<u64> = self.waiters.iter().filter(|(_, w)| w.file == file).map(|(n, _)| *n).collect();
        for number in waiting {
            let Some(w) = self.waiters.get(&number) else { continue };
            if self.conflict(file, w.owner, w.range, w.kind).is_some() {
                continue;
            }
            let Some(w) = self.waiters.remove(&number) else { continue };
            let room = if self.is_full(file) { Err(no_room(file.0)) } else { Ok(()) };
            let given = room.is_ok();
            // Whoever has stopped listening gets nothing.
            if w.granted.send(room).is_ok() && given {
                self.files.entry(file).or_default().set(w.owner, w.range, Some(w.kind), w.pid);
            }
        }
    }

    fn forget_if_empty(&mut self, file: FileKey) {
        if self.files.get(&file).is_some_and(FileLocks::is_empty) {
            self.files.remove(&file);
        }
    }

    fn queue(&mut self, file: FileKey, owner: LockOwner, range: LockRange, kind: LockKind, pid: u32) -> Result<Ticket> {
        if self.waiters.len() >= WAITERS_MAX {
            return Err(Error::new(ErrorKind::NoSpace, "wait for lock").context("too many waiters"));
        }
        if file.1 == LockSpace::Posix && self.closes_circle(file, owner, range, kind) {
            return Err(Error::new(ErrorKind::Deadlock, "wait for lock").entity(file.0));
        }
        let (granted, hear) = oneshot::channel();
        let number = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.insert(number, Waiter { file, owner, range, kind, pid, granted });
        Ok(Ticket { number, granted: hear })
    }

    /// Whether waiting for this lock would wait for `owner` itself, through any chain of waiters. `flock` has no such
    /// rule on Linux.
    fn closes_circle(&self, file: FileKey, owner: LockOwner, range: LockRange, kind: LockKind) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![(file, owner, range, kind)];
        while let Some((file, waiter, range, kind)) = open.pop() {
            let Some(locks) = self.files.get(&file) else { continue };
            for held in locks.conflicts(waiter, range, kind) {
                if held.owner == owner {
                    return true;
                }
                if seen.insert(held.owner) {
                    let theirs = self.waiters.values().filter(|w| w.owner == held.owner);
                    open.extend(theirs.filter(|w| w.file.1 == file.1).map(|w| (w.file, w.owner, w.range, w.kind)));
                }
            }
        }
        false
    }
}

fn no_room(ino: Ino) -> Error {
    Error::new(ErrorKind::NoSpace, "lock").entity(ino).context("too many locked ranges")
}
