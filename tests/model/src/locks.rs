//! Advisory locks, as plain lists.

use std::collections::BTreeMap;
use std::task::{Context as Task, Poll, Waker};

use fs_api::{DoorId, Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace, LockWait};
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct LockTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: BTreeMap<Ino, Vec<LockRequest>>,
    /// Who waits, for what: by a number of its own.
    waiting: BTreeMap<u64, (Ino, LockRequest)>,
    next_wait: u64,
    wakers: Vec<Waker>,
}

fn overlap(a: LockRange, b: LockRange) -> bool {
    a.start < b.end && b.start < a.end
}

fn conflict(held: &LockRequest, asked: &LockRequest) -> bool {
    held.space == asked.space
        && held.owner != asked.owner
        && overlap(held.range, asked.range)
        && (held.kind == Some(LockKind::Exclusive) || asked.kind == Some(LockKind::Exclusive))
        && asked.kind.is_some()
}

impl Table {
    fn blockers(&self, ino: Ino, asked: &LockRequest) -> Vec<LockRequest> {
        self.held.get(&ino).into_iter().flatten().filter(|held| conflict(held, asked)).copied().collect()
    }

    /// Whether `owner` waits, directly or through others, for `goal`.
    fn waits_for(&self, owner: LockOwner, goal: LockOwner, seen: &mut Vec<LockOwner>) -> bool {
        if owner == goal {
            return true;
        }
        if seen.contains(&owner) {
            return false;
        }
        seen.push(owner);
        let waits = self.waiting.values().filter(|(_, request)| request.owner == owner);
        let next: Vec<_> = waits.flat_map(|(ino, request)| self.blockers(*ino, request)).collect();
        next.into_iter().any(|blocker| self.waits_for(blocker.owner, goal, seen))
    }

    /// Replaces what the owner held of the range by what is asked for.
    fn set(&mut self, ino: Ino, asked: LockRequest) {
        let all = self.held.remove(&ino).unwrap_or_default();
        let mut kept = Vec::new();
        for held in all {
            if held.space != asked.space || held.owner != asked.owner || !overlap(held.range, asked.range) {
                kept.push(held);
                continue;
            }
            let before = LockRange { start: held.range.start, end: asked.range.start };
            let after = LockRange { start: asked.range.end, end: held.range.end };
            let rests = [before, after].into_iter().filter(|rest| rest.start < rest.end);
            kept.extend(rests.map(|range| LockRequest { range, ..held }));
        }
        if asked.kind.is_some() {
            kept.push(asked);
        }
        if !kept.is_empty() {
            self.held.insert(ino, kept);
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// A place in the queue; leaves it when dropped.
struct Place<'a> {
    table: &'a Mutex<Table>,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.table.lock().waiting.remove(&self.number);
    }
}

impl LockTable {
    /// The conflicting lock that begins first.
    pub(crate) fn test(&self, ino: Ino, asked: LockRequest) -> Option<LockRequest> {
        self.0.lock().blockers(ino, &asked).into_iter().min_by_key(|held| held.range.start)
    }

    pub(crate) async fn set(&self, ino: Ino, asked: LockRequest, wait: LockWait) -> Result<()> {
        if asked.range.start >= asked.range.end {
            return Err(Error::new(ErrorKind::InvalidArgument, "lock"));
        }
        let mut place = None;
        std::future::poll_fn(|task| self.poll_set(task, ino, asked, wait, &mut place)).await
    }

    fn poll_set<'a>(
        &'a self,
        task: &mut Task<'_>,
        ino: Ino,
        asked: LockRequest,
        wait: LockWait,
        place: &mut Option<Place<'a>>,
    ) -> Poll<Result<()>> {
        let mut table = self.0.lock();
        // Its door left meanwhile.
        if place.as_ref().is_some_and(|place| !table.waiting.contains_key(&place.number)) {
            return Poll::Ready(Err(Error::new(ErrorKind::Interrupted, "lock")));
        }
        let blockers = table.blockers(ino, &asked);
        if blockers.is_empty() {
            table.set(ino, asked);
            return Poll::Ready(Ok(()));
        }
        if wait == LockWait::Fail {
            return Poll::Ready(Err(Error::new(ErrorKind::WouldBlock, "lock")));
        }
        let waits = |held: &LockRequest| table.waits_for(held.owner, asked.owner, &mut Vec::new());
        if asked.space == LockSpace::Posix && blockers.iter().any(waits) {
            return Poll::Ready(Err(Error::new(ErrorKind::Deadlock, "lock")));
        }
        if place.is_none() {
            let number = table.next_wait;
            table.next_wait += 1;
            table.waiting.insert(number, (ino, asked));
            *place = Some(Place { table: &self.0, number });
        }
        table.wakers.push(task.waker().clone());
        Poll::Pending
    }

    pub(crate) fn drop_owner(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        let range = LockRange { start: 0, end: u64::MAX };
        self.0.lock().set(ino, LockRequest { space, owner, range, kind: None, pid: 0 });
    }

    /// Frees everything of the owners of `door`, and ends their waiting.
    pub(crate) fn drop_door(&self, door: DoorId) {
        let mut table = self.0.lock();
        table.waiting.retain(|_, (_, request)| request.owner.door != door.0);
        for held in table.held.values_mut() {
            held.retain(|request| request.owner.door != door.0);
        }
        table.held.retain(|_, held| !held.is_empty());
        table.wakers.drain(..).for_each(Waker::wake);
    }
}
