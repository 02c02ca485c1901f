//! The pool on the real disk, clock and threads: the contract, drives lost under it, a heal.

use bytes::Bytes;
use objstore_base::conformance::{self, pattern};
use objstore_base::{BlobId, BlobStore};
use objstore_env::Env;
use objstore_pool::{Pool, PoolConfig};
use objstore_shard::PoolUuid;

fn config(dir: &std::path::Path) -> PoolConfig {
    let drives = (0..6).map(|slot| dir.join(format!("drives/{slot}"))).collect();
    PoolConfig::new(PoolUuid([3; 16]), 4, 2, drives, dir.join("pool"))
}

fn on_this_machine<F: Future<Output = ()>>(test: impl FnOnce(Env, PoolConfig) -> F) {
    let dir = tempfile::tempdir().expect("directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let env = objstore_env::real::env(runtime.handle().clone()).expect("environment");
    runtime.block_on(test(env, config(dir.path())));
}

#[test]
fn the_pool_keeps_the_contract_on_the_real_disk() {
    on_this_machine(|env, config| async {
        let pool = Pool::create(env, config).await.expect("create");
        conformance::blob_store(&pool).await;
        pool.stop().await;
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
fn two_removed_directories_are_borne_and_healed() {
    on_this_machine(|env, config| async {
        let pool = Pool::create(env.clone(), config.clone()).await.expect("create");
        let objects: Vec<(BlobId, Bytes)> =
            (1..8).map(|n| (BlobId::segment(n), pattern(n, n as usize * 700_000))).collect();
        let puts = objects.iter().map(|(id, content)| pool.put(*id, vec![content.clone()]));
        futures::future::join_all(puts).await.into_iter().for_each(|put| put.expect("put"));
        for lost in [[0, 1], [2, 5]] {
            for slot in lost {
                std::fs::remove_dir_all(&config.drives[slot]).expect("remove");
            }
            for (id, content) in &objects {
                assert!(pool.get(*id, 0..content.len() as u64).await.expect("get") == *content, "{id}, lost {lost:?}");
            }
            let report = pool.heal(|_| {}).await.expect("heal");
            assert!(report.is_complete() && report.shards_rebuilt == 14, "{report:?}");
        }
        pool.stop().await;
        drop(pool);
        let pool = Pool::open(env, config).await.expect("open");
        for (id, content) in &objects {
            assert!(pool.describe(*id).await.expect("describe").is_whole(), "{id} of {}", content.len());
        }
    });
}
