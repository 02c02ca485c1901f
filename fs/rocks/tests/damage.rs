//! A damaged index gives an error that names the folder and the repair; it never crashes, and never shows less than a
//! flushed state without saying so.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use fs_meta::{Batch, Column, Direction, MetaRead, MetaStore};
use fs_rocks::{RocksConfig, RocksStore};
use objstore_base::{Error, ErrorKind, Result};
use tempfile::TempDir;

const KEYS: u32 = 5000;

fn open(path: &Path) -> Result<RocksStore> {
    RocksStore::open(path, &RocksConfig { block_cache_bytes: 1 << 20, ..RocksConfig::default() })
}

fn value(key: u32, round: u64) -> Vec<u8> {
    (0..40).map(|i| (u64::from(key) * 31 + round * 7 + i) as u8).collect()
}

/// A store flushed twice: every key has the value of its round, the first half of them that of round 2.
fn filled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let store = open(&path).unwrap();
    for (round, keys) in [(1, 0..KEYS), (2, 0..KEYS / 2)] {
        let mut batch = Batch::new();
        for key in keys {
            batch.put(Column::Inode, &key.to_be_bytes(), &value(key, round));
            batch.put(Column::Extent, &key.to_be_bytes(), &value(key, round));
        }
        store.apply(&batch).unwrap();
        store.begin_flush(round).unwrap();
        store.finish_flush().unwrap();
    }
    drop(store);
    (folder, path)
}

/// Reads everything; the values must be those of the LSN that the store claims.
fn read_all(store: &RocksStore) -> Result<()> {
    let lsn = store.flushed_lsn();
    let right = |key: u32, found: &[u8]| {
        let round = if key < KEYS / 2 { lsn } else { lsn.min(1) };
        assert_eq!(found, value(key, round), "key {key} at LSN {lsn}");
    };
    for key in 0..KEYS {
        match store.get(Column::Inode, &key.to_be_bytes())? {
            Some(found) => right(key, &found),
            None => assert_eq!(lsn, 0, "key {key} is missing at LSN {lsn}"),
        }
    }
    let mut count = 0;
    store.scan(Column::Extent, b"".as_slice()..&[255; 5], Direction::Forward, &mut |key, found| {
        right(u32::from_be_bytes(key.try_into().unwrap()), found);
        count += 1;
        ControlFlow::Continue(())
    })?;
    assert_eq!(count, if lsn == 0 { 0 } else { KEYS });
    Ok(())
}

fn assert_names_path_and_repair(error: &Error, path: &Path) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("tidegate recover"), "{text}");
}

fn files(path: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| is(path.file_name().unwrap().to_str().unwrap()));
    found.sort();
    found
}

fn only(path: &Path, prefix: &str) -> PathBuf {
    let [found] = files(path, |name| name.starts_with(prefix)).try_into().unwrap();
    found
}

#[test]
fn a_missing_current_is_not_taken_for_a_new_store() {
    let (_folder, path) = filled();
    fs::remove_file(path.join("CURRENT")).unwrap();
    let before = files(&path, |name| name.ends_with(".sst"));
    assert!(!before.is_empty());
    assert_names_path_and_repair(&open(&path).map(drop).unwrap_err(), &path);
    assert_eq!(files(&path, |name| name.ends_with(".sst")), before, "nothing may be deleted");
}

#[test]
fn a_damaged_current_is_an_error() {
    for content in [b"".as_slice(), b"MANIFEST-000099\n", b"\xff\xfe\0garbage\n", b"../../etc/passwd\n"] {
        let (_folder, path) = filled();
        fs::write(path.join("CURRENT"), content).unwrap();
        assert_names_path_and_repair(&open(&path).map(drop).unwrap_err(), &path);
    }
}

