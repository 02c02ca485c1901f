//! What one operation on the index costs: `cargo run -p fs-rocks --example measure [ENTRIES] [DIR]`.
//!
//! Level D0: in memory, no log; the flush is timed apart.

#![allow(clippy::disallowed_methods)]

use std::ops::ControlFlow;
use std::time::Instant;

use fs_meta::{Batch, Column, Direction, MetaRead, MetaStore};
use fs_rocks::{RocksConfig, RocksStore};

/// What the engine applies for a new file: an inode, a name in two orders, two counters.
fn create(number: u64) -> Batch {
    let mut batch = Batch::new();
    let name = [&1u64.to_be_bytes(), format!("file-{number:08}").as_bytes()].concat();
    batch.put(Column::Inode, &number.to_be_bytes(), &[7; 150]);
    batch.put(Column::Inode, &1u64.to_be_bytes(), &[7; 150]);
    batch.put(Column::Dentry, &name, &[7; 18]);
    batch.put(Column::DentryOrder, &[1u64.to_be_bytes(), number.to_be_bytes()].concat(), &[7; 24]);
    batch.add(Column::System, b"inodes", 1);
    batch.add(Column::Segment, &(number / 10_000).to_be_bytes(), 4096);
    batch
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let entries: u64 = arguments.next().map_or(200_000, |n| n.parse().expect("ENTRIES is a number"));
    let folder = tempfile::tempdir_in(arguments.next().unwrap_or_else(|| "/var/tmp".into())).expect("a folder");
    let store = RocksStore::open(folder.path(), &RocksConfig::default()).expect("a new store");
    let timed = |what: &str, count: u64, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        let took = start.elapsed();
        println!("{what:38} {:8.2} us each, {took:.2?} in all", took.as_secs_f64() * 1e6 / count as f64);
    };
    let number = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % entries + 2;

    timed("build a create batch", entries, &mut || {
        let bytes: usize = (0..entries).map(|i| create(i + 2).as_bytes().len()).sum();
        assert!(bytes > 0);
    });
    timed("build and apply a create batch", entries, &mut || {
        (0..entries).for_each(|i| store.apply(&create(i + 2)).expect("applied"));
    });
    println!("{:38} {} MiB", "unflushed", store.unflushed_bytes() >> 20);
    let reads = |what: &str| {
        timed(&format!("get an inode, {what}"), entries, &mut || {
            (0..entries)
                .for_each(|i| assert!(store.get(Column::Inode, &number(i).to_be_bytes()).expect("read").is_some()));
        });
        timed(&format!("get an absent name, {what}"), entries, &mut || {
            (0..entries).for_each(|i| {
                let name = [&1u64.to_be_bytes(), format!("nofile-{i:08}").as_bytes()].concat();
                assert!(store.get(Column::Dentry, &name).expect("read").is_none());
            });
        });
        timed(&format!("get a counter, {what}"), 10_000, &mut || {
            (0..10_000).for_each(|_| assert!(store.get(Column::System, b"inodes").expect("read").is_some()));
        });
        timed(&format!("scan a directory, {what}"), entries, &mut || {
            let mut seen = 0;
            let (from, to) = (1u64.to_be_bytes(), 2u64.to_be_bytes());
            store
                .scan(Column::DentryOrder, &from..&to, Direction::Forward, &mut |_, _| {
                    seen += 1;
                    ControlFlow::Continue(())
                })
                .expect("scanned");
            assert_eq!(seen, entries);
        });
        timed(&format!("scan for one entry, {what}"), entries / 10, &mut || {
            for i in 0..entries / 10 {
                let from = [1u64.to_be_bytes(), number(i).to_be_bytes()].concat();
                store
                    .scan(Column::DentryOrder, &from..&2u64.to_be_bytes(), Direction::Forward, &mut |_, _| {
                        ControlFlow::Break(())
                    })
                    .expect("scanned");
            }
        });
    };
    reads("in memory");
    timed("begin a flush", 1, &mut || store.begin_flush(1).expect("begun"));
    timed("finish a flush", 1, &mut || assert_eq!(store.finish_flush().expect("finished"), 1));
    reads("on disk");
}
