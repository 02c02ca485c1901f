//! What every [`MetaStore`] must do, as tests that each implementation runs.
//!
//! An implementation gives a [`Place`]: somewhere a store lives and can be opened again after the one before was
//! dropped without a flush, which is what a crash leaves. `fs_meta::conformance_tests!(new_place)` makes one test of
//! each check.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};

use objstore_base::Result;

use crate::{Batch, BatchOp, Column, Direction, MetaRead, MetaStore};

/// A disk, a folder, a map: where a store survives its process.
pub trait Place {
    /// Opens the store with the state of its last finished flush. The one opened before has been dropped.
    fn open(&self) -> Box<dyn MetaStore>;
}

/// Makes a `#[test]` of every check; the argument is a function that gives a fresh, empty [`Place`].
#[macro_export]
macro_rules! conformance_tests {
    ($new_place:expr) => {
        $crate::conformance_tests!(@each $new_place;
            gets_see_puts_and_deletes, columns_do_not_mix, keys_and_values_may_be_any_bytes,
            batch_operations_apply_in_order, an_empty_batch_changes_nothing, scans_keep_order_and_bounds,
            a_scan_stops_where_it_is_told, counters_add_up, counters_survive_flush_and_reopen,
            range_delete_spares_its_end, a_batch_is_seen_whole_or_not_at_all, a_snapshot_stays_as_it_was,
            a_crash_gives_back_the_last_flush, a_new_store_has_lsn_zero, what_comes_after_begin_is_not_flushed,
            flushes_of_the_same_state_are_allowed, unflushed_bytes_grow_and_reset, random_batches_match_a_map
        );
    };
    (@each $new_place:expr; $($name:ident),+) => {
        $(#[test]
        fn $name() {
            let place = $new_place();
            $crate::conformance::$name(&place);
        })+
    };
}

fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

fn apply(store: &dyn MetaStore, build: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    build(&mut batch);
    ok(store.apply(&batch));
}

fn flush(store: &dyn MetaStore, lsn: u64) {
    ok(store.begin_flush(lsn));
    assert_eq!(ok(store.finish_flush()), lsn);
    assert_eq!(store.flushed_lsn(), lsn);
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn entries<R: MetaRead + ?Sized>(store: &R, column: Column, range: Range<&[u8]>, direction: Direction) -> Entries {
    let mut found = Vec::new();
    ok(store.scan(column, range, direction, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    }));
    found
}

fn keys(store: &dyn MetaStore, range: Range<&[u8]>, direction: Direction) -> Vec<Vec<u8>> {
    entries(store, Column::Dentry, range, direction).into_iter().map(|(key, _)| key).collect()
}

fn counter<R: MetaRead + ?Sized>(store: &R, key: &[u8]) -> Option<i64> {
    let value = ok(store.get(Column::Segment, key))?;
    Some(i64::from_le_bytes(value.try_into().expect("a counter is 8 bytes")))
}

pub fn gets_see_puts_and_deletes(place: &dyn Place) {
    let store = place.open();
    assert_eq!(ok(store.get(Column::Inode, b"a")), None);
    apply(&*store, |b| b.put(Column::Inode, b"a", b"1"));
    assert_eq!(ok(store.get(Column::Inode, b"a")), Some(b"1".to_vec()));
    apply(&*store, |b| b.put(Column::Inode, b"a", b"2"));
    assert_eq!(ok(store.get(Column::Inode, b"a")), Some(b"2".to_vec()));
    assert_eq!(ok(store.get(Column::Inode, b"")), None);
    assert_eq!(ok(store.get(Column::Inode, b"aa")), None);
    apply(&*store, |b| b.delete(Column::Inode, b"a"));
    assert_eq!(ok(store.get(Column::Inode, b"a")), None);
    apply(&*store, |b| b.delete(Column::Inode, b"never there"));
}

pub fn columns_do_not_mix(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| {
        for column in Column::ALL {
            b.put(column, b"key", column.name().as_bytes());
        }
    });
    flush(&*store, 1);
    drop(store);
    let store = place.open();
    for column in Column::ALL {
        assert_eq!(ok(store.get(column, b"key")), Some(column.name().as_bytes().to_vec()));
        assert_eq!(entries(&*store, column, b"".as_slice()..b"z", Direction::Forward).len(), 1, "{}", column.name());
    }
}

