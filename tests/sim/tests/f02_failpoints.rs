//! F2: the program dies at each named place, whole histories around it; what it leaves is a prefix like after any other
//! crash. A place that no history reaches fails the test.

use std::collections::BTreeMap;

use tests_sim::History;

const STEPS: usize = 80;
const SEEDS_MAX: u64 = 60;
/// Deaths per place.
const DEATHS: u64 = 3;

/// Every place in the crates below the doors, but those of repairs that only a failed sync reaches (F5 does).
const PLACES: &[&str] = &[
    "engine.checkpoint.manifest",
    "engine.checkpoint.part",
    "engine.checkpoint.prune",
    "engine.compact.delete",
    "engine.compact.deleted",
    "engine.compact.move",
    "engine.gather.store",
    "engine.names.bury",
    "engine.orphans.free",
    "engine.quota.count",
    "heal_log.write",
    "journal.payload.after",
    "journal.payload.before",
    "journal.prepare",
    "journal.recover.cut",
    "journal.recover.header",
    "journal.recover.rewrite",
    "journal.retire",
    "journal.retire.sync",
    "journal.roll",
    "journal.seal.header",
    "journal.seal.table",
    "journal.sync.after",
    "journal.sync.before",
    "journal.upload.after",
    "journal.upload.before",
    "shard.rename",
    "shard.sync",
    "shard.sync_dir",
    "shard.write",
    "writeback.build",
    "writeback.mark.after",
    "writeback.mark.before",
    "writeback.put.after",
    "writeback.put.before",
    "writeback.retire",
    "writeback.seal",
];

/// Passed only where a sync failed, where files are very large, or with a read cache on disk: tested in their crates.
const ELSEWHERE: &[&str] = &["engine.trim.step", "journal.repair", "journal.repair.rename", "readcache.write"];

#[test]
fn f02_every_failpoint_that_is_passed_is_known() {
    for seed in 0..40 {
        for place in History::places(seed, STEPS) {
            assert!(PLACES.contains(&place) || ELSEWHERE.contains(&place), "{place} is not in the list");
        }
    }
}

#[test]
fn f02_death_at_every_failpoint_leaves_a_prefix() {
    let mut deaths: BTreeMap<&str, u64> = BTreeMap::new();
    for place in PLACES {
        let died = deaths.entry(place).or_default();
        for seed in 0..SEEDS_MAX {
            if *died >= DEATHS {
                break;
            }
            *died += u64::from(History::run_dying_at(seed, STEPS, place, 1 + seed % 5));
        }
    }
    let never: Vec<_> = deaths.iter().filter(|(_, deaths)| **deaths == 0).collect();
    assert!(never.is_empty(), "no history dies at {never:?}");
}
