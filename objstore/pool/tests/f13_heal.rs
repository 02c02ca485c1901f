//! F13: a heal is done when every blob has all its shards, read back; then any m other drives may go.

mod support;

use objstore_base::{BlobId, BlobStore, ErrorKind};
use objstore_env::sim::{Effect, Fault, Ops, When};
use parking_lot::Mutex;
use support::{CELL, Site, check, check_whole, objects, pattern, store, subsets};

fn small() -> Vec<(BlobId, bytes::Bytes)> {
    objects().into_iter().filter(|(_, content)| content.len() < 1 << 20).collect()
}

#[test]
fn f13_a_replaced_drive_is_filled_and_others_may_go() {
    let objects = small();
    for replaced in 0..6 {
        let site = Site::new(4, 2, 6);
        let pool = site.create();
        store(&site, &pool, &objects);
        let dir = site.config.drives[replaced].clone();
        site.remove_tree(&dir);
        // Empty in one half, missing in the other.
        if replaced % 2 == 0 {
            site.disk().create_dir_all(&dir).expect("an empty directory");
        }
        let steps = Mutex::new(Vec::new());
        let report = site.world.run(pool.heal(|p| steps.lock().push(p.clone()))).expect("heal");
        assert!(report.is_complete() && report.shards_rebuilt == objects.len() as u64, "{report:?}");
        assert_eq!(report.drives_initialised, [dir.display().to_string()]);
        let last = steps.lock().last().cloned().expect("progress");
        assert_eq!((last.blobs_done, last.blobs_total), (objects.len() as u64, objects.len() as u64));
        check_whole(&site, &pool, &objects, "healed");
        let pool = site.reopen(pool);
        let others: Vec<usize> = (0..6).filter(|&slot| slot != replaced).collect();
        for pair in subsets(5, 2) {
            pair.iter().for_each(|&n| site.world.disk().vanish(&site.config.drives[others[n]]));
            check(&site, &pool, &objects, "two others are gone");
            site.world.disk().clear_faults();
        }
    }
}

#[test]
fn f13_a_write_that_does_not_stick_is_not_healed() {
    let objects = small();
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    store(&site, &pool, &objects);
    for path in site.shards(3) {
        site.remove(&path);
    }
    // The drive takes every shard and gives wrong bits back.
    let fault = site.world.disk().arm(Fault::new("/drives/3", Ops::READ, When::Always, Effect::FlipBit));
    let report = site.heal(&pool);
    assert_eq!(report.blobs_failed, objects.len() as u64, "{report:?}");
    assert!(!report.is_complete());
    assert!(site.world.disk().disarm(fault) > 0);
    let report = site.heal(&pool);
    assert!(report.is_complete(), "{report:?}");
    check_whole(&site, &pool, &objects, "the drive is honest again");
}

#[test]
fn f13_with_spare_drives_a_heal_does_not_wait_for_the_lost_one() {
    let objects = small();
    let site = Site::new(4, 2, 8);
    let pool = site.create();
    store(&site, &pool, &objects);
    // A foreign file stands where the drive was: it can be neither mounted nor made anew.
    site.remove_tree(&site.config.drives[0]);
    site.write(std::path::Path::new("/drives/0"), b"not a directory");
    let report = site.heal(&pool);
    assert_eq!((report.blobs_failed, report.drives_away.len()), (0, 1), "{report:?}");
    check_whole(&site, &pool, &objects, "on the other seven");
}

#[test]
fn f13_puts_and_deletes_go_on_during_a_heal() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let objects: Vec<_> = (0..60).map(|n| (BlobId::segment(n), pattern(n, 40_000))).collect();
    store(&site, &pool, &objects);
    for path in site.shards(2) {
        site.remove(&path);
    }
    let (kept, changed) = objects.split_at(30);
    let (deleted, replaced) = changed.split_at(15);
    let change = async {
        for (id, _) in deleted {
            pool.delete(*id).await.expect("delete");
        }
        for (id, _) in replaced {
            pool.put(*id, vec![pattern(id.number + 1000, 9000)]).await.expect("put");
        }
    };
    let (report, ()) = site.world.run(futures::future::join(pool.heal(|_| {}), change));
    let report = report.expect("heal");
    assert!(report.is_complete(), "{report:?}");
    check_whole(&site, &pool, kept, "healed meanwhile");
    let replaced: Vec<_> = replaced.iter().map(|(id, _)| (*id, pattern(id.number + 1000, 9000))).collect();
    check(&site, &pool, &replaced, "replaced meanwhile");
    check_whole(&site, &pool, &replaced, "replaced meanwhile");
    for (id, _) in deleted {
        assert_eq!(support::kind(site.get(&pool, *id, 0)), ErrorKind::NotFound);
        assert!((0..6).all(|slot| site.shards_of(slot, *id).is_empty()), "{id} came back");
    }
}

/// A heal holds the missing shards of a few blobs, not the pool.
#[test]
fn f13_a_heal_needs_no_more_room_than_configured() {
    let mut site = Site::new(4, 2, 6);
    site.config.in_flight_bytes_max = 4 * CELL as u64;
    let pool = site.create();
    let objects: Vec<_> = (0..8).map(|n| (BlobId::segment(n), pattern(n, 10 * CELL))).collect();
    let puts = objects.iter().map(|(id, content)| pool.put(*id, vec![content.clone()]));
    site.world.run(futures::future::join_all(puts)).into_iter().for_each(|put| put.expect("put"));
    for path in [site.shards(0), site.shards(5)].concat() {
        site.remove(&path);
    }
    let report = site.heal(&pool);
    assert!(report.is_complete() && report.shards_rebuilt == 16, "{report:?}");
    check_whole(&site, &pool, &objects, "healed");
}