pub fn keys_and_values_may_be_any_bytes(place: &dyn Place) {
    let store = place.open();
    let keys: Vec<Vec<u8>> =
        vec![vec![], vec![0], vec![0, 0], vec![0, 255], vec![255; 8], vec![255; 263], b"a\0b".to_vec()];
    let value_of = |key: &[u8]| key.iter().rev().copied().cycle().take(key.len() * 200).collect::<Vec<u8>>();
    apply(&*store, |b| keys.iter().for_each(|key| b.put(Column::Xattr, key, &value_of(key))));
    for _ in 0..2 {
        for key in &keys {
            assert_eq!(ok(store.get(Column::Xattr, key)), Some(value_of(key)), "{key:?}");
        }
        let found = entries(&*store, Column::Xattr, b"".as_slice()..&[255; 300], Direction::Forward);
        assert!(found.is_sorted() && found.len() == keys.len(), "{found:?}");
        flush(&*store, 1);
    }
}

pub fn batch_operations_apply_in_order(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| {
        b.put(Column::Dentry, b"a", b"first");
        b.put(Column::Dentry, b"a", b"second");
        b.put(Column::Dentry, b"b", b"gone");
        b.delete(Column::Dentry, b"b");
        b.put(Column::Dentry, b"c", b"gone");
        b.delete_range(Column::Dentry, b"c", b"d");
        b.put(Column::Dentry, b"c1", b"back");
        b.add(Column::Segment, b"n", 5);
        b.delete(Column::Segment, b"n");
        b.add(Column::Segment, b"n", 2);
    });
    assert_eq!(ok(store.get(Column::Dentry, b"a")), Some(b"second".to_vec()));
    assert_eq!(keys(&*store, b""..b"z", Direction::Forward), [b"a".to_vec(), b"c1".to_vec()]);
    assert_eq!(counter(&*store, b"n"), Some(2));
}

pub fn an_empty_batch_changes_nothing(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |_| ());
    assert!(keys(&*store, b""..&[255; 4], Direction::Forward).is_empty());
}

pub fn scans_keep_order_and_bounds(place: &dyn Place) {
    let store = place.open();
    let put = |names: &str| {
        apply(&*store, |b| names.bytes().for_each(|name| b.put(Column::Dentry, &[name], &[name])));
    };
    put("cafx");
    flush(&*store, 1);
    put("ebdy");
    apply(&*store, |b| {
        b.delete(Column::Dentry, b"x");
        b.delete(Column::Dentry, b"y");
    });
    let forward = |range: Range<&[u8]>| keys(&*store, range, Direction::Forward).concat();
    let backward = |range: Range<&[u8]>| keys(&*store, range, Direction::Backward).concat();
    assert_eq!(forward(b""..b"\xff"), b"abcdef");
    assert_eq!(backward(b""..b"\xff"), b"fedcba");
    assert_eq!(forward(b"b"..b"d"), b"bc");
    assert_eq!(backward(b"b"..b"d"), b"cb");
    assert_eq!(forward(b"b"..b"b\0"), b"b");
    assert_eq!(backward(b"b"..b"b\0"), b"b");
    assert_eq!(forward(b"a\0"..b"c"), b"b");
    assert_eq!(backward(b"a\0"..b"c\0"), b"cb");
    assert_eq!(forward(b"g"..b"z"), b"");
    assert_eq!(backward(b""..b"a"), b"");
    for (start, end) in [(b"c", b"c"), (b"d", b"b")] {
        assert_eq!(forward(start..end), b"", "an empty or upside-down range");
        assert_eq!(backward(start..end), b"");
    }
}

pub fn a_scan_stops_where_it_is_told(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| (0..100u8).for_each(|n| b.put(Column::Extent, &[n], &[n])));
    for (direction, want) in [(Direction::Forward, [10, 11, 12]), (Direction::Backward, [89, 88, 87])] {
        let mut found = Vec::new();
        ok(store.scan(Column::Extent, &[10]..&[90], direction, &mut |key, _| {
            found.extend_from_slice(key);
            if found.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }));
        assert_eq!(found, want);
    }
}

pub fn counters_add_up(place: &dyn Place) {
    let store = place.open();
    assert_eq!(counter(&*store, b"n"), None);
    for delta in [5, -7, 0, 1 << 40] {
        apply(&*store, |b| b.add(Column::Segment, b"n", delta));
    }
    assert_eq!(counter(&*store, b"n"), Some((1 << 40) - 2));
    for _ in 0..1000 {
        apply(&*store, |b| {
            b.add(Column::Segment, b"many", 3);
            b.add(Column::Segment, b"many", -1);
        });
    }
    assert_eq!(counter(&*store, b"many"), Some(2000));
    let found = entries(&*store, Column::Segment, b"".as_slice()..b"z", Direction::Backward);
    assert_eq!(
        found,
        [
            (b"n".to_vec(), ((1i64 << 40) - 2).to_le_bytes().to_vec()),
            (b"many".to_vec(), 2000i64.to_le_bytes().to_vec())
        ]
    );
    apply(&*store, |b| b.delete(Column::Segment, b"n"));
    assert_eq!(counter(&*store, b"n"), None);
    apply(&*store, |b| b.add(Column::Segment, b"n", 1));
    assert_eq!(counter(&*store, b"n"), Some(1), "a deleted counter starts again at nothing");
}

