//! Advisory locks through the trait: waiting, giving up, and what drops them.

mod support;

use fs_api::{DoorId, Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace, LockWait, Target, Vfs};
use futures::FutureExt;
use objstore_base::ErrorKind::{Deadlock, Interrupted, WouldBlock};
use support::{READ_WRITE, ROOT, World, now};

fn request(owner: u64, start: u64, end: u64) -> LockRequest {
    LockRequest {
        space: LockSpace::Posix,
        owner: LockOwner { door: 1, owner },
        range: LockRange { start, end },
        kind: Some(LockKind::Exclusive),
        pid: owner as u32,
    }
}

fn free(request: LockRequest) -> LockRequest {
    LockRequest { kind: None, ..request }
}

fn lock(w: &World, ino: Ino, request: LockRequest) -> support::Res<()> {
    now(w.engine.set_lock(&w.as_root().cx, ino, request, LockWait::Fail))
}

#[test]
fn a_waiter_is_woken_by_the_unlock() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    lock(&w, f, request(1, 0, 10)).expect("free");
    assert_eq!(lock(&w, f, request(2, 5, 15)), Err(WouldBlock));
    let holder = now(w.engine.test_lock(&root.cx, f, request(2, 5, 15))).expect("asked");
    assert_eq!(holder, Some(request(1, 0, 10)));
    let mut waiting = w.engine.set_lock(&root.cx, f, request(2, 5, 15), LockWait::Block);
    assert!((&mut waiting).now_or_never().is_none());
    lock(&w, f, free(request(1, 0, 10))).expect("unlocked");
    assert!(matches!((&mut waiting).now_or_never(), Some(Ok(()))));
    assert_eq!(lock(&w, f, request(1, 14, 20)), Err(WouldBlock));
}

#[test]
fn a_dropped_wait_leaves_no_lock_behind() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    lock(&w, f, request(1, 0, 10)).expect("free");
    let mut waiting = w.engine.set_lock(&root.cx, f, request(2, 0, 10), LockWait::Block);
    assert!((&mut waiting).now_or_never().is_none());
    lock(&w, f, free(request(1, 0, 10))).expect("unlocked: the waiter has it now, but has not heard of it");
    drop(waiting);
    lock(&w, f, request(3, 0, 10)).expect("free again");
}

#[test]
fn two_who_wait_for_each_other_are_told() {
    let w = World::new();
    let root = w.as_root();
    let (f, g) = (root.file(ROOT, "f").expect("made"), root.file(ROOT, "g").expect("made"));
    lock(&w, f, request(1, 0, 1)).expect("free");
    lock(&w, g, request(2, 0, 1)).expect("free");
    let mut one = w.engine.set_lock(&root.cx, g, request(1, 0, 1), LockWait::Block);
    assert!((&mut one).now_or_never().is_none());
    assert_eq!(now(w.engine.set_lock(&root.cx, f, request(2, 0, 1), LockWait::Block)), Err(Deadlock));
    w.engine.drop_locks(g, LockSpace::Posix, LockOwner { door: 1, owner: 2 });
    assert!(matches!((&mut one).now_or_never(), Some(Ok(()))));
}

#[test]
fn a_door_that_leaves_frees_its_locks_and_wakes_its_waiters() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let other = LockRequest { owner: LockOwner { door: 2, owner: 9 }, ..request(9, 20, 30) };
    lock(&w, f, request(1, 0, 10)).expect("free");
    lock(&w, f, other).expect("free");
    let mut waiting = w.engine.set_lock(&root.cx, f, request(2, 0, 30), LockWait::Block);
    let mut patient =
        w.engine.set_lock(&root.cx, f, LockRequest { range: request(9, 0, 5).range, ..other }, LockWait::Block);
    assert!((&mut waiting).now_or_never().is_none());
    assert!((&mut patient).now_or_never().is_none());
    w.engine.leave(DoorId(1));
    assert_eq!((&mut waiting).now_or_never().map(|done| done.map_err(|e| e.kind())), Some(Err(Interrupted)));
    assert!(matches!((&mut patient).now_or_never(), Some(Ok(()))), "the lock is there for who has stayed");
    assert_eq!(lock(&w, f, request(3, 25, 26)), Err(WouldBlock));
}

#[test]
fn upgrading_a_flock_gives_up_the_shared_one_first() {
    let w = World::new();
    let root = w.as_root();
    let f = root.file(ROOT, "f").expect("made");
    let flock = |owner, kind| LockRequest { space: LockSpace::Flock, kind: Some(kind), ..request(owner, 0, 1) };
    lock(&w, f, flock(1, LockKind::Shared)).expect("free");
    lock(&w, f, flock(2, LockKind::Shared)).expect("shared");
    let mut one = w.engine.set_lock(&root.cx, f, flock(1, LockKind::Exclusive), LockWait::Block);
    assert!((&mut one).now_or_never().is_none());
    now(w.engine.set_lock(&root.cx, f, flock(2, LockKind::Exclusive), LockWait::Block))
        .expect("nobody else has it now");
    assert!((&mut one).now_or_never().is_none());
    lock(&w, f, free(flock(2, LockKind::Shared))).expect("unlocked");
    assert!(matches!((&mut one).now_or_never(), Some(Ok(()))));
}

#[test]
fn closing_a_file_drops_the_owners_byte_ranges() {
    let w = World::new();
    let root = w.as_root();
    let made = root.create(ROOT, "f", READ_WRITE, true).expect("created");
    let f = made.attr.ino;
    lock(&w, f, request(1, 0, 10)).expect("free");
    let target = Target::opened(f, made.handle.id);
    now(Vfs::flush(&*w.engine, &root.cx, target, LockOwner { door: 1, owner: 1 })).expect("flushed");
    lock(&w, f, request(2, 0, 10)).expect("free");
}
