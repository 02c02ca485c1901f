//! F12: more than m lost is a clear error that names blob and drives; never zeros, never other blobs' trouble.

mod support;

use objstore_base::{BlobClass, BlobId, BlobStore, ErrorKind};
use support::{CELL, Site, check, objects, pattern, store, subsets};

#[test]
fn f12_every_pattern_of_three_lost_is_damage_and_never_wrong_bytes() {
    let objects: Vec<_> = objects().into_iter().filter(|(_, content)| content.len() < 1 << 20).take(16).collect();
    let site = Site::new(4, 2, 6);
    let mut pool = site.create();
    store(&site, &pool, &objects);
    let untouched = (BlobId::segment(999), pattern(999, 3 * CELL));
    store(&site, &pool, std::slice::from_ref(&untouched));
    let mut cases = 0;
    for (n, lost) in subsets(6, 3).into_iter().enumerate() {
        let mut taken = Vec::new();
        for slot in &lost {
            for (id, _) in &objects {
                for path in site.shards_of(*slot, *id) {
                    let content = site.read(&path);
                    // Missing, cut and flipped in turn: the count decides, not the kind.
                    match (n + slot) % 3 {
                        0 => site.remove(&path),
                        1 => site.write(&path, &content[..content.len() / 2]),
                        _ => site.world.disk().flip(&path, 8 * 70).expect("flip"),
                    }
                    taken.push((path, content));
                }
            }
        }
        if n % 2 == 0 {
            pool = site.reopen(pool);
        }
        for (id, content) in &objects {
            let error = match site.get(&pool, *id, content.len()) {
                Err(error) => error,
                Ok(got) => {
                    // All its bytes lie in data cells that are left, and nothing had to look at the broken ones.
                    assert!(got == *content && content.len() < 6, "lost {lost:?}: {} bytes", content.len());
                    continue;
                }
            };
            assert_eq!(error.kind(), ErrorKind::Damaged, "lost {lost:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(&id.to_string()), "{text}");
            assert!(lost.iter().all(|slot| text.contains(&format!("/drives/{slot}"))), "lost {lost:?}: {text}");
            cases += 1;
        }
        let listed = site.world.run(pool.list(BlobClass::Segment, None, 100)).expect("list");
        assert!(objects.iter().all(|(id, _)| listed.contains(id)), "a damaged blob is still listed");
        check(&site, &pool, std::slice::from_ref(&untouched), "others");
        let report = site.heal(&pool);
        assert_eq!(report.blobs_failed, objects.len() as u64, "{report:?}");
        assert!(report.failures.iter().all(|(_, why)| why.contains("are good, 4 are needed")), "{report:?}");
        taken.iter().for_each(|(path, content)| site.write(path, content));
        pool = site.reopen(pool);
        check(&site, &pool, &objects, "all back");
    }
    assert!(cases >= 200, "{cases}");
}

#[test]
fn f12_every_read_of_a_blob_with_three_shards_gone_is_an_error() {
    let objects = objects();
    let site = Site::new(4, 2, 6);
    let mut pool = site.create();
    store(&site, &pool, &objects);
    let mut cases = 0;
    for lost in subsets(6, 3) {
        let paths: Vec<_> = lost.iter().flat_map(|&slot| site.shards(slot)).collect();
        let taken: Vec<_> = paths.into_iter().map(|path| (site.read(&path), path)).collect();
        taken.iter().for_each(|(_, path)| site.remove(path));
        pool = site.reopen(pool);
        for (id, content) in &objects {
            let some = content.len().min(1);
            assert_eq!(support::kind(site.get(&pool, *id, some)), ErrorKind::Damaged, "lost {lost:?}, {id}");
            assert_eq!(support::kind(site.get(&pool, *id, content.len())), ErrorKind::Damaged, "lost {lost:?}, {id}");
            cases += 1;
        }
        taken.iter().for_each(|(content, path)| {
            site.disk().create_dir_all(path.parent().expect("a file has one")).expect("directory");
            site.write(path, content);
        });
        pool = site.reopen(pool);
    }
    assert_eq!(cases, 400);
    check(&site, &pool, &objects, "all back");
}

/// What is readable of a damaged blob is read: two flipped units in different places are not two lost shards.
#[test]
fn f12_damage_is_counted_per_range() {
    let site = Site::new(2, 1, 3);
    let pool = site.create();
    let object = (BlobId::segment(1), pattern(1, 20 * CELL));
    store(&site, &pool, std::slice::from_ref(&object));
    for (slot, unit) in [(0, 0), (1, 3), (2, 6)] {
        let path = site.shards(slot).remove(0);
        site.world.disk().flip(&path, 8 * (4096 + unit * CELL as u64 + 5)).expect("flip");
    }
    check(&site, &pool, std::slice::from_ref(&object), "each row lacks one cell");
}

#[test]
fn f12_too_many_drives_away_refuse_the_pool() {
    let site = Site::new(4, 2, 6);
    let pool = site.create();
    let object = (BlobId::segment(1), pattern(1, CELL));
    store(&site, &pool, std::slice::from_ref(&object));
    (0..3).for_each(|slot| site.world.disk().vanish(&site.config.drives[slot]));
    // The first read knew where the shards were, the second has to look for them. Neither calls them lost.
    for _ in 0..2 {
        let error = site.get(&pool, object.0, CELL).expect_err("three drives are gone");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    drop(pool);
    let error = site.try_open().map(|_| ()).expect_err("more than m are missing");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((0..3).all(|slot| error.to_string().contains(&format!("/drives/{slot}"))), "{error}");
    site.world.disk().reappear("/drives/1");
    let pool = site.open();
    check(&site, &pool, std::slice::from_ref(&object), "two missing are borne");
}
