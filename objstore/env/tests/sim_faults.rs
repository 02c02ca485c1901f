//! Faults of the simulated disk: each does what its rule says, where it says, and nothing else.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::time::Duration;

use objstore_env::sim::{Effect, Fault, Ops, SimDisk, SimWorld, Survival, When};
use objstore_env::{Disk, DiskFile, OpenMode};

const EIO: i32 = 5;

fn disk() -> SimDisk {
    let disk = SimDisk::new(3);
    for dir in ["/drives/0", "/drives/1"] {
        disk.create_dir_all(Path::new(dir)).unwrap();
        let file = disk.open(&Path::new(dir).join("a"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(&[1; 8192])], 0).unwrap();
    }
    disk.settle();
    disk
}

fn open(disk: &SimDisk, path: &str) -> std::sync::Arc<dyn DiskFile> {
    disk.open(Path::new(path), OpenMode::ReadWrite).unwrap()
}

fn read(file: &dyn DiskFile) -> std::io::Result<Vec<u8>> {
    let mut buf = vec![0; 8192];
    file.read_exact_at(&mut buf, 0).map(|()| buf)
}

#[test]
fn a_rule_hits_its_paths_and_calls_and_no_others() {
    let disk = disk();
    let [bad, good] = ["/drives/0/a", "/drives/1/a"].map(|path| open(&disk, path));
    let fault = disk.arm(Fault::new("/drives/0", Ops::READ, When::Always, Effect::Errno(EIO)));
    assert_eq!(read(&*bad).unwrap_err().raw_os_error(), Some(EIO));
    assert_eq!(read(&*good).unwrap(), [1; 8192]);
    bad.sync_data().unwrap();
    assert_eq!(disk.disarm(fault), 1);
    assert_eq!(read(&*bad).unwrap(), [1; 8192]);
}

#[test]
fn the_nth_call_fails_and_those_around_it_do_not() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    disk.arm(Fault::new("/", Ops::SYNC, When::Nth(2), Effect::Errno(EIO)));
    let outcomes: Vec<bool> = (0..4).map(|_| file.sync_data().is_ok()).collect();
    assert_eq!(outcomes, [true, false, true, true]);
}

#[test]
fn a_failed_sync_that_lost_its_content_shows_it_until_the_crash() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    disk.arm(Fault::new("/drives/0", Ops::SYNC, When::Nth(1), Effect::LoseSync));
    file.write_all_at(&[IoSlice::new(&[2; 8192])], 0).unwrap();
    assert!(file.sync_data().is_err());
    assert_eq!(read(&*file).unwrap(), [2; 8192]);
    file.sync_data().unwrap();
    let after = disk.crash_image(Survival::Everything, 0);
    let left = read(&*open(&after, "/drives/0/a")).unwrap();
    assert!(left.contains(&1), "the second sync has nothing left to write");
    disk.drop_caches();
    assert_eq!(read(&*file).unwrap(), left);
}

#[test]
fn an_ignored_sync_keeps_nothing() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    disk.arm(Fault::new("/drives/0", Ops::SYNC, When::Always, Effect::IgnoreSync));
    file.write_all_at(&[IoSlice::new(&[2; 8192])], 0).unwrap();
    file.sync_data().unwrap();
    let after = disk.crash_image(Survival::Nothing, 0);
    assert_eq!(read(&*open(&after, "/drives/0/a")).unwrap(), [1; 8192]);
}

#[test]
fn a_flipped_read_has_one_wrong_bit_and_the_medium_none() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    let fault = disk.arm(Fault::new("/drives/0", Ops::READ, When::Always, Effect::FlipBit));
    let wrong: u32 = read(&*file).unwrap().iter().map(|byte| (byte ^ 1).count_ones()).sum();
    assert_eq!(wrong, 1);
    disk.disarm(fault);
    assert_eq!(read(&*file).unwrap(), [1; 8192]);
}

