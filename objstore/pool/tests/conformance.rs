//! The pool keeps the contract of a blob store: the shared suite on several codes, whole and degraded.

mod support;

use objstore_base::conformance;
use support::Site;

#[test]
fn the_pool_keeps_the_contract() {
    for (k, m, drives) in [(1, 0, 1), (1, 1, 2), (2, 1, 3), (4, 2, 6), (4, 2, 9), (16, 4, 20)] {
        let site = Site::new(k, m, drives);
        let pool = site.create();
        site.world.run(conformance::blob_store(&pool));
        let report = site.heal(&pool);
        assert!(report.is_complete() && report.shards_rebuilt == 0, "{k}+{m} on {drives}: {report:?}");
    }
}

#[test]
fn the_pool_keeps_the_contract_with_a_drive_gone() {
    for (k, m, drives) in [(4, 2, 6), (4, 2, 7), (6, 3, 9)] {
        let site = Site::new(k, m, drives);
        let pool = site.create();
        site.world.disk().vanish("/drives/1");
        site.world.run(conformance::blob_store(&pool));
    }
}
