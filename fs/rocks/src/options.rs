//! Every option that differs from RocksDB's default, with its reason.

use fs_meta::Column;
use objstore_base::Result;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options};

use crate::{RocksConfig, counter};

/// RocksDB has no setter for these in its Rust binding, but reads them from a string:
/// - `avoid_flush_during_shutdown`: closing must not flush what no `begin_flush` stamped; it is replayed instead.
/// - `max_bgerror_resume_count=0`: resuming after an error flushes everything, stamped or not; the store fails instead.
const FROM_TEXT: &str = "avoid_flush_during_shutdown=true;max_bgerror_resume_count=0";

/// A write that sums the operands of a counter may read its value from disk: once per counter and memtable, since the
/// sum then stands in the memtable. Without this it looks in memory only, gives up where the value lies in a table that
/// is not cached, and does so at every further write, after a walk over all the operands that pile up.
const FAMILY_FROM_TEXT: &str = "strict_max_successive_merges=true";

/// Blocks of 8 KiB hold about 60 inode records: half the index of 4 KiB blocks, and a miss still reads little.
const BLOCK_BYTES: usize = 8 << 10;
/// Ten bits per key let 1 % of the lookups of absent keys through.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Operands of one counter that may pile up in the memtable before a write sums them. Unbounded, a counter that was added
/// to 150,000 times since the flush takes 6 ms to read (`examples/measure.rs`); with 4 it is 0.3 us, and writes cost
/// nothing more that could be measured.
const SUCCESSIVE_MERGES_MAX: usize = 4;

pub(crate) fn database(config: &RocksConfig) -> Result<Options, rocksdb::Error> {
    let mut options = Options::default().get_options_from_string(FROM_TEXT)?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // All columns go to disk together, or a crash would show names without inodes.
    options.set_atomic_flush(true);
    // Verify what is read back while compacting and opening, and stop at the first thing that does not fit.
    options.set_paranoid_checks(true);
    options.set_max_open_files(config.open_files_max.into());
    options.set_max_background_jobs(config.background_jobs.into());
    // Written files trickle to the disk in steps of 1 MiB, so that a commit of the journal on the same disk does not
    // queue behind a whole table.
    options.set_bytes_per_sync(1 << 20);
    // The limits that make RocksDB flush on its own account (I3 would not survive it): no common limit of memtables,
    // and none of WAL bytes, of which there are none.
    options.set_db_write_buffer_size(0);
    options.set_max_total_wal_size(u64::MAX);
    // The manifest is replayed at open; RocksDB starts a new one at this size.
    options.set_max_manifest_file_size(16 << 20);
    options.set_skip_stats_update_on_db_open(true);
    // No statistics threads: idle means idle.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Its log holds warnings and errors; errors also come back from the calls.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(1 << 20);
    Ok(options)
}

/// One descriptor per column, and the one of the stamp, which is RocksDB's own `default`.
pub(crate) fn columns(config: &RocksConfig) -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let cache = Cache::new_lru_cache(config.block_cache_bytes);
    let names = Column::ALL.into_iter().map(|column| (column.name(), bloom(column), successive_merges_max(column)));
    names
        .chain([(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, Bloom::No, 0)])
        .map(|(name, bloom, merges)| Ok(ColumnFamilyDescriptor::new(name, family(config, &cache, bloom, merges)?)))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bloom {
    Yes,
    No,
}

/// Columns that are asked for single keys that are often absent. The others are scanned.
const fn bloom(column: Column) -> Bloom {
    match column {
        Column::Inode | Column::Dentry | Column::FrameRef | Column::Forward | Column::Xattr | Column::Orphan => {
            Bloom::Yes
        }
        Column::DentryOrder | Column::Extent | Column::Segment | Column::System => Bloom::No,
    }
}

/// Few counters with many operands; the others have many counters with few, and a write need not count them.
const fn successive_merges_max(column: Column) -> usize {
    match column {
        Column::Segment | Column::System => SUCCESSIVE_MERGES_MAX,
        _ => 0,
    }
}

fn family(config: &RocksConfig, cache: &Cache, bloom: Bloom, merges: usize) -> Result<Options, rocksdb::Error> {
    let mut options = Options::default().get_options_from_string(FAMILY_FROM_TEXT)?;
    options.set_merge_operator_associative(counter::NAME, counter::add);
    options.set_max_successive_merges(merges);
    options.set_write_buffer_size(config.write_buffer_bytes_max);
    // A column that hardly changes still takes a whole arena block per memtable.
    options.set_arena_block_size(256 << 10);
    // `begin_flush` must never wait for the flush before it: room for seven frozen states.
    options.set_max_write_buffer_number(8);
    // An atomic flush adds a small table to every column, so 4 of them (the default) come quickly; 8 halve the
    // rewriting of the next level. Writers are slowed down only where compaction has fallen far behind.
    options.set_level_zero_file_num_compaction_trigger(8);
    options.set_level_zero_slowdown_writes_trigger(40);
    options.set_level_zero_stop_writes_trigger(80);
    // Cheap to write above, small at the bottom, where nine tenths of the bytes lie.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_block_based_table_factory(&table(cache, bloom));
    Ok(options)
}

fn table(cache: &Cache, bloom: Bloom) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    // Inside the cache they count against its limit; outside they grow with the store.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if bloom == Bloom::Yes {
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        table.set_whole_key_filtering(true);
    }
    table
}
