//! Advisory locks.

mod common;

use std::task::{Context as Task, Poll, Waker};

use common::*;
use fs_api::*;
use objstore_base::ErrorKind;

fn request(owner: u64, range: std::ops::Range<u64>, kind: Option<LockKind>) -> LockRequest {
    LockRequest {
        space: LockSpace::Posix,
        owner: LockOwner { door: 1, owner },
        range: LockRange { start: range.start, end: range.end },
        kind,
        pid: owner as u32,
    }
}

const SHARED: Option<LockKind> = Some(LockKind::Shared);
const EXCLUSIVE: Option<LockKind> = Some(LockKind::Exclusive);

#[test]
fn locks_split_convert_and_conflict() {
    let w = World::new();
    let f = w.file("f", b"");
    let set = |r| now(w.model.set_lock(&root(), f, r, LockWait::Fail));
    let test = |r| now(w.model.test_lock(&root(), f, r)).unwrap().map(|held| held.range.start..held.range.end);
    set(request(1, 0..100, EXCLUSIVE)).unwrap();
    set(request(1, 40..60, None)).unwrap();
    set(request(2, 40..60, EXCLUSIVE)).unwrap();
    assert_eq!(kind(set(request(2, 39..41, SHARED))), ErrorKind::WouldBlock);
    assert_eq!(test(request(3, 10..200, SHARED)), Some(0..40));
    assert_eq!(test(request(3, 60..200, SHARED)), Some(60..100));
    assert_eq!(test(request(3, 100..200, EXCLUSIVE)), None);
    set(request(1, 0..100, None)).unwrap();
    set(request(1, 0..10, SHARED)).unwrap();
    set(request(3, 0..10, SHARED)).unwrap();
    let flock = LockRequest { space: LockSpace::Flock, ..request(9, 0..u64::MAX, EXCLUSIVE) };
    set(flock).unwrap();
    w.model.drop_locks(f, LockSpace::Posix, LockOwner { door: 1, owner: 2 });
    assert_eq!(test(request(3, 0..u64::MAX, EXCLUSIVE)), Some(0..10));
}

#[test]
fn a_waiter_gets_the_lock_and_a_cycle_is_refused() {
    let w = World::new();
    let f = w.file("f", b"");
    let cx = root();
    let lock = |owner, range, wait| w.model.set_lock(&cx, f, request(owner, range, EXCLUSIVE), wait);
    now(lock(1, 0..1, LockWait::Fail)).unwrap();
    now(lock(2, 1..2, LockWait::Fail)).unwrap();
    let mut waiting = lock(1, 1..2, LockWait::Block);
    let mut task = Task::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut task).is_pending());
    assert_eq!(kind(now(lock(2, 0..1, LockWait::Block))), ErrorKind::Deadlock);
    w.model.drop_locks(f, LockSpace::Posix, LockOwner { door: 1, owner: 2 });
    assert!(matches!(waiting.as_mut().poll(&mut task), Poll::Ready(Ok(()))));
}
