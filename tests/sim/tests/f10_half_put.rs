//! F10 for a blob that no put was answered for: the machine dies while it uploads a segment, and the next one finds enough
//! shards to replay it. From then on it bears the loss of drives like any other.

mod files;

use std::time::Duration;

use files::{bytes, check, create, fsync, read, store, write};
use objstore_env::Clock;
use objstore_env::sim::Survival;
use tests_sim::{Loss, SimStore};

const DRIVES: usize = 6;
/// Changes of the disk from the start of an upload to its end, and more.
const CHANGES: u64 = 120;

/// A store with one file in the pool, and one that is being uploaded when the power goes `changes` later.
fn dies_uploading(changes: u64) -> SimStore {
    let store = store(10, |settings| settings.upload_delay = Duration::from_secs(3600));
    let put = |number| {
        let ino = create(&store, &format!("file {number}")).unwrap();
        write(&store, ino, 0, &bytes(number, 30_000), Duration::from_secs(1)).unwrap();
        fsync(&store, ino).unwrap();
    };
    put(0);
    store.world().run(store.engine().flush()).unwrap();
    put(1);
    store.disk().power_off_after(changes);
    let clock = store.world().clock();
    store.world().run(async {
        tokio::select! {
            biased;
            _ = store.engine().flush() => {}
            () = clock.sleep(Duration::from_secs(1)) => {}
        }
    });
    store
}

/// What is there, or why it cannot be read.
fn held(store: &SimStore) -> Vec<Result<Option<bool>, String>> {
    let of = |number| {
        let found = read(store, &format!("file {number}")).map_err(|e| e.to_string())?;
        Ok(found.map(|found| found == bytes(number, 30_000)))
    };
    (0..2).map(of).collect()
}

#[test]
fn f10_a_segment_that_was_put_by_half_bears_the_loss_of_drives_once_it_was_replayed() {
    let (mut with, mut without) = (0, 0);
    for changes in 0..CHANGES {
        let mut store = dies_uploading(changes);
        store.lose(Loss::Machine, Survival::Nothing).unwrap();
        let found = held(&store);
        assert_eq!(found[0], Ok(Some(true)), "{changes} changes");
        match &found[1] {
            Ok(Some(true)) => with += 1,
            Ok(None) => without += 1,
            other => panic!("{changes} changes: {other:?}"),
        }
        check(&store);
        let first = changes as usize % DRIVES;
        for drive in [first, (first + 1 + changes as usize / DRIVES % (DRIVES - 1)) % DRIVES] {
            store.disk().vanish(format!("/drives/{drive}"));
        }
        store.lose(Loss::Machine, Survival::Nothing).unwrap();
        assert_eq!(held(&store), found, "{changes} changes, with two drives away");
        check(&store);
    }
    assert!(with > 10 && without > 10, "{with} with it, {without} without");
}
