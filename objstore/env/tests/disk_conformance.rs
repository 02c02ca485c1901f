//! What every disk does, real or simulated: one suite, run on each.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use objstore_env::real::RealDisk;
use objstore_env::sim::SimDisk;
use objstore_env::{Disk, DiskFile, OpenMode};

/// Runs each fact as a test of its own per implementation.
macro_rules! conformance {
    ($($fact:ident),* $(,)?) => {
        mod real {
            $(#[test]
            fn $fact() {
                let root = tempfile::tempdir().unwrap();
                super::$fact(&super::RealDisk, root.path());
            })*
        }

        mod simulated {
            $(#[test]
            fn $fact() {
                let disk = super::SimDisk::new(1);
                super::Disk::create_dir_all(&disk, super::Path::new("/some/root")).unwrap();
                super::$fact(&disk, super::Path::new("/some/root"));
            })*
        }
    };
}

conformance![
    a_missing_file_is_not_found_unless_the_mode_creates_it,
    create_new_refuses_a_name_that_is_taken,
    truncate_empties_and_create_or_open_keeps,
    a_write_of_many_buffers_is_one_run_of_bytes,
    reads_are_short_only_at_the_end_of_the_file,
    a_write_past_the_end_leaves_zeros_before_it,
    shrinking_and_growing_again_reads_zeros,
    allocate_grows_the_file_and_keeps_its_bytes,
    an_open_file_outlives_its_name,
    a_file_read_only_cannot_be_written,
    rename_replaces_its_target_and_moves_across_directories,
    rename_of_a_missing_file_is_not_found,
    rename_of_a_directory_moves_what_is_in_it,
    removing_what_is_not_there_or_of_the_wrong_kind_fails,
    a_directory_with_entries_is_not_removed,
    list_names_files_and_directories_and_nothing_deeper,
    directories_are_made_with_their_parents_and_again,
    a_file_is_no_directory,
    syncs_and_write_out_accept_what_is_there,
    sync_of_a_missing_directory_fails,
    atomic_replacement_leaves_the_new_bytes_and_no_other_name,
    reading_a_whole_file_respects_the_limit,
    space_is_told_for_a_directory_and_names_its_filesystem,
    a_lock_has_one_holder_until_it_is_dropped,
];

fn create(disk: &dyn Disk, path: &Path, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(&[IoSlice::new(content)], 0).unwrap();
    file
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    disk.read_file(path, 1 << 20).unwrap()
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<(String, bool)> {
    let mut names: Vec<_> = disk.list(dir).unwrap().into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
    names.sort();
    names
}

fn a_missing_file_is_not_found_unless_the_mode_creates_it(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    assert_eq!(kind(disk.open(&path, OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&path, OpenMode::ReadWrite)), ErrorKind::NotFound);
    assert_eq!(kind(disk.metadata(&path)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&root.join("no/a"), OpenMode::CreateNew)), ErrorKind::NotFound);
    for (name, mode) in [("b", OpenMode::CreateOrOpen), ("c", OpenMode::CreateNew), ("d", OpenMode::Truncate)] {
        disk.open(&root.join(name), mode).unwrap();
        assert_eq!(disk.metadata(&root.join(name)).unwrap().len, 0);
    }
}

fn create_new_refuses_a_name_that_is_taken(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    create(disk, &path, b"old");
    assert_eq!(kind(disk.open(&path, OpenMode::CreateNew)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open(root, OpenMode::CreateNew)), ErrorKind::AlreadyExists);
    assert_eq!(content(disk, &path), b"old");
}

fn truncate_empties_and_create_or_open_keeps(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    create(disk, &path, b"old");
    assert_eq!(disk.open(&path, OpenMode::CreateOrOpen).unwrap().len().unwrap(), 3);
    assert_eq!(disk.open(&path, OpenMode::Truncate).unwrap().len().unwrap(), 0);
    assert_eq!(content(disk, &path), b"");
}

fn a_write_of_many_buffers_is_one_run_of_bytes(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), b"");
    // More buffers than one system call takes, of growing length, some of them empty.
    let pieces: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 7]).collect();
    let bufs: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_all_at(&bufs, 100).unwrap();
    let expected: Vec<u8> = [vec![0; 100], pieces.concat()].concat();
    assert_eq!(content(disk, &root.join("a")), expected);
    file.write_all_at(&[], 5).unwrap();
    file.write_all_at(&[IoSlice::new(b""), IoSlice::new(b"")], 1 << 30).unwrap();
    assert_eq!(file.len().unwrap(), expected.len() as u64);
}

