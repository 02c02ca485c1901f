//! Counters stay quick to add to and to read, wherever their value lies.

#![allow(clippy::disallowed_methods)]

use fs_meta::{Batch, Column, MetaRead, MetaStore};
use fs_rocks::{RocksConfig, RocksStore};
use rocksdb::perf::{PerfContext, PerfStatsLevel, set_perf_stats};

const COUNTER: &[u8] = b"counter";

fn add(store: &RocksStore, times: u64) {
    let mut batch = Batch::new();
    batch.add(Column::System, COUNTER, 1);
    (0..times).for_each(|_| store.apply(&batch).unwrap());
}

/// Operands that point lookups of this thread summed, in RocksDB's report; the binding names no such metric.
fn operands_summed(report: &str) -> u64 {
    let (_, rest) = report.split_once("internal_merge_point_lookup_count = ").unwrap_or(("", "0"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// A counter whose value lies in a table that nobody has read yet used to pile up operands, and each further write walked
/// over all of them: making files became slower with every file.
#[test]
fn a_counter_does_not_pile_up_operands_when_its_value_is_on_disk_only() {
    let folder = tempfile::tempdir().unwrap();
    let open = || RocksStore::open(folder.path().join("index"), &RocksConfig::default()).unwrap();
    let store = open();
    add(&store, 3);
    store.begin_flush(1).unwrap();
    store.finish_flush().unwrap();
    drop(store);

    let store = open();
    add(&store, 1000);
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut perf = PerfContext::default();
    perf.reset();
    let value = store.get(Column::System, COUNTER).unwrap().unwrap();
    let operands = operands_summed(&perf.report(true));
    assert_eq!(value, 1003_i64.to_le_bytes());
    assert!(operands <= 8, "{operands} operands had to be summed for one read");
}
