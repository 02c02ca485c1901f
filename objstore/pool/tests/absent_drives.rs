//! What happens while a drive is away must hold when it comes back: deletions stay, old shards do not serve.

mod support;

use objstore_base::{BlobClass, BlobId, BlobStore, ErrorKind};
use support::{CELL, Site, check, check_whole, kind, pattern, store};

#[test]
fn a_blob_deleted_while_a_drive_was_away_stays_deleted() {
    let site = Site::new(4, 2, 6);
    let mut pool = site.create();
    let (gone, kept) = (BlobId::segment(1), BlobId::segment(2));
    let objects = [(gone, pattern(1, CELL)), (kept, pattern(2, CELL))];
    store(&site, &pool, &objects);
    for slot in [0, 3] {
        site.world.disk().vanish(&site.config.drives[slot]);
    }
    site.world.run(pool.delete(gone)).expect("delete");
    assert_eq!(site.world.run(pool.status()).pending_deletions, 1);
    site.world.disk().clear_faults();
    pool = site.reopen(pool);
    assert_eq!(
        site.shards_of(0, gone).len() + site.shards_of(3, gone).len(),
        2,
        "two shards came back with their drives"
    );
    assert_eq!(kind(site.get(&pool, gone, 0)), ErrorKind::NotFound);
    assert_eq!(kind(site.world.run(pool.stat(gone))), ErrorKind::NotFound);
    assert_eq!(site.world.run(pool.list(BlobClass::Segment, None, 10)).expect("list"), [kept]);
    let report = site.heal(&pool);
    assert!(report.is_complete() && report.shards_removed == 2, "{report:?}");
    assert!((0..6).all(|slot| site.shards_of(slot, gone).is_empty()));
    check_whole(&site, &pool, &objects[1..], "the other one");
}

#[test]
fn a_blob_put_again_after_such_a_deletion_is_the_new_one() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let id = BlobId::segment(1);
    store(&site, &pool, &[(id, pattern(1, CELL))]);
    site.world.disk().vanish("/drives/0");
    site.world.run(pool.delete(id)).expect("delete");
    let new = [(id, pattern(2, 3 * CELL + 5))];
    store(&site, &pool, &new);
    site.world.disk().clear_faults();
    let pool = site.reopen(pool);
    check(&site, &pool, &new, "put again");
    let report = site.heal(&pool);
    assert!(report.is_complete() && report.shards_removed == 1 && report.shards_moved == 1, "{report:?}");
    check_whole(&site, &pool, &new, "put again");
}

#[test]
fn shards_of_an_earlier_put_never_serve() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let id = BlobId::segment(1);
    store(&site, &pool, &[(id, pattern(1, 2 * CELL))]);
    site.world.disk().vanish("/drives/5");
    let new = [(id, pattern(2, 2 * CELL))];
    store(&site, &pool, &new);
    site.world.disk().clear_faults();
    let lose = |slot: usize| site.shards_of(slot, id).iter().for_each(|path| site.remove(path));
    // The old shard is back beside six new ones on five drives, and one of these is lost: still the new bytes.
    lose(2);
    let pool = site.reopen(pool);
    check(&site, &pool, &new, "new");
    // Two more lost leave three shards at most: damage, and not the old bytes.
    lose(1);
    lose(0);
    let before = site.shards_of(5, id);
    assert_eq!(before.len(), 1);
    let pool = site.reopen(pool);
    check(&site, &pool, &[], "open");
    let got = site.get(&pool, id, 2 * CELL);
    assert_eq!(kind(got), ErrorKind::Damaged);
}

#[test]
fn a_pool_opened_without_a_drive_heals_it_when_it_is_back() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let old: Vec<_> = (0..5).map(|n| (BlobId::segment(n), pattern(n, CELL))).collect();
    store(&site, &pool, &old);
    site.world.disk().vanish("/drives/4");
    let pool = site.reopen(pool);
    let new: Vec<_> = (5..9).map(|n| (BlobId::segment(n), pattern(n, CELL))).collect();
    store(&site, &pool, &new);
    site.world.disk().clear_faults();
    let report = site.heal(&pool);
    assert!(report.is_complete() && report.drives_initialised.is_empty(), "{report:?}");
    assert_eq!((report.shards_rebuilt, report.shards_moved), (0, 4), "only what had to lie beside others");
    check_whole(&site, &pool, &old, "old");
    check_whole(&site, &pool, &new, "new");
}
