//! Power cuts in the middle of a put, a second put, a delete and a creation: afterwards a blob is one put or the
//! other, whole, and everything can be repeated.

mod support;

use objstore_base::{BlobId, BlobStore, ErrorKind};
use objstore_env::sim::Survival;
use objstore_pool::Pool;
use support::{Site, check_whole, kind, pattern, seed};

/// Changes on disk after which the power goes; a put of 4+2 makes about 50.
fn cuts() -> impl Iterator<Item = (u64, Survival)> {
    let step = if std::env::var("TIDEGATE_DEEP").is_ok() { 1 } else { 3 };
    (0..90).step_by(step).flat_map(|cut| Survival::ALL.map(|survival| (cut, survival)))
}

fn crash(site: &mut Site, survival: Survival) {
    site.world.crash(survival);
}

#[test]
fn a_put_cut_short_leaves_the_old_put_or_the_new_one() {
    let first = seed(40);
    let id = BlobId::segment(5);
    let (old, new) = (pattern(1, 200_000), pattern(2, 150_001));
    let mut seen = (0, 0);
    for (n, (cut, survival)) in cuts().enumerate() {
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        site.put(&pool, id, &old).expect("put");
        site.world.run(pool.stop());
        site.world.disk().settle();
        site.world.disk().power_off_after(cut);
        let acknowledged = site.put(&pool, id, &new).is_ok();
        drop(pool);
        crash(&mut site, survival);
        let pool = site.open();
        let len = site.world.run(pool.stat(id)).unwrap_or_else(|e| panic!("cut {cut}, {survival:?}: {e}")).len as usize;
        let got = site.get(&pool, id, len).unwrap_or_else(|e| panic!("cut {cut}, {survival:?}: {e}"));
        assert!(got == new || (got == old && !acknowledged), "cut {cut}, {survival:?}, acknowledged {acknowledged}");
        if got == new {
            seen.1 += 1
        } else {
            seen.0 += 1
        }
        let content = got;
        let report = site.heal(&pool);
        assert!(report.is_complete(), "cut {cut}, {survival:?}: {report:?}");
        check_whole(&site, &pool, &[(id, content)], "healed");
        assert!((0..6).all(|slot| site.shards_of(slot, id).len() == 1), "cut {cut}: one put is left");
    }
    assert!(seen.0 > 0 && seen.1 > 0, "both outcomes were met: {seen:?}");
}

#[test]
fn a_first_put_cut_short_can_be_repeated() {
    let first = seed(41);
    let id = BlobId::segment(5);
    let content = pattern(2, 70_000);
    for (n, (cut, survival)) in cuts().enumerate() {
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        site.world.disk().settle();
        site.world.disk().power_off_after(cut);
        let acknowledged = site.put(&pool, id, &content).is_ok();
        drop(pool);
        crash(&mut site, survival);
        let pool = site.open();
        match site.get(&pool, id, content.len()) {
            Ok(got) => assert!(got == content, "cut {cut}, {survival:?}"),
            Err(e) => {
                assert!(!acknowledged, "cut {cut}, {survival:?}: {e}");
                assert!(matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Damaged), "{e}");
            }
        }
        site.put(&pool, id, &content).expect("again");
        site.world.run(pool.stop());
        check_whole(&site, &pool, &[(id, content.clone())], "put again");
    }
}

#[test]
fn a_deletion_cut_short_can_be_repeated() {
    let first = seed(42);
    let id = BlobId::segment(5);
    for (n, (cut, survival)) in cuts().take(80).enumerate() {
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        site.put(&pool, id, &pattern(1, 70_000)).expect("put");
        site.world.run(pool.stop());
        site.world.disk().settle();
        site.world.disk().power_off_after(cut);
        let acknowledged = site.world.run(pool.delete(id)).is_ok();
        drop(pool);
        crash(&mut site, survival);
        let pool = site.open();
        if acknowledged {
            assert_eq!(kind(site.get(&pool, id, 0)), ErrorKind::NotFound, "cut {cut}, {survival:?}");
        }
        site.world.run(pool.delete(id)).expect("again");
        assert_eq!(kind(site.get(&pool, id, 0)), ErrorKind::NotFound);
        assert!((0..6).all(|slot| site.shards(slot).is_empty()), "cut {cut}, {survival:?}");
    }
}

#[test]
fn a_creation_cut_short_can_be_repeated() {
    let first = seed(43);
    for (n, (cut, survival)) in cuts().enumerate() {
        let mut site = Site::with_seed(2, 1, 3, first + n as u64);
        site.world.disk().power_off_after(cut);
        drop(site.world.run(Pool::create(site.world.env(), site.config.clone())));
        crash(&mut site, survival);
        let pool = site.world.run(Pool::create(site.world.env(), site.config.clone()));
        let pool = pool.unwrap_or_else(|e| panic!("cut {cut}, {survival:?}: {e}"));
        site.put(&pool, BlobId::segment(1), &pattern(1, 1000)).expect("put");
    }
}
