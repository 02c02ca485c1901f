//! F3: the index is far behind a long log, and the program dies while it replays it, again and again; then while it
//! uploads what it replayed. Nothing of it may be lost, doubled or mixed up, here or in the pool.

mod files;

use std::time::Duration;

use files::{bytes, check, create, store, unlink, write};
use fs_api::{NewNode, ROOT_INO, RenameMode, Vfs};
use objstore_base::{ErrorKind, Result};
use objstore_env::Clock;
use objstore_env::sim::{Effect, Fault, Ops, Survival, When};
use tests_model::compare::{Depth, Tree, difference, dump};
use tests_sim::{Loss, SimStore};

const EIO: i32 = 5;
const FILES: u64 = 400;
/// More than a start or an upload makes.
const CHANGES: u64 = 4000;

/// A store with a log of thousands of records, all durable, of which neither index nor pool has any.
fn long_log() -> (SimStore, Tree) {
    let store = store(3, |settings| {
        settings.segment_bytes = 512 << 10;
        settings.cache_bytes_max = 64 << 20;
        settings.dirty_bytes_max = 256 << 20;
        settings.gather_bytes_max = 16 << 10;
        settings.upload_delay = Duration::from_secs(3600);
        settings.index_unflushed_bytes_max = 64 << 20;
    });
    let patience = Duration::from_secs(1);
    for number in 0..FILES {
        let name = format!("file {number}");
        let ino = create(&store, &name).unwrap();
        for part in 0..4 {
            write(&store, ino, part * 1500, &bytes(number * 4 + part, 4000), patience).unwrap();
        }
        let (engine, cx) = (store.engine(), files::root());
        let (old, new) = (name.as_bytes(), format!("kept {number}"));
        store.world().run(async {
            engine
                .make(&cx, ROOT_INO, format!("folder {number}").as_bytes(), NewNode::Directory, 0o755, 0)
                .await
                .unwrap();
            engine.rename(&cx, ROOT_INO, old, ROOT_INO, new.as_bytes(), RenameMode::Replace).await.unwrap();
        });
        if number % 3 == 0 {
            unlink(&store, &new).unwrap();
        }
    }
    store.world().run(store.engine().sync(&files::root())).unwrap();
    let status = store.engine().status();
    assert!(status.journal_last_lsn > 1500 && status.index_flushed_lsn == 0, "{status:?}");
    assert!(store.engine().journal().segments().len() > 2, "a log of several segments");
    let tree = tree(&store).unwrap();
    (store, tree)
}

fn tree(store: &SimStore) -> Result<Tree> {
    store.world().run(dump(&**store.engine() as &dyn Vfs, &files::root(), Depth::default()))
}

fn same(store: &SimStore, expected: &Tree, when: &str) {
    let found = tree(store).unwrap_or_else(|e| panic!("{when}: {e}"));
    let different = difference(expected, &found);
    assert!(different.is_empty(), "{when}, written (left) and found (right) differ:\n{different}");
    check(store);
}

/// Everything goes to the pool, and is read from there alone: by this machine, and by the next.
fn all_in_the_pool(store: &mut SimStore, expected: &Tree) {
    store.world().run(store.engine().flush()).unwrap();
    store.world().run(store.engine().drop_local_copies()).unwrap();
    same(store, expected, "from the pool");
    store.lose(Loss::Machine, Survival::Nothing).unwrap();
    same(store, expected, "on another machine");
}

/// Gives whether it was done before the power went.
fn flush_until_the_power_goes(store: &SimStore) -> bool {
    let clock = store.world().clock();
    let dead = async {
        while !store.disk().is_off() {
            clock.sleep(Duration::from_millis(10)).await;
        }
    };
    store.world().run(async {
        tokio::select! {
            biased;
            done = store.engine().flush() => done.is_ok(),
            () = dead => false,
        }
    })
}

#[test]
fn f03_a_long_replay_that_is_cut_short_again_and_again_loses_nothing() {
    let (mut store, expected) = long_log();
    for changes in 0..40 {
        store.crash_while_starting(Survival::ALL[changes as usize % 4], changes);
    }
    store.crash(Survival::Nothing).unwrap();
    same(&store, &expected, "after forty starts");
    all_in_the_pool(&mut store, &expected);
}

#[test]
fn f03_a_replay_that_the_disk_fails_anywhere_says_so_and_the_next_one_is_whole() {
    let (mut store, expected) = long_log();
    let mut failed = 0;
    for nth in 1.. {
        let fault = store.disk().arm(Fault::new("/journal", Ops::READ, When::Nth(nth), Effect::Errno(EIO)));
        let started = store.crash(Survival::Nothing);
        if store.disk().disarm(fault) == 0 {
            started.unwrap();
            break;
        }
        failed += 1;
        match started {
            // Met behind the replay: a worker tries again.
            Ok(()) => same(&store, &expected, &format!("after read {nth} failed")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
        }
    }
    assert!(failed > 5, "{failed} reads");
    same(&store, &expected, "in the end");
    all_in_the_pool(&mut store, &expected);
}

#[test]
fn f03_a_flush_of_what_was_just_replayed_may_be_cut_short_anywhere() {
    let (mut store, expected) = long_log();
    let mut cuts = 0;
    for step in 0.. {
        let survival = Survival::ALL[step as usize % 4];
        store.crash(survival).unwrap();
        assert!(store.engine().status().index_flushed_lsn == 0 || step > 0, "the index is far behind");
        store.disk().power_off_after(step * step);
        let done = flush_until_the_power_goes(&store);
        store.disk().spare();
        if done && !store.disk().is_off() {
            break;
        }
        cuts += 1;
        assert!(step * step < CHANGES, "the flush never ends");
        store.crash(survival).unwrap();
        same(&store, &expected, &format!("after cut {step} ({survival:?})"));
    }
    assert!(cuts > 8, "{cuts} cuts");
    same(&store, &expected, "in the end");
    all_in_the_pool(&mut store, &expected);
}
