//! F35: drives that are not what the configuration says are refused by name, and nothing on them is touched.

mod support;

use std::path::{Path, PathBuf};

use objstore_base::{BlobId, Error, ErrorKind};
use objstore_pool::{DriveState, Pool};
use objstore_shard::PoolUuid;
use support::{Site, check, pattern, store};

fn site_with_object() -> (Site, (BlobId, bytes::Bytes)) {
    let site = Site::new(4, 2, 6);
    let object = (BlobId::segment(1), pattern(1, 100_000));
    let pool = site.create();
    store(&site, &pool, std::slice::from_ref(&object));
    (site, object)
}

fn refusal(site: &Site) -> Error {
    site.try_open().map(|_| ()).expect_err("refused")
}

fn copy_tree(site: &Site, from: &Path, to: &Path) {
    site.disk().create_dir_all(to).expect("directory");
    for entry in site.disk().list(from).expect("list") {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir { copy_tree(site, &source, &target) } else { site.write(&target, &site.read(&source)) }
    }
}

#[test]
fn f35_a_drive_of_another_pool_is_refused() {
    let (site, _) = site_with_object();
    let mut other = site.config.clone();
    other.uuid = PoolUuid([8; 16]);
    other.drives = (0..6).map(|n| PathBuf::from(format!("/other/{n}"))).collect();
    other.heal_dir = "/other/pool".into();
    drop(site.world.run(Pool::create(site.world.env(), other)).expect("another pool"));
    let mut mixed = site.config.clone();
    mixed.drives[3] = "/other/3".into();
    let error = site.world.run(Pool::open(site.world.env(), mixed)).map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("/other/3") && error.to_string().contains("belongs to pool"), "{error}");
}

#[test]
fn f35_one_drive_in_two_pools_is_refused() {
    let (site, object) = site_with_object();
    let mut second = site.config.clone();
    second.uuid = PoolUuid([9; 16]);
    second.heal_dir = "/second/pool".into();
    second.drives[..5].clone_from_slice(&(0..5).map(|n| PathBuf::from(format!("/second/{n}"))).collect::<Vec<_>>());
    let error = site.world.run(Pool::create(site.world.env(), second)).map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("/drives/5"), "{error}");
    assert!(site.disk().metadata(Path::new("/second")).is_err(), "the other five were not touched");
    check(&site, &site.open(), &[object], "the first pool is as it was");
}

#[test]
fn f35_drives_in_the_wrong_order_are_refused() {
    let (mut site, object) = site_with_object();
    site.config.drives.swap(1, 4);
    let error = refusal(&site);
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("it is drive 4 of the pool, given in place 1"), "{error}");
    site.config.drives.swap(1, 4);
    check(&site, &site.open(), &[object], "in order again");
}

#[test]
fn f35_a_copied_drive_is_refused_in_a_second_place() {
    let (mut site, _) = site_with_object();
    copy_tree(&site, Path::new("/drives/2"), Path::new("/copy"));
    site.config.drives[3] = "/copy".into();
    let error = refusal(&site);
    assert!(error.to_string().contains("it is drive 2 of the pool, given in place 3"), "{error}");
}

#[test]
fn f35_repeated_and_nested_drives_are_refused() {
    let (mut site, _) = site_with_object();
    site.config.drives[5] = "/drives/./x/../1".into();
    let error = refusal(&site);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("drive /drives/1 is given twice, as 1 and 5"), "{error}");
    site.config.drives[5] = "/drives/1/inside".into();
    assert!(refusal(&site).to_string().contains("lie in each other"));
}

#[test]
fn f35_a_file_in_place_of_a_drive_is_refused() {
    let (site, _) = site_with_object();
    site.remove_tree(Path::new("/drives/0"));
    site.write(Path::new("/drives/0"), b"oops");
    let error = refusal(&site);
    assert_eq!((error.kind(), error.entity_name()), (ErrorKind::NotDirectory, "/drives/0"));
}

#[test]
fn f35_a_drive_of_a_newer_format_is_refused() {
    let (site, _) = site_with_object();
    let path = Path::new("/drives/2/drive.json");
    let newer =
        String::from_utf8(site.read(path)).expect("text").replace("\"format\": 1", "\"format\": 2, \"shiny\": true");
    site.write(path, newer.as_bytes());
    let error = refusal(&site);
    assert_eq!(error.kind(), ErrorKind::NewerFormat);
    assert!(error.to_string().contains("format 2, this program knows 1"), "{error}");
}

#[test]
fn f35_missing_empty_and_unreadable_drives_are_named_and_borne() {
    for n in 0..3 {
        let (site, object) = site_with_object();
        let dir = Path::new("/drives/1");
        match n {
            0 => site.remove_tree(dir),
            1 => {
                site.remove_tree(dir);
                site.disk().create_dir_all(&dir.join("lost+found")).expect("a fresh filesystem");
            }
            _ => site.write(&dir.join("drive.json"), b"{\"format\": 1, \"pool\""),
        }
        let wanted = ["does not exist", "is empty: not initialised", "not a drive.json of this program"][n];
        let pool = site.open();
        let drive = site.world.run(pool.status()).drives.remove(1);
        assert_eq!(drive.state, DriveState::Away);
        assert!(drive.why.as_ref().is_some_and(|why| why.contains(wanted) && why.contains("/drives/1")), "{drive:?}");
        check(&site, &pool, &[object], wanted);
    }
}

#[test]
fn f35_the_same_drives_cannot_be_opened_twice_at_once() {
    let (site, object) = site_with_object();
    let pool = site.open();
    let error = refusal(&site);
    assert_eq!(error.kind(), ErrorKind::StoreLocked);
    check(&site, &pool, &[object], "the first keeps working");
}

#[test]
fn f35_too_few_drives_for_the_code_are_refused_with_both_numbers() {
    let site = Site::new(4, 2, 3);
    let error = site.world.run(Pool::create(site.world.env(), site.config.clone())).map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("code 4+2 needs at least 6 drives, 3 given"), "{error}");
    assert!(site.disk().metadata(Path::new("/drives")).is_err(), "nothing was made");
}

#[test]
fn f35_a_directory_with_foreign_files_is_not_taken() {
    let site = Site::new(1, 1, 2);
    site.disk().create_dir_all(Path::new("/drives/1")).expect("directory");
    site.write(Path::new("/drives/1/thesis.tex"), b"do not touch");
    let error = site.world.run(Pool::create(site.world.env(), site.config.clone())).map(|_| ()).expect_err("refused");
    assert_eq!((error.kind(), error.entity_name()), (ErrorKind::NotEmpty, "/drives/1"));
    assert!(site.disk().metadata(Path::new("/drives/0")).is_err(), "the good one was not touched either");
}

#[test]
fn f35_a_pool_opened_with_another_code_harms_nothing() {
    let (mut site, object) = site_with_object();
    let before: Vec<_> = (0..6).flat_map(|slot| site.shards(slot)).map(|path| (site.read(&path), path)).collect();
    (site.config.k, site.config.m) = (3, 2);
    let pool = site.open();
    assert_eq!(support::kind(site.get(&pool, object.0, 10)), ErrorKind::Damaged);
    let report = site.heal(&pool);
    assert!(report.blobs_failed == 1 && report.failures[0].1.contains("stored with code 4+2"), "{report:?}");
    drop(pool);
    assert!(before.iter().all(|(content, path)| site.read(path) == *content), "every shard is as it was");
    (site.config.k, site.config.m) = (4, 2);
    check(&site, &site.open(), &[object], "with its own code");
}
