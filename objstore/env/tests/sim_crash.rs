//! What a crash of the simulated disk keeps, and what it may lose.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use objstore_env::sim::{SimDisk, SimRng, Survival};
use objstore_env::{Disk, DiskFile, OpenMode, Rng};
use proptest::prelude::*;

const SECTOR: usize = 512;

fn settled(files: &[(&str, &[u8])]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/d/e")).unwrap();
    for (path, bytes) in files {
        write(&*disk.open(Path::new(path), OpenMode::CreateNew).unwrap(), 0, bytes);
    }
    disk.settle();
    disk
}

fn open(disk: &SimDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), OpenMode::CreateOrOpen).unwrap()
}

fn write(file: &dyn DiskFile, offset: u64, bytes: &[u8]) {
    file.write_all_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.read_file(Path::new(path), u64::MAX).ok()
}

/// What `path` holds after each of many power cuts of the same kind.
fn outcomes(disk: &SimDisk, survival: Survival, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..300).map(|seed| read(&disk.crash_image(survival, seed), path)).collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let disk = settled(&[]);
    let file = open(&disk, "/d/a");
    write(&*file, 0, &[7; 3000]);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    for survival in Survival::ALL {
        assert_eq!(outcomes(&disk, survival, "/d/a"), [Some(vec![7; 3000])].into());
    }
}

#[test]
fn unsynced_sectors_are_each_kept_or_lost() {
    let disk = settled(&[("/d/a", &[0; 4 * SECTOR])]);
    write(&*open(&disk, "/d/a"), 0, &[1; 4 * SECTOR]);
    let seen = outcomes(&disk, Survival::Scattered, "/d/a");
    assert_eq!(seen.len(), 16, "every subset of four sectors");
    for bytes in seen.into_iter().flatten() {
        assert!(bytes.chunks(SECTOR).all(|sector| sector == [0; SECTOR] || sector == [1; SECTOR]), "a torn sector");
    }
    assert_eq!(outcomes(&disk, Survival::Nothing, "/d/a"), [Some(vec![0; 4 * SECTOR])].into());
    assert_eq!(outcomes(&disk, Survival::Everything, "/d/a"), [Some(vec![1; 4 * SECTOR])].into());
}

#[test]
fn a_sector_written_twice_ends_in_any_of_its_three_states() {
    let disk = settled(&[("/d/a", &[0; SECTOR])]);
    let file = open(&disk, "/d/a");
    write(&*file, 0, &[1; SECTOR]);
    write(&*file, 0, &[2; SECTOR]);
    let states = [0, 1, 2].map(|byte| Some(vec![byte; SECTOR]));
    assert_eq!(outcomes(&disk, Survival::Scattered, "/d/a"), states.into());
}

#[test]
fn a_later_write_may_last_without_an_earlier_one_unless_a_prefix_was_asked_for() {
    let disk = settled(&[("/d/a", &[0; SECTOR]), ("/d/b", &[0; SECTOR])]);
    write(&*open(&disk, "/d/a"), 0, &[1; SECTOR]);
    write(&*open(&disk, "/d/b"), 0, &[1; SECTOR]);
    let reordered = |survival| {
        (0..300).any(|seed| {
            let image = disk.crash_image(survival, seed);
            read(&image, "/d/a") == Some(vec![0; SECTOR]) && read(&image, "/d/b") == Some(vec![1; SECTOR])
        })
    };
    assert!(reordered(Survival::Scattered));
    assert!(!reordered(Survival::Prefix));
}

#[test]
fn an_unsynced_length_is_lost_or_shows_zeros_for_lost_sectors() {
    let disk = settled(&[("/d/a", b"")]);
    write(&*open(&disk, "/d/a"), 0, &[1; 2 * SECTOR]);
    let seen = outcomes(&disk, Survival::Scattered, "/d/a");
    let sectors = |first: u8, second: u8| Some([vec![first; SECTOR], vec![second; SECTOR]].concat());
    assert_eq!(seen, [Some(vec![]), sectors(0, 0), sectors(0, 1), sectors(1, 0), sectors(1, 1)].into());
}

#[test]
fn a_synced_shrink_never_shows_the_old_bytes_again() {
    let disk = settled(&[("/d/a", &[9; 3 * SECTOR])]);
    let file = open(&disk, "/d/a");
    file.set_len(100).unwrap();
    file.set_len(3 * SECTOR as u64).unwrap();
    file.sync_data().unwrap();
    let expected = [vec![9; 100], vec![0; 3 * SECTOR - 100]].concat();
    for survival in Survival::ALL {
        assert_eq!(outcomes(&disk, survival, "/d/a"), [Some(expected.clone())].into());
    }
}