/// Cut at a record's boundary, a manifest is a shorter history: an earlier flush, which its LSN says.
#[test]
fn a_truncated_manifest_is_an_error_or_an_earlier_flush() {
    let (_folder, path) = filled();
    let manifest = only(&path, "MANIFEST-");
    let whole = fs::read(&manifest).unwrap();
    let mut earlier = 0;
    for cut in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let (_copy, path) = copy_of(&path);
        fs::write(only(&path, "MANIFEST-"), &whole[..cut]).unwrap();
        match open(&path) {
            Err(e) => assert_names_path_and_repair(&e, &path),
            Ok(store) => {
                assert!(store.flushed_lsn() < 2);
                earlier += 1;
                read_all(&store).unwrap();
            }
        }
    }
    assert!(earlier > 0, "the suite must see both outcomes");
}

#[test]
fn a_flipped_byte_in_the_manifest_is_an_error_or_does_not_matter() {
    let (_folder, path) = filled();
    let whole = fs::read(only(&path, "MANIFEST-")).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 25 + 1) {
        let (_copy, path) = copy_of(&path);
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(only(&path, "MANIFEST-"), damaged).unwrap();
        if let Err(e) = open(&path).and_then(|store| read_all(&store)) {
            assert_names_path_and_repair(&e, &path);
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_missing_or_truncated_table_is_an_error() {
    let (_folder, path) = filled();
    for (number, table) in files(&path, |name| name.ends_with(".sst")).iter().enumerate() {
        let (_copy, copy) = copy_of(&path);
        let table = copy.join(table.file_name().unwrap());
        if number % 2 == 0 {
            fs::remove_file(&table).unwrap();
        } else {
            fs::write(&table, &fs::read(&table).unwrap()[..100]).unwrap();
        }
        assert_names_path_and_repair(&open(&copy).map(drop).unwrap_err(), &copy);
    }
}

#[test]
fn a_flipped_byte_in_a_table_is_never_served() {
    let (_folder, path) = filled();
    let largest = files(&path, |name| name.ends_with(".sst")).into_iter().max_by_key(|t| t.metadata().unwrap().len());
    let table = largest.unwrap();
    let whole = fs::read(&table).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 30 + 1) {
        let (_copy, copy) = copy_of(&path);
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(copy.join(table.file_name().unwrap()), damaged).unwrap();
        // `read_all` compares every value, so an `Ok` means that the byte did not matter (padding, a property).
        if let Err(e) = open(&copy).and_then(|store| read_all(&store)) {
            assert_names_path_and_repair(&e, &copy);
            refused += 1;
        }
    }
    assert!(refused > 10, "only {refused} flips were noticed");
}

#[test]
fn a_second_open_is_refused() {
    let (_folder, path) = filled();
    let store = open(&path).unwrap();
    let e = open(&path).map(drop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreLocked, "{e}");
    read_all(&store).unwrap();
}

#[test]
fn a_store_with_an_unknown_column_is_newer() {
    let (_folder, path) = filled();
    let mut names: Vec<_> = Column::ALL.into_iter().map(|column| column.name()).collect();
    names.push("default");
    let mut options = rocksdb::Options::default();
    options.set_merge_operator_associative("tidegate.add.1", |_, _, _| None);
    let families = names.iter().map(|name| rocksdb::ColumnFamilyDescriptor::new(*name, options.clone()));
    let mut db = rocksdb::DB::open_cf_descriptors(&rocksdb::Options::default(), &path, families).unwrap();
    db.create_cf("column of the future", &rocksdb::Options::default()).unwrap();
    drop(db);
    let e = open(&path).map(drop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NewerFormat, "{e}");
    assert!(e.to_string().contains("newer version of tidegate"), "{e}");
}

#[test]
fn a_folder_that_is_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    fs::write(&path, "no folder").unwrap();
    let e = open(&path).map(drop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotDirectory, "{e}");
    assert!(e.to_string().contains(path.to_str().unwrap()), "{e}");
}

fn copy_of(path: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("index");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    (folder, copy)
}
