//! Stores that were moved, copied, mixed up or lost a part: refused with what is there and what to do, or served.

#![allow(clippy::disallowed_methods)]

use std::fs;

use tests_e2e::{Run, Site, SiteOptions};

/// A stopped site with one file that is in the pool.
fn stopped() -> Site {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("a"), "kept").unwrap();
    site.stop();
    site
}

fn at(data: std::path::PathBuf) -> Site {
    Site::new(SiteOptions { data: Some(data), ..SiteOptions::default() })
}

#[test]
fn a_store_whose_folder_was_moved_is_served_from_there() {
    let site = stopped();
    let moved = site.dir().join("moved");
    fs::rename(site.data(), &moved).unwrap();
    let mut other = at(moved);
    other.mount();
    assert_eq!(fs::read(other.mnt().join("a")).unwrap(), b"kept");
    other.command(&["check"]).arg(other.mnt()).ok();
    other.stop();
}

#[test]
fn f35_a_copy_is_refused_while_its_original_is_open_and_served_when_it_is_not() {
    let mut site = stopped();
    let copy = site.dir().join("copy");
    Run::new("cp").arg("-a").arg(site.data()).arg(&copy).ok();
    site.mount();
    let mut other = at(copy);
    let why = other.try_mount().unwrap_err();
    assert!(why.contains("same identity") && why.contains(&format!("process {}", site.pid())), "{why}");
    fs::write(site.mnt().join("b"), "still served").unwrap();
    site.stop();
    other.mount();
    assert_eq!(fs::read(other.mnt().join("a")).unwrap(), b"kept");
    other.stop();
}

#[test]
fn f35_a_store_file_that_was_changed_is_refused() {
    let mut site = stopped();
    let path = site.data().join("store.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("4+2", "3+2")).unwrap();
    let why = site.try_mount().unwrap_err();
    assert!(why.contains("store.json") && why.contains("checksum"), "{why}");
    fs::write(&path, &text).unwrap();
    site.mount();
    assert_eq!(fs::read(site.mnt().join("a")).unwrap(), b"kept");
}

#[test]
fn f35_a_drive_of_another_pool_is_named_as_that() {
    let site = stopped();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(site.data().join("store.json")).unwrap()).unwrap();
    let other = Site::new(SiteOptions::default());
    let done = other
        .command(&["mount", "--code", "1+0", "--data"])
        .arg(other.data())
        .arg("--drive")
        .arg(site.drive(2))
        .arg(other.mnt())
        .finish();
    assert_eq!(done.code, Some(1), "{}", done.text());
    assert!(done.stderr.contains(json["pool_uuid"].as_str().unwrap()), "{}", done.stderr);
    assert!(!other.data().exists(), "nothing was made");
}

#[test]
fn lost_parts_are_named_with_the_command_that_mends_them() {
    for (part, advice) in [("journal", "recover --data"), ("index", "recover --data"), ("store.json", "from a copy")] {
        let mut site = stopped();
        let lost = site.dir().join("lost");
        fs::rename(site.data().join(part), &lost).unwrap();
        let done = site.command(&["mount", "--foreground", "--data"]).arg(site.data()).arg(site.mnt()).finish();
        assert!(done.stderr.contains(advice), "{part}: {}", done.stderr);
        assert_eq!(done.code, Some(5), "{part}: {}", done.stderr);
        fs::rename(&lost, site.data().join(part)).unwrap();
        site.mount();
        assert_eq!(fs::read(site.mnt().join("a")).unwrap(), b"kept", "{part}");
    }
}

#[test]
fn a_lost_heal_list_is_said_until_a_heal_has_looked_at_every_blob() {
    let mut site = stopped();
    fs::remove_dir_all(site.data().join("pool")).unwrap();
    for _ in 0..2 {
        site.mount();
        let status = site.command(&["pool", "status"]).arg(site.mnt()).finish();
        assert_eq!(status.code, Some(4), "{}", status.text());
        assert!(status.stdout.contains("heal list was lost"), "{}", status.text());
        site.stop();
    }
    site.mount();
    site.command(&["pool", "heal"]).arg(site.mnt()).ok();
    site.command(&["pool", "status"]).arg(site.mnt()).ok();
    site.remount();
    site.command(&["pool", "status"]).arg(site.mnt()).ok();
}

#[test]
fn a_drive_below_a_disk_that_is_not_mounted_is_refused() {
    let site = Site::new(SiteOptions::default());
    let done = site
        .command(&["mount", "--code", "1+0", "--data"])
        .arg(site.data())
        .arg("--drive")
        .arg(site.dir().join("disk1/tidegate"))
        .arg(site.mnt())
        .finish();
    assert_eq!(done.code, Some(1), "{}", done.text());
    assert!(done.stderr.contains("disk1 does not exist"), "{}", done.stderr);
    assert!(!site.dir().join("disk1").exists() && !site.data().exists());
}

#[test]
fn df_board_and_status_agree() {
    let site = Site::new(SiteOptions::default());
    let board = site.command(&["mount", "--json", "--data"]).arg(site.data()).arg(site.mnt()).deadline_secs(90).ok();
    let (board, status) = (board.json(), site.status());
    assert_eq!(board["cache_bytes_max"], status["cache_bytes_max"], "{board} {status}");
    let df = nix::sys::statvfs::statvfs(&site.mnt()).unwrap();
    let (size, free) = (df.blocks() * df.fragment_size(), df.blocks_free() * df.fragment_size());
    assert!(size - free < 1 << 20, "an empty store uses nothing, whatever else is on the disk: {size} {free}");
    let disk = nix::sys::statvfs::statvfs(&site.data()).unwrap();
    let kept = (256 << 20).max(disk.blocks() * disk.fragment_size() / 50);
    let disk_free = (disk.blocks_available() * disk.fragment_size()).saturating_sub(kept);
    // 4+2 on one disk: six bytes of disk for four of files. Others write to this disk meanwhile.
    assert!(free <= disk_free / 6 * 4 + (1 << 30), "df promises {free} where {disk_free} can be written to");
    site.command(&["umount"]).arg(site.mnt()).deadline_secs(120).ok();
}
