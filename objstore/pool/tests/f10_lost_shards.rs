//! F10: any two lost drives of 4+2 cost nothing: byte-identical reads, then a heal restores all six shards.

mod support;

use objstore_base::BlobStore;
use support::{Site, check, check_whole, objects, store, subsets};

fn lose(site: &Site, lost: &[usize]) {
    for path in lost.iter().flat_map(|&slot| site.shards(slot)) {
        site.remove(&path);
    }
}

#[test]
fn f10_every_pattern_of_two_lost_is_read_and_healed() {
    let objects = objects();
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    store(&site, &pool, &objects);
    let mut pool = pool;
    let patterns: Vec<Vec<usize>> = (0..=2).flat_map(|count| subsets(6, count)).collect();
    assert_eq!((patterns.len(), objects.len()), (22, 20));
    for lost in patterns {
        let case = format!("lost {lost:?}");
        lose(&site, &lost);
        // Half of the patterns hit a pool that remembers where everything was, half one that was just opened.
        if lost.iter().sum::<usize>() % 2 == 0 {
            pool = site.reopen(pool);
        }
        check(&site, &pool, &objects, &case);
        let before = site.world.run(pool.status());
        assert_eq!(before.reconstructed_reads > 0, !lost.is_empty(), "{case}: {before:?}");
        let report = site.heal(&pool);
        assert!(report.is_complete(), "{case}: {report:?}");
        assert_eq!(report.shards_rebuilt, 20 * lost.len() as u64, "{case}");
        check_whole(&site, &pool, &objects, &case);
        pool = site.reopen(pool);
    }
}

#[test]
fn f10_every_range_of_a_degraded_blob_is_right() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let object = (objects()[0].0, support::pattern(3, 9 * support::CELL + 1234));
    store(&site, &pool, std::slice::from_ref(&object));
    lose(&site, &[1, 4]);
    let len = object.1.len();
    let edges = [
        0,
        1,
        777,
        support::CELL - 1,
        support::CELL,
        4 * support::CELL,
        4 * support::CELL + 1,
        8 * support::CELL,
        len - 1,
        len,
    ];
    for (n, &start) in edges.iter().enumerate() {
        for &end in &edges[n..] {
            let got = site.world.run(pool.get(object.0, start as u64..end as u64)).expect("get");
            assert!(got == object.1.slice(start..end), "{start}..{end}");
        }
    }
}

/// A read of one frame from a whole blob reads one cell of one drive and no other.
#[test]
fn f10_a_small_range_touches_one_drive() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let object = (objects()[0].0, support::pattern(3, 4 * support::CELL));
    store(&site, &pool, std::slice::from_ref(&object));
    site.world.run(pool.get(object.0, 0..1)).expect("warm up");
    let before = site.world.disk().counts();
    site.world.run(pool.get(object.0, 10..2000)).expect("get");
    let after = site.world.disk().counts();
    let read = after.bytes_read - before.bytes_read;
    assert!(read <= support::CELL as u64 + 8192, "one unit and a header, not {read} bytes");
}

#[test]
fn f10_other_codes_survive_what_they_promise() {
    let deep = std::env::var("TIDEGATE_DEEP").is_ok();
    for (k, m) in [(1, 1), (2, 1), (6, 3), (8, 4), (16, 4)] {
        let objects: Vec<_> = objects().into_iter().filter(|(_, content)| content.len() < 1 << 20).take(8).collect();
        let site = Site::new(k, m, k + m);
        let mut pool = site.create();
        store(&site, &pool, &objects);
        let mut patterns = subsets(k + m, m);
        let step = if deep { patterns.len().div_ceil(500) } else { patterns.len().div_ceil(12) };
        patterns = patterns.into_iter().step_by(step.max(1)).collect();
        for lost in patterns {
            let case = format!("{k}+{m} lost {lost:?}");
            lose(&site, &lost);
            check(&site, &pool, &objects, &case);
            let report = site.heal(&pool);
            assert!(report.is_complete(), "{case}: {report:?}");
            check_whole(&site, &pool, &objects, &case);
            pool = site.reopen(pool);
        }
    }
}