#[test]
fn a_new_name_is_lost_with_its_synced_content_until_its_directory_is_synced() {
    let disk = settled(&[]);
    let file = open(&disk, "/d/a");
    write(&*file, 0, b"abc");
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, Survival::Nothing, "/d/a"), [None].into());
    assert_eq!(outcomes(&disk, Survival::Scattered, "/d/a"), [None, Some(b"abc".to_vec())].into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, Survival::Nothing, "/d/a"), [Some(b"abc".to_vec())].into());
}

#[test]
fn a_removed_name_may_come_back_until_its_directory_is_synced() {
    let disk = settled(&[("/d/a", b"abc")]);
    disk.remove_file(Path::new("/d/a")).unwrap();
    assert_eq!(outcomes(&disk, Survival::Scattered, "/d/a"), [None, Some(b"abc".to_vec())].into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, Survival::Scattered, "/d/a"), [None].into());
}

#[test]
fn a_rename_is_seen_whole_or_not_at_all() {
    let disk = settled(&[("/d/a", b"new"), ("/d/e/b", b"old")]);
    disk.rename(Path::new("/d/a"), Path::new("/d/e/b")).unwrap();
    let state = |image: &SimDisk| (read(image, "/d/a"), read(image, "/d/e/b"));
    let seen: BTreeSet<_> = (0..100).map(|seed| state(&disk.crash_image(Survival::Scattered, seed))).collect();
    let before = (Some(b"new".to_vec()), Some(b"old".to_vec()));
    let after = (None, Some(b"new".to_vec()));
    assert_eq!(seen, [before, after.clone()].into());
    disk.sync_dir(Path::new("/d/e")).unwrap();
    assert_eq!(state(&disk.crash_image(Survival::Nothing, 0)), after);
}

#[test]
fn operations_on_tied_names_keep_their_order() {
    let disk = settled(&[("/d/a", b"1")]);
    // Once the second file has the name `a`, the first one is `b`: it is never lost.
    disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
    let file = open(&disk, "/d/a");
    write(&*file, 0, b"2");
    file.sync_data().unwrap();
    for seed in 0..300 {
        let image = disk.crash_image(Survival::Scattered, seed);
        let (a, b) = (read(&image, "/d/a"), read(&image, "/d/b"));
        assert!(a == Some(b"1".to_vec()) || b == Some(b"1".to_vec()), "seed {seed}: {a:?} {b:?}");
    }
}

#[test]
fn an_atomic_replacement_is_old_or_new_at_every_moment_of_its_trace() {
    let disk = settled(&[("/d/a", &[1; 2000])]);
    disk.record();
    disk.write_atomic(Path::new("/d/a"), &[2; 3000]).unwrap();
    let trace = disk.take_trace().unwrap();
    let mut replay = trace.replay();
    let mut seen = BTreeSet::new();
    for moment in 0..=trace.len() {
        replay.advance(moment).unwrap();
        for seed in 0..20 {
            seen.insert(read(&replay.image(Survival::Scattered, seed), "/d/a"));
        }
    }
    assert_eq!(seen, [Some(vec![1; 2000]), Some(vec![2; 3000])].into());
    assert_eq!(outcomes(&disk, Survival::Scattered, "/d/a"), [Some(vec![2; 3000])].into());
}

#[test]
fn a_crashed_disk_ignores_the_dead_program() {
    let disk = settled(&[("/d/a", b"abc")]);
    let file = open(&disk, "/d/a");
    let held = disk.lock(Path::new("/d/lock")).unwrap();
    assert!(held.is_some());
    let after = disk.crash(Survival::Everything);
    assert!(file.write_all_at(&[IoSlice::new(b"x")], 0).is_err());
    assert!(disk.metadata(Path::new("/d/a")).is_err());
    let taken = after.lock(Path::new("/d/lock")).unwrap();
    assert!(taken.is_some(), "a lock dies with its program");
    drop(held);
    assert!(after.lock(Path::new("/d/lock")).unwrap().is_none(), "the dead program's lock frees nothing");
    assert_eq!(read(&after, "/d/a"), Some(b"abc".to_vec()));
}

#[test]
fn the_power_goes_in_place_of_a_chosen_change() {
    let disk = settled(&[("/d/a", &[0; SECTOR])]);
    let file = open(&disk, "/d/a");
    disk.power_off_after(2);
    write(&*file, 0, &[1; SECTOR]);
    file.sync_data().unwrap();
    assert!(file.write_all_at(&[IoSlice::new(&[2; SECTOR])], 0).is_err());
    assert!(disk.is_off());
    assert_eq!(read(&disk.crash(Survival::Everything), "/d/a"), Some(vec![1; SECTOR]));
}