pub fn counters_survive_flush_and_reopen(place: &dyn Place) {
    for round in 1..=5 {
        let store = place.open();
        for _ in 0..10 {
            apply(&*store, |b| b.add(Column::System, b"total", round));
        }
        flush(&*store, round.unsigned_abs());
        apply(&*store, |b| b.add(Column::System, b"total", 1_000_000));
    }
    let store = place.open();
    assert_eq!(ok(store.get(Column::System, b"total")), Some(150i64.to_le_bytes().to_vec()));
}

pub fn range_delete_spares_its_end(place: &dyn Place) {
    let store = place.open();
    let fill = || apply(&*store, |b| (0..50u8).for_each(|n| b.put(Column::Dentry, &[n], b"")));
    let left = || keys(&*store, b""..b"\xff", Direction::Forward).concat();
    let cut = |start: u8, end: u8| apply(&*store, |b| b.delete_range(Column::Dentry, &[start], &[end]));
    fill();
    flush(&*store, 1);
    cut(10, 49);
    cut(5, 5);
    let want: Vec<u8> = (0..10).chain([49]).collect();
    assert_eq!(left(), want);
    flush(&*store, 2);
    assert_eq!(left(), want);
    fill();
    assert_eq!(left().len(), 50, "keys come back after a range delete");
    assert_eq!(ok(store.get(Column::Dentry, &[20])), Some(vec![]));
}

/// A reader never finds two keys that always change together at different values.
pub fn a_batch_is_seen_whole_or_not_at_all(place: &dyn Place) {
    let store = place.open();
    let store = &*store;
    let done = AtomicBool::new(false);
    let put = |n: u32| {
        apply(store, |b| {
            b.put(Column::Inode, b"left", &n.to_le_bytes());
            b.put(Column::Dentry, b"right", &n.to_le_bytes());
        });
    };
    put(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..2000).for_each(put);
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let view = ok(store.snapshot());
            assert_eq!(ok(view.get(Column::Inode, b"left")), ok(view.get(Column::Dentry, b"right")));
        }
    });
}

pub fn a_snapshot_stays_as_it_was(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| {
        b.put(Column::Inode, b"a", b"old");
        b.put(Column::Inode, b"b", b"old");
        b.add(Column::Segment, b"n", 1);
    });
    let view = ok(store.snapshot());
    apply(&*store, |b| {
        b.put(Column::Inode, b"a", b"new");
        b.delete(Column::Inode, b"b");
        b.put(Column::Inode, b"c", b"new");
        b.add(Column::Segment, b"n", 1);
    });
    flush(&*store, 1);
    apply(&*store, |b| b.delete_range(Column::Inode, b"a", b"z"));
    assert_eq!(ok(view.get(Column::Inode, b"a")), Some(b"old".to_vec()));
    assert_eq!(ok(view.get(Column::Inode, b"c")), None);
    assert_eq!(counter(&*view, b"n"), Some(1));
    let found = entries(&*view, Column::Inode, b"".as_slice()..b"z", Direction::Backward);
    assert_eq!(found, [(b"b".to_vec(), b"old".to_vec()), (b"a".to_vec(), b"old".to_vec())]);
    assert_eq!(counter(&*store, b"n"), Some(2));
    assert!(entries(&*store, Column::Inode, b"".as_slice()..b"z", Direction::Forward).is_empty());
}

pub fn a_crash_gives_back_the_last_flush(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| b.put(Column::Inode, b"a", b"1"));
    drop(store);
    let store = place.open();
    assert_eq!(ok(store.get(Column::Inode, b"a")), None, "nothing was flushed");
    apply(&*store, |b| b.put(Column::Inode, b"a", b"2"));
    flush(&*store, 7);
    apply(&*store, |b| {
        b.put(Column::Inode, b"a", b"3");
        b.put(Column::Dentry, b"b", b"3");
    });
    drop(store);
    let store = place.open();
    assert_eq!(store.flushed_lsn(), 7);
    assert_eq!(ok(store.get(Column::Inode, b"a")), Some(b"2".to_vec()));
    assert_eq!(ok(store.get(Column::Dentry, b"b")), None);
}

pub fn a_new_store_has_lsn_zero(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.flushed_lsn(), 0);
    assert_eq!(store.unflushed_bytes(), 0);
    assert_eq!(ok(store.finish_flush()), 0, "nothing was begun");
    flush(&*store, 3);
    drop(store);
    assert_eq!(place.open().flushed_lsn(), 3, "an empty state has its LSN too");
}

