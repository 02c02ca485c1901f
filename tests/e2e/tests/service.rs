//! Start, stop, drain, board, status: the service as an operator meets it.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests_e2e::{Run, Site, SiteOptions, fill_tree, is_mounted, tidegate};

fn same(a: &Path, b: &Path) {
    Run::new("diff").args(["-r", "--no-dereference"]).arg(a).arg(b).deadline_secs(120).ok();
}

#[test]
fn everything_is_there_after_stop_and_start() {
    let mut site = Site::mounted();
    let source = site.dir().join("source");
    fill_tree(&source, 200).unwrap();
    Run::new("cp").arg("-a").arg(&source).arg(site.mnt().join("tree")).ok();
    site.remount();
    same(&source, &site.mnt().join("tree"));
}

#[test]
fn stop_drains_everything_into_the_pool() {
    let mut site = Site::mounted();
    let source = site.dir().join("source");
    fill_tree(&source, 100).unwrap();
    Run::new("cp").arg("-a").arg(&source).arg(site.mnt().join("tree")).ok();
    site.stop();
    // The local copies may go: what the pool holds is all that is needed for the bytes.
    fs::remove_dir_all(site.data().join("cache")).ok();
    site.mount();
    let status = site.status();
    assert_eq!(status["dirty_bytes"], 0, "{status}");
    same(&source, &site.mnt().join("tree"));
}

#[test]
fn umount_from_outside_ends_the_service() {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("a"), "kept").unwrap();
    Run::new("umount").arg(site.mnt()).ok();
    assert_eq!(site.wait_stopped(), Some(0), "{}", site.log());
    site.mount();
    assert_eq!(fs::read_to_string(site.mnt().join("a")).unwrap(), "kept");
}

#[test]
fn tidegate_umount_drains_and_ends_the_service() {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("a"), vec![7; 3_000_000]).unwrap();
    site.command(&["umount"]).arg(site.mnt()).deadline_secs(120).ok();
    assert!(!is_mounted(&site.mnt()));
    assert_eq!(site.wait_stopped(), Some(0), "{}", site.log());
    site.mount();
    assert_eq!(fs::read(site.mnt().join("a")).unwrap(), vec![7; 3_000_000]);
}

#[test]
fn dead_mount_point_left_by_a_crash_is_cleaned_at_the_next_start() {
    let mut site = Site::mounted();
    site.kill();
    assert!(is_mounted(&site.mnt()), "the crash left its mount");
    site.mount();
    fs::write(site.mnt().join("a"), "served").unwrap();
    site.stop();
    assert!(!is_mounted(&site.mnt()), "no second mount is left below");
}

#[test]
fn background_mount_prints_the_board_and_says_how_to_go_on() {
    let site = Site::new(SiteOptions::default());
    let done = site.command(&["mount", "--data"]).arg(site.data()).arg(site.mnt()).deadline_secs(90).ok();
    for part in
        ["4+2", site.mnt().to_str().unwrap(), site.data().to_str().unwrap(), "tidegate status", "tidegate umount"]
    {
        assert!(done.text().contains(part), "{part:?} is not on the board:\n{}", done.text());
    }
    fs::write(site.mnt().join("a"), "b").unwrap();
    let status = site.command(&["status", "--data"]).arg(site.data()).ok();
    assert!(status.text().contains(site.mnt().to_str().unwrap()), "{}", status.text());
    site.command(&["umount"]).arg(site.mnt()).deadline_secs(120).ok();
    assert!(!is_mounted(&site.mnt()));
    let gone = site.command(&["status", "--data"]).arg(site.data()).finish();
    assert_eq!(gone.code, Some(3), "{}", gone.text());
}

#[test]
fn info_names_the_inode_its_extents_and_the_drives() {
    let site = Site::mounted();
    fs::write(site.mnt().join("a"), vec![1; 600_000]).unwrap();
    site.flush();
    let done = site.command(&["info"]).arg(site.mnt().join("a")).ok();
    assert!(done.text().contains("drives/"), "{}", done.text());
    let json = site.command(&["info", "--json"]).arg(site.mnt().join("a")).ok().json();
    assert_eq!(json["size"], 600_000, "{json}");
    assert!(json["extents"].as_array().is_some_and(|e| !e.is_empty()), "{json}");
}

#[test]
fn doctor_finds_this_machine_fit() {
    let site = Site::mounted();
    let done = site.command(&["doctor", "--data"]).arg(site.data()).ok();
    assert!(done.text().contains("fuse"), "{}", done.text());
}

#[test]
fn every_command_speaks_json() {
    let site = Site::mounted();
    for command in [&["status"][..], &["pool", "status"], &["doctor"]] {
        site.command(command).args(["--json", "--data"]).arg(site.data()).ok().json();
    }
}

#[test]
fn version_and_help_are_there() {
    let version = Run::new(tidegate()).arg("--version").ok();
    assert!(version.stdout.starts_with("tidegate "), "{}", version.stdout);
    let help = Run::new(tidegate()).arg("--help").ok();
    for command in ["mount", "umount", "status", "info", "pool", "doctor"] {
        assert!(help.stdout.contains(command), "{command} is not in:\n{}", help.stdout);
    }
}

#[test]
fn open_file_that_was_unlinked_keeps_its_bytes_and_goes_after_a_crash() {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut site = Site::mounted();
    let path = site.mnt().join("orphan");
    let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(&vec![9; 200_000]).unwrap();
    fs::remove_file(&path).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content, vec![9; 200_000]);
    file.sync_all().unwrap();
    site.kill();
    drop(file);
    site.mount();
    site.command(&["check", "--data"]).arg(site.data()).deadline_secs(120).ok();
}

#[test]
fn sigkill_during_start_does_no_harm() {
    let mut site = Site::mounted();
    let source = site.dir().join("source");
    fill_tree(&source, 60).unwrap();
    Run::new("cp").arg("-a").arg(&source).arg(site.mnt().join("tree")).ok();
    // An fsync of the directory: Linux does not pass syncfs on to a FUSE server.
    Run::new("sync").arg(site.mnt()).ok();
    site.kill();
    for delay_ms in [0, 5, 20, 60] {
        let log = fs::File::create(site.dir().join("early.log")).unwrap();
        let mut child = site.command(&["mount", "--foreground", "--data"]).arg(site.data()).arg(site.mnt()).start(log);
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
    site.mount();
    same(&source, &site.mnt().join("tree"));
}
