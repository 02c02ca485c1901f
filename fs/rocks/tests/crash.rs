//! Dropping a store without a flush is what a crash does to it: there is no log. Whatever goes on at that moment, the
//! next open finds exactly the last finished flush.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fs_meta::{Batch, Column, Direction, MetaRead, MetaStore};
use fs_rocks::{RocksConfig, RocksStore};

const WRITERS: u64 = 3;

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, &RocksConfig { block_cache_bytes: 1 << 20, ..RocksConfig::default() }).unwrap()
}

fn key(writer: u64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&writer.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Change `number` of a writer: a key in two columns, one older key gone, one count more. So the state after its first
/// `n` changes is known.
fn change(writer: u64, number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(Column::Inode, &key(writer, number), &[number as u8; 100]);
    batch.put(Column::Dentry, &key(writer, number), &number.to_le_bytes());
    if number >= 10 {
        batch.delete(Column::Inode, &key(writer, number - 10));
    }
    batch.add(Column::Segment, &writer.to_be_bytes(), 1);
    batch.add(Column::System, b"changes", 1);
    batch.put(Column::Orphan, &writer.to_be_bytes(), &(number + 1).to_le_bytes());
    batch
}

fn number_of(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

/// Checks that all columns show the same number of changes of each writer, and gives the numbers.
fn changes(store: &dyn MetaRead) -> Vec<u64> {
    let done: Vec<u64> =
        (0..WRITERS).map(|writer| number_of(store.get(Column::Orphan, &writer.to_be_bytes()).unwrap())).collect();
    let mut found = BTreeMap::<(u64, Column), u64>::new();
    for column in [Column::Inode, Column::Dentry] {
        store
            .scan(column, b"".as_slice()..&[255; 17], Direction::Forward, &mut |key, _| {
                let writer = u64::from_be_bytes(key[..8].try_into().unwrap());
                *found.entry((writer, column)).or_default() += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    for (writer, done) in (0..WRITERS).zip(&done) {
        let count = |column| found.get(&(writer, column)).copied().unwrap_or_default();
        assert_eq!(count(Column::Dentry), *done, "names of writer {writer}");
        assert_eq!(count(Column::Inode), (*done).min(10), "inodes of writer {writer}");
        assert_eq!(number_of(store.get(Column::Segment, &writer.to_be_bytes()).unwrap()), *done);
    }
    assert_eq!(number_of(store.get(Column::System, b"changes").unwrap()), done.iter().sum::<u64>());
    done
}

/// Rounds of writing with flushes in between, each ended by a crash: between flushes, after a freeze, or during the
/// flush behind it.
#[test]
fn after_a_crash_the_state_is_the_last_finished_flush() {
    let folder = tempfile::tempdir().unwrap();
    let mut durable = vec![0; WRITERS as usize];
    let mut lsn = 0;
    for round in 0..12u64 {
        let store = open(folder.path());
        assert_eq!(store.flushed_lsn(), lsn, "round {round}");
        assert_eq!(changes(&store), durable, "round {round}");
        let mut done = durable.clone();
        let write = |done: &mut Vec<u64>| {
            for (writer, done) in (0..WRITERS).zip(done) {
                for _ in 0..20 + round * 10 {
                    store.apply(&change(writer, *done)).unwrap();
                    *done += 1;
                }
            }
        };
        for _ in 0..round % 3 {
            write(&mut done);
            lsn += 1;
            store.begin_flush(lsn).unwrap();
            let frozen = done.clone();
            write(&mut done);
            assert_eq!(changes(&store), done, "what is frozen is still seen");
            store.finish_flush().unwrap();
            durable = frozen;
        }
        write(&mut done);
        if round % 4 == 3 {
            // Frozen, and dropped: the flush behind it may still win the race, with all columns or none.
            store.begin_flush(lsn + 1).unwrap();
            let frozen = done.clone();
            write(&mut done);
            drop(store);
            let store = open(folder.path());
            if store.flushed_lsn() == lsn + 1 {
                lsn += 1;
                durable = frozen;
            }
            assert_eq!(changes(&store), durable, "round {round}");
        }
    }
    assert!(lsn > 8);
}

/// Writers never stop but for the freeze itself, readers look at snapshots, and every flush is a state of one moment.
#[test]
fn flushes_under_load_are_states_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let gate = parking_lot::RwLock::new(());
    let counts: [AtomicU64; WRITERS as usize] = Default::default();
    let stop = AtomicBool::new(false);
    let mut frozen = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, gate, counts, stop) = (&store, &gate, &counts, &stop);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let _shared = gate.read();
                    store.apply(&change(writer, number)).unwrap();
                    counts[writer as usize].store(number + 1, Ordering::Release);
                }
            });
        }
        for lsn in 1..=8 {
            while counts.iter().any(|count| count.load(Ordering::Acquire) < lsn * 150) {
                std::thread::yield_now();
            }
            {
                let _alone = gate.write();
                store.begin_flush(lsn).unwrap();
                frozen = counts.iter().map(|count| count.load(Ordering::Acquire)).collect();
            }
            changes(&*store.snapshot().unwrap());
            assert_eq!(store.finish_flush().unwrap(), lsn);
        }
        stop.store(true, Ordering::Release);
    });
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.flushed_lsn(), 8);
    assert_eq!(changes(&store), frozen);
}

/// What the engine lets run up before a flush is far below where RocksDB would flush on its own: no table appears.
#[test]
fn nothing_is_flushed_before_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut batch = Batch::new();
    for number in 0..1000u64 {
        batch.put(Column::Dentry, &number.to_be_bytes(), &[0xa5; 1000]);
    }
    while store.unflushed_bytes() < 80 << 20 {
        store.apply(&batch).unwrap();
    }
    let tables = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".sst")).count()
    };
    assert_eq!(tables(), 0);
    store.begin_flush(1).unwrap();
    store.finish_flush().unwrap();
    assert!(tables() > 0);
}