pub fn what_comes_after_begin_is_not_flushed(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| b.put(Column::Inode, b"before", b""));
    ok(store.begin_flush(4));
    apply(&*store, |b| {
        b.put(Column::Inode, b"after", b"");
        b.delete(Column::Inode, b"before");
    });
    assert_eq!(ok(store.get(Column::Inode, b"after")), Some(vec![]), "a frozen state hides nothing");
    assert_eq!(ok(store.get(Column::Inode, b"before")), None);
    assert_eq!(ok(store.finish_flush()), 4);
    drop(store);
    let store = place.open();
    assert_eq!(store.flushed_lsn(), 4);
    assert_eq!(ok(store.get(Column::Inode, b"before")), Some(vec![]));
    assert_eq!(ok(store.get(Column::Inode, b"after")), None);
}

pub fn flushes_of_the_same_state_are_allowed(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| b.put(Column::Inode, b"a", b"1"));
    for lsn in [2, 2, 5] {
        flush(&*store, lsn);
        assert_eq!(ok(store.finish_flush()), lsn);
    }
    ok(store.begin_flush(6));
    ok(store.begin_flush(7));
    assert_eq!(ok(store.finish_flush()), 7, "the later of two frozen states covers the earlier");
    drop(store);
    assert_eq!(place.open().flushed_lsn(), 7);
}

pub fn unflushed_bytes_grow_and_reset(place: &dyn Place) {
    let store = place.open();
    apply(&*store, |b| b.put(Column::Inode, b"a", &[7; 10_000]));
    assert!(store.unflushed_bytes() >= 10_000);
    ok(store.begin_flush(1));
    assert_eq!(store.unflushed_bytes(), 0);
    ok(store.finish_flush());
    apply(&*store, |b| b.delete(Column::Inode, b"a"));
    assert!((1..1000).contains(&store.unflushed_bytes()));
}

/// Random batches, flushes and crashes against a plain map.
pub fn random_batches_match_a_map(place: &dyn Place) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut store = place.open();
    let mut live = BTreeMap::new();
    let mut durable = live.clone();
    for lsn in 1..=300 {
        match chance.below(20) {
            0 => {
                flush(&*store, lsn);
                durable = live.clone();
            }
            1 => {
                drop(store);
                store = place.open();
                live = durable.clone();
            }
            _ => {
                let batch = random_batch(&mut chance);
                ok(store.apply(&batch));
                batch.ops().for_each(|op| apply_to_map(&mut live, ok(op)));
            }
        }
        for column in [Column::Dentry, Column::Segment] {
            let (start, end) = (chance.key(), chance.key());
            let mut want: Entries = live
                .iter()
                .filter(|((c, key), _)| *c == column && *key >= start && *key < end)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            assert_eq!(entries(&*store, column, &start..&end, Direction::Forward), want, "step {lsn}");
            want.reverse();
            assert_eq!(entries(&*store, column, &start..&end, Direction::Backward), want, "step {lsn}");
            assert_eq!(ok(store.get(column, &start)), live.get(&(column, start)).cloned(), "step {lsn}");
        }
    }
}

/// Counters live in `Segment`, everything else in `Dentry`, as the contract of [`Batch::add`] asks.
fn random_batch(chance: &mut Chance) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..chance.below(12) {
        let key = chance.key();
        match chance.below(8) {
            0 => batch.delete(Column::Dentry, &key),
            1 => batch.delete(Column::Segment, &key),
            2 => batch.delete_range(Column::Dentry, &key, &chance.key()),
            3..=4 => batch.add(Column::Segment, &key, i64::from_le_bytes(chance.next().to_le_bytes()) >> 20),
            _ => batch.put(Column::Dentry, &key, &chance.next().to_le_bytes()),
        }
    }
    batch
}

fn apply_to_map(map: &mut BTreeMap<(Column, Vec<u8>), Vec<u8>>, op: BatchOp<'_>) {
    match op {
        BatchOp::Put { column, key, value } => {
            map.insert((column, key.to_vec()), value.to_vec());
        }
        BatchOp::Delete { column, key } => {
            map.remove(&(column, key.to_vec()));
        }
        BatchOp::Add { column, key, delta } => {
            let value = map.entry((column, key.to_vec())).or_insert_with(|| vec![0; 8]);
            let old = i64::from_le_bytes(value.as_slice().try_into().expect("a counter is 8 bytes"));
            *value = old.wrapping_add(delta).to_le_bytes().to_vec();
        }
        BatchOp::DeleteRange { column, start, end } => {
            map.retain(|(c, key), _| *c != column || key.as_slice() < start || key.as_slice() >= end);
        }
    }
}

/// A fixed sequence of random-looking numbers (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Few enough keys that they meet.
    fn key(&mut self) -> Vec<u8> {
        let len = self.below(3);
        (0..len).map(|_| b'a' + self.below(5) as u8).collect()
    }
}