#[test]
fn a_bit_flipped_at_rest_stays_flipped() {
    let disk = disk();
    disk.flip("/drives/0/a", 8 * 5000 + 3).unwrap();
    let after = disk.crash_image(Survival::Nothing, 0);
    for disk in [&disk, &after] {
        let mut expected = vec![1; 8192];
        expected[5000] ^= 8;
        assert_eq!(read(&*open(disk, "/drives/0/a")).unwrap(), expected);
    }
    assert!(disk.flip("/drives/0/a", 8 * 8192).is_err());
}

#[test]
fn a_vanished_drive_is_not_found_and_its_open_files_fail_until_it_is_back() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    disk.vanish("/drives/0");
    let missing = disk.open(Path::new("/drives/0/a"), OpenMode::CreateOrOpen).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(disk.metadata(Path::new("/drives/0")).is_err());
    assert!(file.write_all_at(&[IoSlice::new(b"x")], 0).is_err());
    let names: Vec<String> = disk.list(Path::new("/drives")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["1"]);
    disk.reappear("/drives/0");
    assert_eq!(read(&*file).unwrap(), [1; 8192]);
}

#[test]
fn a_read_only_filesystem_reads_and_refuses_changes() {
    let disk = disk();
    let file = open(&disk, "/drives/0/a");
    disk.arm(Fault::read_only("/drives/0"));
    let refused = [
        file.write_all_at(&[IoSlice::new(b"x")], 0).err(),
        file.set_len(0).err(),
        disk.open(Path::new("/drives/0/new"), OpenMode::CreateNew).err(),
        disk.remove_file(Path::new("/drives/0/a")).err(),
        disk.rename(Path::new("/drives/0/a"), Path::new("/drives/0/b")).err(),
        disk.create_dir_all(Path::new("/drives/0/x")).err(),
    ];
    for error in refused {
        assert_eq!(error.expect("a change is refused").kind(), ErrorKind::ReadOnlyFilesystem);
    }
    assert_eq!(read(&*file).unwrap(), [1; 8192]);
}

#[test]
fn a_full_filesystem_takes_what_fits_and_has_room_after_a_removal() {
    let disk = disk();
    disk.mount("/drives/0", 16 << 10);
    let file = open(&disk, "/drives/0/a");
    let error = file.write_all_at(&[IoSlice::new(&[3; 12 << 10])], 8 << 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 16 << 10, "the part that fits is written");
    assert_eq!(file.allocate(0..20 << 10).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(&[IoSlice::new(&[4; 16 << 10])], 0).unwrap();
    let space = disk.space(Path::new("/drives/0")).unwrap();
    assert_eq!((space.total, space.available), (16 << 10, 0));
    assert_ne!(disk.space(Path::new("/drives/1")).unwrap().filesystem, space.filesystem);
    disk.remove_file(Path::new("/drives/0/a")).unwrap();
    assert_eq!(disk.space(Path::new("/drives/0")).unwrap().available, 16 << 10);
    let error = disk.rename(Path::new("/drives/1/a"), Path::new("/drives/0/a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossesDevices);
}

#[test]
fn a_partial_write_leaves_a_first_part() {
    let seen = (0..50).map(|seed| {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        disk.arm(Fault::new("/", Ops::WRITE, When::Nth(1), Effect::Partial(EIO)));
        assert!(file.write_all_at(&[IoSlice::new(&[1; 1000])], 0).is_err());
        file.len().unwrap()
    });
    let lengths: std::collections::BTreeSet<u64> = seen.collect();
    assert!(lengths.len() > 10 && lengths.iter().all(|&len| len <= 1000), "{lengths:?}");
}

#[test]
fn a_slow_disk_costs_virtual_time_and_no_real_time() {
    let world = SimWorld::new(1);
    let env = world.env();
    world.disk().arm(Fault::new("/", Ops::SYNC, When::Always, Effect::Delay(Duration::from_secs(30))));
    let disk = std::sync::Arc::clone(&env.disk);
    world
        .run(env.blocking(move || {
            let file = disk.open(Path::new("/a"), OpenMode::CreateNew)?;
            file.sync_data()
        }))
        .unwrap();
    assert!(env.clock.monotonic() >= Duration::from_secs(30));
}
