//! F14: a slow or hanging drive: reads are hedged, puts return at the quorum, the drive is avoided.

mod support;

use std::time::Duration;

use objstore_base::{BlobId, BlobStore};
use objstore_env::Clock;
use objstore_env::sim::{Effect, Fault, Ops, When};
use objstore_pool::DriveState;
use support::{CELL, Site, check, check_whole, pattern, store};

const HANG: Duration = Duration::from_secs(40);

fn objects() -> Vec<(BlobId, bytes::Bytes)> {
    (0..12).map(|n| (BlobId::segment(n), pattern(n, 4 * CELL))).collect()
}

fn timed<T>(site: &Site, work: impl Future<Output = T>) -> (T, Duration) {
    let start = site.world.clock().monotonic();
    let done = site.world.run(work);
    (done, site.world.clock().monotonic() - start)
}

#[test]
fn f14_reads_do_not_wait_for_a_hanging_drive() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let objects = objects();
    store(&site, &pool, &objects);
    check(&site, &pool, &objects, "healthy");
    site.world.disk().arm(Fault::new("/drives/4", Ops::READ, When::Always, Effect::Delay(HANG)));
    let mut hedged = 0;
    for (id, content) in &objects {
        let (got, took) = timed(&site, pool.get(*id, 0..content.len() as u64));
        assert!(got.expect("get") == *content);
        assert!(took < Duration::from_millis(200), "{took:?}");
        hedged += usize::from(took >= Duration::from_millis(50));
    }
    let status = site.world.run(pool.status());
    assert!(hedged > 0 && status.hedged_reads == hedged as u64, "{hedged} of 12, {status:?}");
}

#[test]
fn f14_a_drive_that_is_always_late_is_not_asked_any_more() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let objects = objects();
    store(&site, &pool, &objects);
    check(&site, &pool, &objects, "healthy");
    site.world.disk().arm(Fault::new("/drives/4", Ops::READ, When::Always, Effect::Delay(Duration::from_secs(2))));
    while site.world.run(pool.status()).drives[4].state != DriveState::Suspect {
        check(&site, &pool, &objects, "late");
        assert!(site.world.run(pool.status()).hedged_reads < 100, "it is never suspected");
    }
    let before = site.world.run(pool.status()).hedged_reads;
    for (id, content) in &objects {
        let (got, took) = timed(&site, pool.get(*id, 0..content.len() as u64));
        assert!(got.expect("get") == *content && took < Duration::from_millis(10), "{took:?}");
    }
    assert_eq!(site.world.run(pool.status()).hedged_reads, before);
}

#[test]
fn f14_a_put_returns_at_the_quorum_and_the_straggler_lands() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let fault = site.world.disk().arm(Fault::new("/drives/1", Ops::SYNC, When::Always, Effect::Delay(HANG)));
    let object = (BlobId::segment(1), pattern(1, 3 * CELL));
    let (put, took) = timed(&site, pool.put(object.0, vec![object.1.clone()]));
    put.expect("put");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(site.world.run(pool.status()).missing_shards, 1, "the late shard is on the heal list");
    check(&site, &pool, std::slice::from_ref(&object), "at the quorum");
    let ((), took) = timed(&site, pool.stop());
    assert!(took > Duration::from_secs(30), "{took:?}");
    assert!(site.world.disk().disarm(fault) > 0);
    check_whole(&site, &pool, std::slice::from_ref(&object), "the straggler landed");
}

#[test]
fn f14_a_straggler_of_a_deleted_or_replaced_blob_leaves_nothing() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let (deleted, replaced) = (BlobId::segment(1), BlobId::segment(2));
    let fault = site.world.disk().arm(Fault::new("/drives/1", Ops::SYNC, When::Always, Effect::Delay(HANG)));
    for id in [deleted, replaced] {
        site.put(&pool, id, &pattern(id.number, 2 * CELL)).expect("put");
    }
    assert!(site.world.disk().disarm(fault) > 0);
    site.world.run(pool.delete(deleted)).expect("delete does not wait for the drive");
    site.put(&pool, replaced, &pattern(9, 100)).expect("put");
    site.world.run(pool.stop());
    assert!((0..6).all(|slot| site.shards_of(slot, deleted).is_empty()), "nothing is left of the deleted blob");
    let held: Vec<usize> = (0..6).map(|slot| site.shards_of(slot, replaced).len()).collect();
    assert_eq!((held.iter().sum::<usize>(), held[1]), (6, 0), "one put is left, and not on the late drive");
    assert!(site.world.run(pool.heal_listed()).expect("heal").is_complete());
    assert!((0..6).all(|slot| site.shards_of(slot, replaced).len() == 1), "one put is left of the replaced blob");
    check_whole(&site, &pool, &[(replaced, pattern(9, 100))], "replaced");
}

