use fs_api::{Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace};
use objstore_base::ErrorKind;

use super::table::{LockTable, Outcome, Ticket};

const INO: Ino = Ino(7);
const SHARED: Option<LockKind> = Some(LockKind::Shared);
const EXCLUSIVE: Option<LockKind> = Some(LockKind::Exclusive);

fn request(owner: u64, start: u64, end: u64, kind: Option<LockKind>) -> LockRequest {
    let owner = LockOwner { door: 0, owner };
    LockRequest { space: LockSpace::Posix, owner, range: LockRange { start, end }, kind, pid: 1 }
}

fn set(table: &LockTable, owner: u64, start: u64, end: u64, kind: Option<LockKind>) -> bool {
    matches!(table.set(INO, &request(owner, start, end, kind), false), Ok(Outcome::Done))
}

fn queue(table: &LockTable, ino: Ino, owner: u64, start: u64, end: u64) -> Ticket {
    match table.set(ino, &request(owner, start, end, EXCLUSIVE), true) {
        Ok(Outcome::Queued(ticket)) => ticket,
        _ => panic!("owner {owner} does not wait"),
    }
}

fn heard(ticket: &mut Ticket) -> Option<Result<(), ErrorKind>> {
    let heard = ticket.granted.try_recv().expect("the table does not forget who waits");
    heard.map(|given| given.map_err(|error| error.kind()))
}

fn conflict(table: &LockTable, owner: u64, start: u64, end: u64, kind: Option<LockKind>) -> Option<(u64, u64, u64)> {
    table.test(INO, &request(owner, start, end, kind)).map(|c| (c.owner.owner, c.range.start, c.range.end))
}

#[test]
fn shared_ranges_meet_and_exclusive_ones_do_not() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, 10, SHARED));
    assert!(set(&table, 2, 5, 15, SHARED));
    assert!(!set(&table, 2, 5, 15, EXCLUSIVE), "owner 1 reads 5..10");
    assert!(set(&table, 2, 10, 20, EXCLUSIVE), "an own shared range is upgraded");
    assert_eq!(conflict(&table, 1, 0, 100, SHARED), Some((2, 10, 20)));
    assert_eq!(conflict(&table, 1, 0, 100, EXCLUSIVE), Some((2, 5, 10)));
}

#[test]
fn unlocking_the_middle_splits_and_locking_it_again_joins() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, u64::MAX, EXCLUSIVE));
    assert!(set(&table, 1, 10, 20, None));
    assert_eq!(conflict(&table, 2, 10, 20, EXCLUSIVE), None);
    assert_eq!(conflict(&table, 2, 0, 20, SHARED), Some((1, 0, 10)));
    assert_eq!(conflict(&table, 2, 15, 21, SHARED), Some((1, 20, u64::MAX)));
    assert!(set(&table, 1, 10, 20, EXCLUSIVE));
    assert_eq!(conflict(&table, 2, 12, 13, SHARED), Some((1, 0, u64::MAX)));
}

#[test]
fn a_range_changes_its_kind_without_touching_its_neighbours() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, 30, EXCLUSIVE));
    assert!(set(&table, 1, 10, 20, SHARED));
    assert_eq!(conflict(&table, 2, 10, 20, SHARED), None);
    assert_eq!(conflict(&table, 2, 0, 30, SHARED), Some((1, 0, 10)));
    assert_eq!(conflict(&table, 2, 20, 21, SHARED), Some((1, 20, 30)));
}

#[test]
fn a_waiter_gets_the_lock_when_the_last_one_in_its_way_goes() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, 10, EXCLUSIVE));
    assert!(set(&table, 2, 10, 20, EXCLUSIVE));
    let mut ticket = queue(&table, INO, 3, 5, 15);
    assert!(set(&table, 1, 0, 10, None));
    assert_eq!(heard(&mut ticket), None);
    table.drop_owner(INO, LockSpace::Posix, LockOwner { door: 0, owner: 2 });
    assert_eq!(heard(&mut ticket), Some(Ok(())));
    assert_eq!(conflict(&table, 1, 0, 100, SHARED), Some((3, 5, 15)));
}

#[test]
fn a_circle_of_waiters_is_refused_and_a_chain_is_not() {
    let table = LockTable::default();
    let other = Ino(8);
    assert!(set(&table, 1, 0, 1, EXCLUSIVE));
    assert!(matches!(table.set(other, &request(2, 0, 1, EXCLUSIVE), false), Ok(Outcome::Done)));
    assert!(set(&table, 3, 1, 2, EXCLUSIVE));
    let _one = queue(&table, other, 1, 0, 1);
    let _three = queue(&table, INO, 3, 0, 1);
    let refused = table.set(INO, &request(2, 0, 1, EXCLUSIVE), true).err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::Deadlock));
}