#[derive(Clone, Debug)]
enum Step {
    Write { file: usize, offset: u64, len: usize },
    SetLen { file: usize, len: u64 },
    Allocate { file: usize, end: u64 },
    Sync { file: usize },
    Rename { from: usize, to: usize },
    Remove { file: usize },
    SyncDir,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = 0..3_usize;
    let step = prop_oneof![
        4 => (file.clone(), 0..6000_u64, 0..5000_usize).prop_map(|(file, offset, len)| Step::Write { file, offset, len }),
        2 => (file.clone(), 0..9000_u64).prop_map(|(file, len)| Step::SetLen { file, len }),
        1 => (file.clone(), 0..9000_u64).prop_map(|(file, end)| Step::Allocate { file, end }),
        2 => file.clone().prop_map(|file| Step::Sync { file }),
        1 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => file.prop_map(|file| Step::Remove { file }),
        1 => Just(Step::SyncDir),
    ];
    proptest::collection::vec(step, 0..40)
}

const PATHS: [&str; 3] = ["/d/0", "/d/1", "/d/2"];

fn run(disk: &SimDisk, steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        let fill = number as u8 + 1;
        match step {
            Step::Write { file, offset, len } => write(&*open(disk, PATHS[*file]), *offset, &vec![fill; *len]),
            Step::SetLen { file, len } => open(disk, PATHS[*file]).set_len(*len).unwrap(),
            Step::Allocate { file, end } => open(disk, PATHS[*file]).allocate(0..*end).unwrap(),
            Step::Sync { file } => open(disk, PATHS[*file]).sync_data().unwrap(),
            // A missing file has nothing to rename or remove.
            Step::Rename { from, to } => drop(disk.rename(Path::new(PATHS[*from]), Path::new(PATHS[*to]))),
            Step::Remove { file } => drop(disk.remove_file(Path::new(PATHS[*file]))),
            Step::SyncDir => disk.sync_dir(Path::new("/d")).unwrap(),
        }
    }
}

/// Each file's content as runs of equal bytes, so that a failure can be read.
fn all(disk: &SimDisk) -> [Option<Vec<(u8, usize)>>; 3] {
    let runs = |bytes: Vec<u8>| bytes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    PATHS.map(|path| read(disk, path).map(runs))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_survives_where_only_the_program_died(steps in steps()) {
        let disk = settled(&[]);
        run(&disk, &steps);
        prop_assert_eq!(all(&disk.crash_image(Survival::Everything, 0)), all(&disk));
    }

    #[test]
    fn after_syncing_everything_there_is_one_outcome(steps in steps(), seed: u64) {
        let disk = settled(&[]);
        run(&disk, &steps);
        for path in PATHS.into_iter().filter(|path| disk.metadata(Path::new(path)).is_ok()) {
            open(&disk, path).sync_data().unwrap();
        }
        disk.sync_dir(Path::new("/d")).unwrap();
        for survival in Survival::ALL {
            prop_assert_eq!(all(&disk.crash_image(survival, seed)), all(&disk));
        }
    }

    #[test]
    fn a_replayed_trace_gives_the_disk_of_its_last_moment(steps in steps(), seed: u64) {
        let disk = settled(&[("/d/0", &[5; 1234])]);
        disk.record();
        run(&disk, &steps);
        let trace = disk.take_trace().unwrap();
        let mut replay = trace.replay();
        replay.advance(trace.len()).unwrap();
        for survival in Survival::ALL {
            prop_assert_eq!(all(&replay.image(survival, seed)), all(&disk.crash_image(survival, seed)));
        }
    }

    #[test]
    fn the_same_seed_leaves_the_same_disk_and_a_crashed_disk_has_nothing_unsynced(steps in steps(), seed: u64) {
        let disk = settled(&[]);
        run(&disk, &steps);
        let image = disk.crash_image(Survival::Scattered, seed);
        prop_assert_eq!(all(&image), all(&disk.crash_image(Survival::Scattered, seed)));
        prop_assert_eq!(all(&image.crash_image(Survival::Scattered, seed.wrapping_add(1))), all(&image));
    }
}

#[test]
fn streams_of_one_seed_are_independent_and_repeat() {
    let draw = |stream| {
        let rng = SimRng::stream(42, stream);
        (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
