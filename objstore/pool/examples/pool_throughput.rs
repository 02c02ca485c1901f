//! Measures a pool on local drives: `cargo run -p objstore-pool --example pool_throughput [dir] [blobs] [blob MiB]`.
//!
//! 4+2 over six folders of `dir` (default: the temporary directory). GB/s of user data through put (synced at the
//! quorum), whole-blob get, get of 256 KiB ranges, and get with two drives' shards removed; from the page cache.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock and plays the operator")]

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use objstore_base::conformance::pattern;
use objstore_base::{BlobId, BlobStore};
use objstore_pool::{Pool, PoolConfig};
use objstore_shard::PoolUuid;

const RANGE: u64 = 256 << 10;
const IN_FLIGHT: usize = 2;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let blobs = arguments.next().map_or(8, |text| text.parse::<u64>().expect("a number of blobs"));
    let blob_len = arguments.next().map_or(64, |text| text.parse::<u64>().expect("MiB of a blob")) << 20;
    let dir = base.join(format!("tidegate-pool-{}", std::process::id()));
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let env = objstore_env::real::env(runtime.handle().clone()).expect("environment");
    let drives: Vec<PathBuf> = (0..6).map(|slot| dir.join(slot.to_string())).collect();
    let config = PoolConfig::new(PoolUuid([1; 16]), 4, 2, drives.clone(), dir.join("pool"));
    runtime.block_on(async {
        let pool = Pool::create(env, config).await.expect("create");
        let content: Bytes = pattern(1, blob_len as usize);
        let bytes = blobs * blob_len;
        let start = Instant::now();
        let puts = stream::iter(1..=blobs).map(|n| pool.put(BlobId::segment(n), vec![content.clone()]));
        puts.buffer_unordered(IN_FLIGHT).for_each(|put| async { put.expect("put") }).await;
        report("put", bytes, start);
        whole(&pool, "get whole", blobs, blob_len).await;
        let start = Instant::now();
        for n in 1..=blobs {
            let ranges = stream::iter((0..blob_len).step_by(RANGE as usize));
            let gets = ranges.map(|at| pool.get(BlobId::segment(n), at..(at + RANGE).min(blob_len)));
            gets.buffered(IN_FLIGHT).for_each(|got| async { drop(got.expect("get")) }).await;
        }
        report("get 256 KiB", bytes, start);
        for lost in &drives[..2] {
            std::fs::remove_dir_all(lost).expect("remove a drive");
        }
        whole(&pool, "get whole, two drives lost", blobs, blob_len).await;
        let start = Instant::now();
        let healed = pool.heal(|_| {}).await.expect("heal");
        assert!(healed.is_complete(), "{healed:?}");
        report("heal two drives", bytes, start);
    });
    std::fs::remove_dir_all(&dir).expect("clean up");
}

async fn whole(pool: &Pool, what: &str, blobs: u64, blob_len: u64) {
    let start = Instant::now();
    let gets = stream::iter(1..=blobs).map(|n| pool.get(BlobId::segment(n), 0..blob_len));
    gets.buffered(IN_FLIGHT).for_each(|got| async { drop(got.expect("get")) }).await;
    report(what, blobs * blob_len, start);
}

fn report(what: &str, bytes: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<28} {:6.2} GB/s ({seconds:.2} s)", bytes as f64 / seconds / 1e9);
}