#[test]
fn one_who_left_the_queue_gets_nothing() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, 10, EXCLUSIVE));
    let ticket = queue(&table, INO, 2, 0, 10);
    assert!(!table.leave(ticket.number), "it was still waiting");
    assert!(set(&table, 1, 0, 10, None));
    assert_eq!(conflict(&table, 3, 0, 10, EXCLUSIVE), None);
}

#[test]
fn flock_and_byte_ranges_do_not_see_each_other() {
    let table = LockTable::default();
    assert!(set(&table, 1, 0, u64::MAX, EXCLUSIVE));
    let flock = LockRequest { space: LockSpace::Flock, ..request(2, 0, u64::MAX, EXCLUSIVE) };
    assert!(matches!(table.set(INO, &flock, false), Ok(Outcome::Done)));
}

#[test]
fn the_ranges_of_one_file_are_bounded() {
    let table = LockTable::default();
    let refused =
        (0..100_000).map(|n| table.set(INO, &request(1, n * 2, n * 2 + 1, EXCLUSIVE), false)).find(Result::is_err);
    assert_eq!(refused.and_then(Result::err).map(|e| e.kind()), Some(ErrorKind::NoSpace));
    assert!(set(&table, 1, 0, u64::MAX, None), "unlocking all is always possible");
    assert!(set(&table, 1, 0, u64::MAX, EXCLUSIVE));
}

/// Owner 1 gets every second byte from 0 on, as far as there is room.
fn fill(table: &LockTable) {
    let full = (0..1000).any(|n| !set(table, 1, n * 2, n * 2 + 1, EXCLUSIVE));
    assert!(full, "the ranges of one file are bounded");
}

#[test]
fn an_unlock_that_would_split_a_range_needs_room_for_one_more() {
    let table = LockTable::bounded(100);
    assert!(set(&table, 1, 0, u64::MAX, EXCLUSIVE));
    let refused =
        (0..1000).map(|n| table.set(INO, &request(1, n * 2 + 1, n * 2 + 2, None), false)).find(Result::is_err);
    assert_eq!(refused.and_then(Result::err).map(|e| e.kind()), Some(ErrorKind::NoSpace));
    assert!(set(&table, 1, 1_000_000, u64::MAX, None), "the end of a range");
    assert!(!set(&table, 1, 500_000, 500_001, None));
    assert!(set(&table, 2, 500_000, 500_001, None), "nothing of its own is there");
    assert!(set(&table, 1, 0, 1, None), "a whole range");
    assert!(set(&table, 1, 500_000, 500_001, None), "now there is room");
    assert!(set(&table, 1, 0, u64::MAX, None));
    assert_eq!(conflict(&table, 2, 0, u64::MAX, EXCLUSIVE), None);
}

#[test]
fn one_whose_lock_becomes_free_where_there_is_no_room_for_it_hears_so() {
    let table = LockTable::bounded(100);
    let far = 10_000_000;
    assert!(set(&table, 2, far, far + 10, EXCLUSIVE));
    let mut tickets: Vec<Ticket> = (0..3).map(|n| queue(&table, INO, 3, far + n * 2, far + n * 2 + 1)).collect();
    fill(&table);
    assert!(set(&table, 2, far, far + 10, None));
    let no_room = Some(Err(ErrorKind::NoSpace));
    assert_eq!(tickets.iter_mut().map(heard).collect::<Vec<_>>(), [Some(Ok(())), no_room, no_room]);
    assert_eq!(conflict(&table, 2, far, far + 10, EXCLUSIVE), Some((3, far, far + 1)));
}

#[test]
fn a_lock_that_was_given_to_nobody_goes_back_also_where_that_splits_a_range() {
    let table = LockTable::bounded(100);
    let far = 10_000_000;
    for start in [far, far + 20] {
        assert!(set(&table, 3, start, start + 10, EXCLUSIVE));
    }
    assert!(set(&table, 2, far + 10, far + 20, EXCLUSIVE));
    let _ticket = queue(&table, INO, 3, far + 10, far + 20);
    assert!(set(&table, 2, far + 10, far + 20, None));
    fill(&table);
    assert!(!set(&table, 3, far + 10, far + 20, None), "there is no room");
    table.take_back(INO, &request(3, far + 10, far + 20, EXCLUSIVE));
    assert_eq!(conflict(&table, 2, far + 10, far + 20, EXCLUSIVE), None);
    assert_eq!(conflict(&table, 2, far, far + 30, EXCLUSIVE), Some((3, far, far + 10)));
}
