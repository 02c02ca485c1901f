//! F9: one drive fails in one of five ways: reads and writes go on, what is owed is durable, a heal pays it.

mod support;

use std::path::Path;

use objstore_base::{BlobId, BlobStore, ErrorKind};
use objstore_env::sim::{Effect, Fault, Ops, When};
use objstore_pool::{DriveState, Pool};
use support::{CELL, Site, check, check_whole, kind, objects, pattern, store};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    ReadEio,
    WriteEio,
    NoSpace,
    MissingDirectory,
    ReadOnly,
}

const FAILURES: [Failure; 5] =
    [Failure::ReadEio, Failure::WriteEio, Failure::NoSpace, Failure::MissingDirectory, Failure::ReadOnly];

fn strike(site: &Site, drive: &Path, failure: Failure) {
    let errno = |ops, code| Some(Fault::new(drive, ops, When::Always, Effect::Errno(code)));
    let fault = match failure {
        Failure::ReadEio => errno(Ops::READ | Ops::OPEN, EIO),
        Failure::WriteEio => errno(Ops::WRITE | Ops::SYNC, EIO),
        Failure::NoSpace => errno(Ops::WRITE | Ops::CREATE, ENOSPC),
        Failure::ReadOnly => Some(Fault::read_only(drive)),
        Failure::MissingDirectory => None,
    };
    match fault {
        Some(fault) => drop(site.world.disk().arm(fault)),
        None => site.world.disk().vanish(drive),
    }
}

fn case(slot: usize, failure: Failure) {
    let name = format!("drive {slot}, {failure:?}");
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let old: Vec<_> = objects().into_iter().filter(|(_, content)| content.len() < 3 * CELL).collect();
    store(&site, &pool, &old);
    strike(&site, &site.config.drives[slot], failure);
    check(&site, &pool, &old, &name);
    let new: Vec<_> = (0..6).map(|n| (BlobId::segment(100 + n), pattern(n, n as usize * CELL + 77))).collect();
    store(&site, &pool, &new);
    check(&site, &pool, &new, &name);
    let status = site.world.run(pool.status());
    let writes_fail = failure != Failure::ReadEio;
    assert_eq!(status.missing_shards > 0, writes_fail || !old.is_empty(), "{name}: {status:?}");
    if matches!(failure, Failure::ReadEio | Failure::WriteEio | Failure::ReadOnly) {
        assert_eq!(status.drives[slot].state, DriveState::Suspect, "{name}: {status:?}");
    }
    if writes_fail {
        assert!(status.missing_blobs >= new.len() as u64, "{name}: {status:?}");
    }
    let owed = status.missing_shards;

    // The debts survive a restart, and so does everything stored; then the drive works again and all is paid.
    let pool = restart(&site, pool, slot, failure);
    assert!(site.world.run(pool.status()).missing_shards >= owed, "{name}: the heal list is durable");
    check(&site, &pool, &old, &name);
    check(&site, &pool, &new, &name);
    site.world.disk().clear_faults();
    let report = site.heal(&pool);
    assert!(report.is_complete(), "{name}: {report:?}");
    check_whole(&site, &pool, &old, &name);
    check_whole(&site, &pool, &new, &name);
}

fn restart(site: &Site, pool: Pool, slot: usize, failure: Failure) -> Pool {
    let pool = site.reopen(pool);
    if failure == Failure::MissingDirectory {
        assert_eq!(site.world.run(pool.status()).drives[slot].state, DriveState::Away);
    }
    pool
}

#[test]
fn f09_each_drive_fails_in_each_way() {
    for slot in 0..6 {
        for failure in FAILURES {
            case(slot, failure);
        }
    }
}

#[test]
fn f09_a_suspect_drive_recovers_after_a_minute() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let fault = site.world.disk().arm(Fault::new("/drives/2", Ops::WRITE, When::Always, Effect::Errno(EIO)));
    for n in 0..3 {
        site.put(&pool, BlobId::segment(n), &pattern(n, 1000)).expect("five of six are enough");
    }
    assert_eq!(site.world.run(pool.status()).drives[2].state, DriveState::Suspect);
    assert!(site.world.disk().disarm(fault) >= 3);
    site.put(&pool, BlobId::segment(9), &pattern(9, 1000)).expect("put");
    assert_eq!(site.shards_of(2, BlobId::segment(9)).len(), 1, "a suspect drive is still written to");
    site.world.pass(std::time::Duration::from_secs(61));
    assert_eq!(site.world.run(pool.status()).drives[2].state, DriveState::Ok);
}

#[test]
fn f09_a_put_below_the_quorum_fails_and_leaves_nothing() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let (kept, refused) = (BlobId::segment(1), BlobId::segment(2));
    site.put(&pool, kept, &pattern(1, 5000)).expect("put");
    for slot in [0, 1, 3, 4] {
        site.world.disk().arm(Fault::new(&site.config.drives[slot], Ops::SYNC, When::Always, Effect::Errno(EIO)));
    }
    let error = site.put(&pool, refused, &pattern(2, 5000)).expect_err("two of six are too few");
    assert!(error.to_string().contains("2 of 6 shards are stored; the loss of one more drive must leave 4"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(kind(site.get(&pool, refused, 0)), ErrorKind::NotFound);
    assert!((0..6).all(|slot| site.shards_of(slot, refused).is_empty()), "written shards are taken back");
    assert_eq!(kind(site.put(&pool, kept, &pattern(3, 6000))), ErrorKind::Unavailable);
    assert_eq!(site.get(&pool, kept, 5000).expect("the old put still serves"), pattern(1, 5000));
    site.world.disk().clear_faults();
    site.put(&pool, refused, &pattern(2, 5000)).expect("the drives work again");
}

#[test]
fn f09_full_drives_give_no_space() {
    let site = Site::new(2, 1, 3);
    let pool = site.create();
    site.world.disk().mount("/drives", 1 << 20);
    let mut stored = Vec::new();
    let refused = (0..1000).find_map(|n| {
        let object = (BlobId::segment(n), pattern(n, 100_000));
        match site.put(&pool, object.0, &object.1) {
            Ok(()) => stored.push(object),
            Err(e) => return Some(e),
        }
        None
    });
    assert_eq!(refused.map(|e| e.kind()), Some(ErrorKind::NoSpace));
    assert!(stored.len() >= 4, "{} stored", stored.len());
    check(&site, &pool, &stored, "full");
    site.world.run(pool.delete(stored[0].0)).expect("deleting needs no room");
    assert!(site.world.run(pool.capacity()).expect("capacity").free < 200_000);
}

#[test]
fn f09_a_failing_drive_is_replaced_by_a_spare_at_once() {
    let site = Site::new(4, 2, 8);
    let pool = site.create();
    site.world.disk().arm(Fault::new("/drives/1", Ops::WRITE, When::Always, Effect::Errno(EIO)));
    let objects: Vec<_> = (0..20).map(|n| (BlobId::segment(n), pattern(n, 70_000))).collect();
    store(&site, &pool, &objects);
    check_whole(&site, &pool, &objects, "spares took the shards");
    assert!(site.shards(1).is_empty());
    assert!((0..8).filter(|&slot| slot != 1).all(|slot| !site.shards(slot).is_empty()), "all others are used");
}
