//! F6: the pool is away and the cache fills up. Writers are slowed, then wait, then get NoSpace; reads and deletes work;
//! once the pool is back everything that was accepted is there. 64 MiB of cache and 1 GiB of writes are scaled down by
//! sixteen: 4 MiB and 64 MiB.

mod files;

use std::time::Duration;

use files::{bytes, check, create, read, store, unlink, write};
use objstore_base::ErrorKind;
use objstore_env::Clock;
use objstore_env::sim::Survival;
use tests_sim::SimStore;

const DIRTY_BYTES_MAX: u64 = 4 << 20;
const WRITTEN_BYTES: u64 = 64 << 20;
const FILE_BYTES: usize = 128 << 10;

fn full_store() -> (SimStore, Vec<(String, Vec<u8>)>) {
    let store = store(6, |settings| {
        settings.segment_bytes = 512 << 10;
        settings.dirty_bytes_max = DIRTY_BYTES_MAX;
        settings.cache_bytes_max = 1 << 20;
        settings.upload_delay = Duration::from_secs(1);
    });
    for drive in 0..6 {
        store.disk().vanish(format!("/drives/{drive}"));
    }
    let mut kept = Vec::new();
    for number in 0..WRITTEN_BYTES / FILE_BYTES as u64 {
        let (name, content) = (format!("file {number}"), bytes(number, FILE_BYTES));
        let begun = store.world().clock().monotonic();
        let written = create(&store, &name).and_then(|ino| write(&store, ino, 0, &content, Duration::from_secs(30)));
        match written {
            Ok(_) => kept.push((name, content)),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::NoSpace, "{e}");
                let waited = store.world().clock().monotonic() - begun;
                assert!(waited >= Duration::from_secs(29) && waited < Duration::from_secs(70), "{waited:?}");
                break;
            }
        }
        let dirty = store.engine().status().dirty_bytes;
        assert!(dirty <= DIRTY_BYTES_MAX + (512 << 10), "dirty data has a cap: {dirty}");
    }
    let accepted = kept.len() * FILE_BYTES;
    assert!(accepted as u64 > DIRTY_BYTES_MAX / 2 && (accepted as u64) < 2 * DIRTY_BYTES_MAX, "{accepted} accepted");
    (store, kept)
}

fn bring_back(store: &SimStore) {
    for drive in 0..6 {
        store.disk().reappear(format!("/drives/{drive}"));
    }
}

fn all_there(store: &SimStore, kept: &[(String, Vec<u8>)]) {
    for (name, content) in kept {
        assert_eq!(read(store, name).unwrap().as_deref(), Some(&content[..]), "{name}");
    }
    check(store);
}

#[test]
fn f06_a_full_cache_slows_writers_and_loses_nothing() {
    let (store, mut kept) = full_store();
    // Reads and deletes work on a full cache.
    let (name, content) = kept.remove(0);
    assert_eq!(read(&store, &name).unwrap().as_deref(), Some(&content[..]));
    unlink(&store, &name).unwrap();
    assert_eq!(read(&store, &name).unwrap(), None);
    bring_back(&store);
    store.world().pass(Duration::from_secs(120));
    // And writing goes on, sixteen times the cache in all.
    for number in 1000..1000 + WRITTEN_BYTES / FILE_BYTES as u64 {
        let (name, content) = (format!("file {number}"), bytes(number, FILE_BYTES));
        let ino = create(&store, &name).unwrap();
        write(&store, ino, 0, &content, Duration::from_secs(30)).unwrap_or_else(|e| panic!("{name}: {e}"));
        kept.push((name, content));
    }
    all_there(&store, &kept);
    store.world().run(store.engine().flush()).unwrap();
    assert_eq!(store.engine().status().dirty_bytes, 0);
    all_there(&store, &kept);
}

#[test]
fn f06_a_full_cache_survives_a_crash_and_a_restart() {
    let (mut store, kept) = full_store();
    store.world().run(fs_api::Vfs::sync(&**store.engine(), &files::root())).unwrap();
    bring_back(&store);
    store.crash(Survival::Nothing).unwrap();
    all_there(&store, &kept);
    store.world().run(store.engine().flush()).unwrap();
    store.restart().unwrap();
    all_there(&store, &kept);
}