fn reads_are_short_only_at_the_end_of_the_file(disk: &dyn Disk, root: &Path) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let file = create(disk, &root.join("a"), &bytes);
    let mut buf = vec![0xff; 1000];
    assert_eq!(file.read_at(&mut buf, 777).unwrap(), 1000);
    assert_eq!(buf, bytes[777..1777]);
    assert_eq!(file.read_at(&mut buf, 99_990).unwrap(), 10);
    assert_eq!(buf[..10], bytes[99_990..]);
    assert_eq!(file.read_at(&mut buf, 100_000).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(kind(file.read_exact_at(&mut buf, 99_990)), ErrorKind::UnexpectedEof);
}

fn a_write_past_the_end_leaves_zeros_before_it(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), b"ab");
    file.write_all_at(&[IoSlice::new(b"cd")], 1000).unwrap();
    assert_eq!(content(disk, &root.join("a")), [b"ab".as_slice(), &[0; 998], b"cd"].concat());
}

fn shrinking_and_growing_again_reads_zeros(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), &[7; 5000]);
    file.set_len(700).unwrap();
    assert_eq!(file.len().unwrap(), 700);
    file.set_len(5000).unwrap();
    assert_eq!(content(disk, &root.join("a")), [vec![7; 700], vec![0; 4300]].concat());
}

fn allocate_grows_the_file_and_keeps_its_bytes(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), b"abc");
    file.allocate(1..9000).unwrap();
    assert_eq!(content(disk, &root.join("a")), [b"abc".as_slice(), &[0; 8997]].concat());
    file.allocate(0..10).unwrap();
    file.allocate(20_000..20_000).unwrap();
    assert_eq!(file.len().unwrap(), 9000);
}

fn an_open_file_outlives_its_name(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), b"abc");
    disk.remove_file(&root.join("a")).unwrap();
    file.write_all_at(&[IoSlice::new(b"d")], 3).unwrap();
    file.sync_data().unwrap();
    let mut buf = [0; 4];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"abcd");
    assert_eq!(names(disk, root), []);
    // The same name is another file now.
    create(disk, &root.join("a"), b"new");
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"abcd");
}

fn a_file_read_only_cannot_be_written(disk: &dyn Disk, root: &Path) {
    create(disk, &root.join("a"), b"abc");
    let file = disk.open(&root.join("a"), OpenMode::Read).unwrap();
    assert!(file.write_all_at(&[IoSlice::new(b"x")], 0).is_err());
    assert!(file.set_len(0).is_err());
    assert_eq!(content(disk, &root.join("a")), b"abc");
}

fn rename_replaces_its_target_and_moves_across_directories(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d")).unwrap();
    let old = create(disk, &root.join("d/b"), b"old");
    create(disk, &root.join("a"), b"new");
    disk.rename(&root.join("a"), &root.join("d/b")).unwrap();
    assert_eq!(content(disk, &root.join("d/b")), b"new");
    assert_eq!(names(disk, root), [("d".to_owned(), true)]);
    let mut buf = [0; 3];
    old.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"old");
    disk.rename(&root.join("d/b"), &root.join("d/b")).unwrap();
    assert_eq!(content(disk, &root.join("d/b")), b"new");
}