#[test]
fn f14_two_hanging_drives_delay_a_put_and_four_fail_it_within_its_deadline() {
    let forever = Duration::from_secs(3600);
    for hanging in [2, 4] {
        let site = Site::new(4, 2, 6);
        let pool = site.create();
        for slot in 0..hanging {
            let fault = Fault::new(&site.config.drives[slot], Ops::SYNC, When::Always, Effect::Delay(forever));
            site.world.disk().arm(fault);
        }
        let object = (BlobId::segment(1), pattern(1, CELL));
        let (put, took) = timed(&site, pool.put(object.0, vec![object.1.clone()]));
        let wanted = if hanging == 2 { Ok(()) } else { Err(objstore_base::ErrorKind::TimedOut) };
        assert_eq!(put.map_err(|e| e.kind()), wanted);
        assert!(took < Duration::from_secs(31), "{took:?}");
        if hanging == 2 {
            let (put, took) = timed(&site, pool.put(BlobId::segment(2), vec![object.1.clone()]));
            put.expect("put");
            assert!(took < Duration::from_secs(1), "they are known to hang: {took:?}");
            check(&site, &pool, std::slice::from_ref(&object), "on the other four");
        }
        site.world.run(pool.stop());
        let held = |slot| site.shards_of(slot, object.0).len();
        assert!((0..hanging).all(|slot| held(slot) == 0), "late shards of a try that failed are removed");
        assert_eq!((0..6).map(held).sum::<usize>(), if hanging == 2 { 6 } else { 0 });
    }
}

/// A drive that hangs on everything, for hours, from before the pool has seen any blob.
#[test]
fn f14_a_drive_that_hangs_on_every_call_holds_nothing_up() {
    let mut site = Site::new(4, 2, 6);
    site.config.in_flight_bytes_max = 16 * CELL as u64;
    let pool = site.create();
    let old = objects();
    store(&site, &pool, &old);
    let pool = site.reopen(pool);
    site.world.disk().arm(Fault::new("/drives/3", Ops::ALL, When::Always, Effect::Delay(Duration::from_secs(7200))));
    let new: Vec<_> = (100..150).map(|n| (BlobId::segment(n), pattern(n, 4 * CELL + 9))).collect();
    let everything = async {
        for (id, content) in &new {
            pool.put(*id, vec![content.clone()]).await.expect("put");
        }
        for (id, content) in old.iter().chain(&new) {
            assert!(pool.get(*id, 0..content.len() as u64).await.expect("get") == *content);
        }
        assert_eq!(pool.list(objstore_base::BlobClass::Segment, None, 100).await.expect("list").len(), 62);
        assert!(pool.capacity().await.expect("capacity").free > 0);
        pool.delete(old[0].0).await.expect("delete");
        assert!(pool.get(old[0].0, 0..1).await.is_err());
        pool.status().await
    };
    let (status, took) = timed(&site, everything);
    assert_eq!(status.drives[3].state, DriveState::Away);
    assert_eq!((status.missing_blobs, status.pending_deletions), (50, 1), "{status:?}");
    assert!(took < Duration::from_secs(60), "{took:?} for 50 puts, 62 gets, a list and a delete");
    site.world.disk().clear_faults();
    site.world.run(pool.stop());
    let pool = site.reopen(pool);
    let report = site.heal(&pool);
    assert!(report.is_complete(), "{report:?}");
    check_whole(&site, &pool, &old[1..], "old");
    check_whole(&site, &pool, &new, "new");
    assert!((0..6).all(|slot| site.shards_of(slot, old[0].0).is_empty()), "deleted");
}
