//! Power cuts while shards are written beside others, moved to drives of their own, or deleted: afterwards a blob is one
//! put or the other, whole, and a heal or a deletion leaves nothing behind.

mod support;

use bytes::Bytes;
use objstore_base::{BlobId, BlobStore, ErrorKind};
use objstore_env::sim::Survival;
use objstore_pool::Pool;
use support::{Site, check, check_whole, kind, pattern, seed};

const ID: BlobId = BlobId::segment(5);
const AWAY: [usize; 2] = [1, 4];

/// Changes on disk after which the power goes; a put on four drives makes about 60, a heal of it about 40.
fn cuts(changes: u64) -> impl Iterator<Item = (u64, Survival)> {
    let step = if std::env::var("TIDEGATE_DEEP").is_ok() { 1 } else { 3 };
    (0..changes).step_by(step).flat_map(|cut| Survival::ALL.map(|survival| (cut, survival)))
}

fn vanish(site: &Site) {
    AWAY.iter().for_each(|&slot| site.world.disk().vanish(&site.config.drives[slot]));
}

/// The machine starts again, with all drives.
fn restart(site: &mut Site, pool: Pool, survival: Survival) -> Pool {
    drop(pool);
    site.world.crash(survival);
    site.world.disk().clear_faults();
    site.open()
}

/// Healed, the blob has one shard on each drive; deleted, none.
fn check_heal_and_deletion(site: &Site, pool: &Pool, content: Bytes, case: &str) {
    let report = site.heal(pool);
    assert!(report.is_complete(), "{case}: {report:?}");
    let object = [(ID, content)];
    check(site, pool, &object, case);
    check_whole(site, pool, &object, case);
    assert!((0..6).all(|slot| site.shards_of(slot, ID).len() == 1), "{case}: one shard on each drive");
    site.world.run(pool.delete(ID)).expect("delete");
    assert!((0..6).all(|slot| site.shards(slot).is_empty()), "{case}: deleted");
}

#[test]
fn a_put_on_four_drives_cut_short_leaves_the_old_put_or_the_new_one() {
    let first = seed(140);
    let (old, new) = (pattern(1, 200_000), pattern(2, 150_001));
    let mut seen = (0, 0);
    for (n, (cut, survival)) in cuts(110).enumerate() {
        let case = format!("cut {cut}, {survival:?}");
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        site.put(&pool, ID, &old).expect("put");
        site.world.run(pool.stop());
        site.world.disk().settle();
        vanish(&site);
        site.world.disk().power_off_after(cut);
        let acknowledged = site.put(&pool, ID, &new).is_ok();
        let pool = restart(&mut site, pool, survival);
        let len = site.world.run(pool.stat(ID)).unwrap_or_else(|e| panic!("{case}: {e}")).len as usize;
        let got = site.get(&pool, ID, len).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert!(got == new || (got == old && !acknowledged), "{case}, acknowledged {acknowledged}");
        if got == new {
            seen.1 += 1
        } else {
            seen.0 += 1
        }
        check_heal_and_deletion(&site, &pool, got, &case);
    }
    assert!(seen.0 > 0 && seen.1 > 0, "both outcomes were met: {seen:?}");
}

#[test]
fn a_first_put_on_four_drives_cut_short_can_be_repeated_there() {
    let first = seed(141);
    let content = pattern(2, 70_000);
    for (n, (cut, survival)) in cuts(90).enumerate() {
        let case = format!("cut {cut}, {survival:?}");
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        site.world.disk().settle();
        vanish(&site);
        site.world.disk().power_off_after(cut);
        let acknowledged = site.put(&pool, ID, &content).is_ok();
        drop(pool);
        site.world.crash(survival);
        vanish(&site);
        let pool = site.open();
        match site.get(&pool, ID, content.len()) {
            Ok(got) => assert!(got == content, "{case}"),
            Err(e) => {
                assert!(!acknowledged, "{case}: {e}");
                assert!(matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Damaged), "{case}: {e}");
            }
        }
        site.put(&pool, ID, &content).expect("again");
        site.world.run(pool.stop());
        check(&site, &pool, &[(ID, content.clone())], &case);
        site.world.disk().clear_faults();
        check_heal_and_deletion(&site, &pool, content.clone(), &case);
    }
}

#[test]
fn a_heal_that_moves_shards_can_be_cut_short_and_repeated() {
    let first = seed(142);
    let content = pattern(3, 150_001);
    for (n, (cut, survival)) in cuts(60).enumerate() {
        let case = format!("cut {cut}, {survival:?}");
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        vanish(&site);
        site.put(&pool, ID, &content).expect("put");
        site.world.run(pool.stop());
        site.world.disk().clear_faults();
        site.world.disk().settle();
        site.world.disk().power_off_after(cut);
        drop(site.world.run(pool.heal(|_| {})));
        let pool = restart(&mut site, pool, survival);
        // Whatever was moved or not, what a put promises holds.
        for slot in 0..6 {
            site.world.disk().vanish(&site.config.drives[slot]);
            check(&site, &pool, &[(ID, content.clone())], &format!("{case}, without {slot}"));
            site.world.disk().clear_faults();
        }
        check_heal_and_deletion(&site, &pool, content.clone(), &case);
    }
}

#[test]
fn a_deletion_of_displaced_shards_cut_short_can_be_repeated() {
    let first = seed(143);
    for (n, (cut, survival)) in cuts(40).enumerate() {
        let case = format!("cut {cut}, {survival:?}");
        let mut site = Site::with_seed(4, 2, 6, first + n as u64);
        let pool = site.create();
        vanish(&site);
        site.put(&pool, ID, &pattern(1, 70_000)).expect("put");
        site.world.run(pool.stop());
        // Drives that hold shards are away now, the others are back.
        site.world.disk().clear_faults();
        site.world.disk().settle();
        [0, 5].iter().for_each(|&slot: &usize| site.world.disk().vanish(&site.config.drives[slot]));
        site.world.disk().power_off_after(cut);
        let acknowledged = site.world.run(pool.delete(ID)).is_ok();
        let pool = restart(&mut site, pool, survival);
        if acknowledged {
            assert_eq!(kind(site.get(&pool, ID, 0)), ErrorKind::NotFound, "{case}");
            site.heal(&pool);
        } else {
            site.world.run(pool.delete(ID)).expect("again");
        }
        assert_eq!(kind(site.get(&pool, ID, 0)), ErrorKind::NotFound, "{case}");
        assert!((0..6).all(|slot| site.shards(slot).is_empty()), "{case}");
    }
}