fn rename_of_a_missing_file_is_not_found(disk: &dyn Disk, root: &Path) {
    create(disk, &root.join("b"), b"kept");
    assert_eq!(kind(disk.rename(&root.join("a"), &root.join("b"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(&root.join("b"), &root.join("no/b"))), ErrorKind::NotFound);
    assert_eq!(content(disk, &root.join("b")), b"kept");
}

fn rename_of_a_directory_moves_what_is_in_it(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d/sub")).unwrap();
    create(disk, &root.join("d/sub/a"), b"abc");
    create(disk, &root.join("file"), b"");
    assert_eq!(kind(disk.rename(&root.join("d"), &root.join("file"))), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.rename(&root.join("file"), &root.join("d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.rename(&root.join("d"), &root.join("d/sub/d"))), ErrorKind::InvalidInput);
    disk.rename(&root.join("d"), &root.join("e")).unwrap();
    assert_eq!(content(disk, &root.join("e/sub/a")), b"abc");
    assert_eq!(kind(disk.metadata(&root.join("d"))), ErrorKind::NotFound);
}

fn removing_what_is_not_there_or_of_the_wrong_kind_fails(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d")).unwrap();
    create(disk, &root.join("a"), b"");
    assert_eq!(kind(disk.remove_file(&root.join("b"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove_dir(&root.join("b"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove_file(&root.join("d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.remove_dir(&root.join("a"))), ErrorKind::NotADirectory);
    assert_eq!(names(disk, root), [("a".to_owned(), false), ("d".to_owned(), true)]);
}

fn a_directory_with_entries_is_not_removed(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d")).unwrap();
    create(disk, &root.join("d/a"), b"");
    assert_eq!(kind(disk.remove_dir(&root.join("d"))), ErrorKind::DirectoryNotEmpty);
    disk.remove_file(&root.join("d/a")).unwrap();
    disk.remove_dir(&root.join("d")).unwrap();
    assert_eq!(kind(disk.list(&root.join("d"))), ErrorKind::NotFound);
}

fn list_names_files_and_directories_and_nothing_deeper(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d/deep")).unwrap();
    create(disk, &root.join("a"), b"");
    create(disk, &root.join("d/b"), b"");
    assert_eq!(names(disk, root), [("a".to_owned(), false), ("d".to_owned(), true)]);
    assert_eq!(names(disk, &root.join("d")), [("b".to_owned(), false), ("deep".to_owned(), true)]);
}

fn directories_are_made_with_their_parents_and_again(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("x/y/z")).unwrap();
    disk.create_dir_all(&root.join("x/y/z")).unwrap();
    assert!(disk.metadata(&root.join("x/y/z")).unwrap().is_dir);
}

fn a_file_is_no_directory(disk: &dyn Disk, root: &Path) {
    create(disk, &root.join("a"), b"abc");
    assert!(!disk.metadata(&root.join("a")).unwrap().is_dir);
    assert_eq!(kind(disk.list(&root.join("a"))), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open(&root.join("a/b"), OpenMode::CreateOrOpen)), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open(root, OpenMode::ReadWrite)), ErrorKind::IsADirectory);
    assert!(disk.create_dir_all(&root.join("a/b")).is_err());
    assert!(disk.create_dir_all(&root.join("a")).is_err());
}

fn syncs_and_write_out_accept_what_is_there(disk: &dyn Disk, root: &Path) {
    let file = create(disk, &root.join("a"), &[1; 10_000]);
    file.start_write_out(0..10_000).unwrap();
    file.start_write_out(5000..5000).unwrap();
    file.start_write_out(1 << 20..1 << 21).unwrap();
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(root).unwrap();
    assert_eq!(content(disk, &root.join("a")), [1; 10_000]);
}

fn sync_of_a_missing_directory_fails(disk: &dyn Disk, root: &Path) {
    assert_eq!(kind(disk.sync_dir(&root.join("no"))), ErrorKind::NotFound);
}

fn atomic_replacement_leaves_the_new_bytes_and_no_other_name(disk: &dyn Disk, root: &Path) {
    disk.write_atomic(&root.join("a"), b"first, and longer").unwrap();
    disk.write_atomic(&root.join("a"), b"second").unwrap();
    assert_eq!(content(disk, &root.join("a")), b"second");
    assert_eq!(names(disk, root), [("a".to_owned(), false)]);
}

fn reading_a_whole_file_respects_the_limit(disk: &dyn Disk, root: &Path) {
    create(disk, &root.join("a"), b"abc");
    assert_eq!(disk.read_file(&root.join("a"), 3).unwrap(), b"abc");
    assert_eq!(kind(disk.read_file(&root.join("a"), 2)), ErrorKind::FileTooLarge);
}

fn space_is_told_for_a_directory_and_names_its_filesystem(disk: &dyn Disk, root: &Path) {
    disk.create_dir_all(&root.join("d")).unwrap();
    let space = disk.space(root).unwrap();
    assert!(space.total > 0 && space.available <= space.total, "{space:?}");
    assert_eq!(disk.space(&root.join("d")).unwrap().filesystem, space.filesystem);
    assert_eq!(kind(disk.space(&root.join("no"))), ErrorKind::NotFound);
}

fn a_lock_has_one_holder_until_it_is_dropped(disk: &dyn Disk, root: &Path) {
    let held = disk.lock(&root.join("lock")).unwrap();
    assert!(held.is_some());
    assert!(disk.lock(&root.join("lock")).unwrap().is_none());
    assert!(disk.lock(&root.join("other")).unwrap().is_some());
    drop(held);
    assert!(disk.lock(&root.join("lock")).unwrap().is_some());
}
