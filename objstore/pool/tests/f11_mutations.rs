//! F11: a shard that lies (flipped, cut, swapped, stale, zeroed, misdirected) is as bad as a missing one: found by its
//! checksum, read around, counted, healed.

mod support;

use std::path::PathBuf;

use objstore_base::{BlobId, BlobStore};
use support::{CELL, Site, check, check_whole, objects, pattern, store};

#[derive(Clone, Copy, Debug)]
enum Mutation {
    FlipBody,
    FlipHeader,
    Truncate,
    Zero,
    /// The shard of the same index of another blob.
    Swap,
    /// The same shard of an earlier put of the blob.
    Stale,
}

const MUTATIONS: [Mutation; 6] =
    [Mutation::FlipBody, Mutation::FlipHeader, Mutation::Truncate, Mutation::Zero, Mutation::Swap, Mutation::Stale];

/// The bytes a shard has after the mutation; `stale` and `foreign` are whole shard files.
fn mutate(mutation: Mutation, good: &[u8], stale: &[u8], foreign: &[u8], chance: usize) -> Vec<u8> {
    let mut bad = good.to_vec();
    match mutation {
        Mutation::FlipBody => {
            let body = 4096.min(good.len() - 1)..good.len();
            bad[body.start + chance % body.len()] ^= 1 << (chance % 8);
        }
        Mutation::FlipHeader => bad[chance % 120] ^= 1 << (chance % 8),
        Mutation::Truncate => bad.truncate(chance % good.len()),
        Mutation::Zero => bad.fill(0),
        Mutation::Swap => bad = foreign.to_vec(),
        Mutation::Stale => bad = stale.to_vec(),
    }
    bad
}

fn only<T>(mut all: Vec<T>) -> T {
    assert_eq!(all.len(), 1, "one shard of a blob per drive");
    all.remove(0)
}

#[test]
fn f11_every_mutation_of_every_shard_is_found_and_healed() {
    let objects = objects();
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    // An earlier put of the same ids with other bytes of the same lengths gives the stale shards.
    let old: Vec<_> = objects.iter().map(|(id, content)| (*id, pattern(id.number + 500, content.len()))).collect();
    store(&site, &pool, &old);
    let stale: Vec<Vec<Vec<u8>>> = (0..6)
        .map(|slot| objects.iter().map(|(id, _)| site.read(&only(site.shards_of(slot, *id)))).collect())
        .collect();
    store(&site, &pool, &objects);
    let mut cases = 0;
    for mutation in MUTATIONS {
        for (slot, stale) in stale.iter().enumerate() {
            let case = format!("{mutation:?} on drive {slot}");
            let paths: Vec<PathBuf> = objects.iter().map(|(id, _)| only(site.shards_of(slot, *id))).collect();
            let good: Vec<Vec<u8>> = paths.iter().map(|path| site.read(path)).collect();
            for (n, path) in paths.iter().enumerate() {
                let foreign = &good[(n + 1) % good.len()];
                let bad = mutate(mutation, &good[n], &stale[n], foreign, n * 7919 + slot * 104_729);
                assert!(bad != good[n], "{case}, object {n}");
                site.write(path, &bad);
                cases += 1;
            }
            check(&site, &pool, &objects, &case);
            for (id, _) in &objects {
                let found = site.world.run(pool.verify(*id)).expect("verify");
                assert_eq!(
                    found.shards.iter().filter(|s| s.state == objstore_pool::ShardState::Corrupt).count(),
                    1,
                    "{case} {found:?}"
                );
            }
            let status = site.world.run(pool.status());
            assert!(status.corrupt_units >= 20 && status.missing_shards == 20, "{case}: {status:?}");
            let report = site.world.run(pool.heal_listed()).expect("heal");
            assert!(report.is_complete() && report.shards_rebuilt == 20, "{case}: {report:?}");
            check_whole(&site, &pool, &objects, &case);
            for (path, good) in paths.iter().zip(&good) {
                assert!(site.read(path) == *good, "{case}: the same bytes are back");
            }
        }
    }
    assert_eq!(cases, 720);
}

#[test]
fn f11_a_corrupt_shard_is_counted_and_listed_by_the_read_that_meets_it() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let object = (BlobId::segment(1), pattern(1, 4 * CELL));
    store(&site, &pool, std::slice::from_ref(&object));
    let path =
        (0..6).flat_map(|slot| site.shards_of(slot, object.0)).find(|p| site.header(p).identity().name.index == 2);
    let path = path.expect("shard 2 is somewhere");
    site.world.disk().flip(&path, 8 * 5000).expect("flip");
    // The other cells do not touch it.
    assert_eq!(site.world.run(pool.get(object.0, 0..100)).expect("get"), object.1.slice(..100));
    assert_eq!(site.world.run(pool.status()).corrupt_units, 0);
    let third = 2 * CELL..2 * CELL + 100;
    let got = site.world.run(pool.get(object.0, third.start as u64..third.end as u64)).expect("get");
    assert_eq!(got, object.1.slice(third));
    site.world.run(pool.stop());
    let status = site.world.run(pool.status());
    assert_eq!((status.corrupt_units, status.reconstructed_reads, status.missing_shards), (1, 1, 1));
    let pool = site.reopen(pool);
    assert_eq!(site.world.run(pool.status()).missing_shards, 1, "the finding survives a restart");
}

/// Every bit of a header page and, with a unit of a shard in the deep run, every bit of 64 KiB.
#[test]
fn f11_no_flipped_bit_goes_unseen() {
    let site = Site::new(2, 1, 3);
    let pool = site.create();
    let object = (BlobId::segment(1), pattern(1, 1000));
    store(&site, &pool, std::slice::from_ref(&object));
    let path = only(site.shards(1));
    let bits = site.read(&path).len() as u64 * 8;
    let step = if std::env::var("TIDEGATE_DEEP").is_ok() { 1 } else { 11 };
    for bit in (0..bits).step_by(step) {
        site.world.disk().flip(&path, bit).expect("flip");
        let found = site.world.run(pool.describe(object.0)).expect("describe");
        assert!(!found.is_whole() && found.is_readable(), "bit {bit} is not seen: {found:?}");
        if bit % 97 == 0 {
            assert_eq!(site.get(&pool, object.0, 1000).expect("get"), object.1, "bit {bit}");
        }
        site.world.disk().flip(&path, bit).expect("flip back");
    }
}

#[test]
fn f11_what_a_read_finds_broken_is_repaired_without_being_asked() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    pool_starts(&site, &pool);
    let objects: Vec<_> = (0..10).map(|n| (BlobId::segment(n), pattern(n, 3 * CELL))).collect();
    for (id, content) in &objects {
        site.put(&pool, *id, content).expect("put");
    }
    for path in site.shards(2) {
        let file = site.read(&path);
        site.write(&path, &file[..file.len() - 1]);
    }
    check(&site, &pool, &objects, "cut shards");
    site.world.pass(std::time::Duration::from_secs(1));
    let found = site.world.run(pool.status()).missing_blobs;
    assert!(found > 0, "reads met some of the shards");
    site.world.pass(std::time::Duration::from_secs(31));
    let status = site.world.run(pool.status());
    assert_eq!(status.missing_blobs, 0, "{status:?}");
    let whole = |id: &BlobId| site.world.run(pool.describe(*id)).expect("describe").is_whole();
    assert_eq!(objects.iter().filter(|(id, _)| whole(id)).count() as u64, found, "those that were met are whole");
    site.world.run(pool.stop());
}

fn pool_starts(site: &Site, pool: &objstore_pool::Pool) {
    site.world.run(async { pool.start() });
}
