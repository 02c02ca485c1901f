//! Drives go away, lie and come back, under the real mount.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use tests_e2e::{Run, Site, SiteOptions, fill_tree};

/// A site whose data lies in the pool only: nothing is left in the local journal or cache to serve it from.
fn cold_site() -> Site {
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    let source = site.dir().join("source");
    fill_tree(&source, 120).unwrap();
    Run::new("cp").arg("-a").arg(&source).arg(site.mnt().join("tree")).deadline_secs(120).ok();
    site.flush();
    site.command(&["cache", "drop", "--data"]).arg(site.data()).ok();
    site
}

fn same(a: &Path, b: &Path) {
    Run::new("diff").args(["-r", "--no-dereference"]).arg(a).arg(b).deadline_secs(120).ok();
}

#[test]
fn f10_two_deleted_drives_cost_nothing_and_heal() {
    let mut site = cold_site();
    for slot in [1, 4] {
        fs::remove_dir_all(site.drive(slot)).unwrap();
    }
    site.remount();
    same(&site.dir().join("source"), &site.mnt().join("tree"));
    let status = site.command(&["pool", "status", "--data"]).arg(site.data()).finish();
    assert_eq!(status.code, Some(4), "a degraded pool has its own exit code\n{}", status.text());
    assert!(status.text().contains(&site.drive(1).display().to_string()), "{}", status.text());

    site.command(&["pool", "heal", "--data"]).arg(site.data()).deadline_secs(120).ok();
    site.command(&["pool", "status", "--data"]).arg(site.data()).ok();
    site.command(&["cache", "drop", "--data"]).arg(site.data()).ok();
    for slot in [0, 5] {
        fs::remove_dir_all(site.drive(slot)).unwrap();
    }
    site.remount();
    same(&site.dir().join("source"), &site.mnt().join("tree"));
}

#[test]
fn f09_with_two_drives_deleted_everything_is_written_flushed_unmounted_and_healed() {
    let mut site = Site::mounted();
    for slot in [1, 4] {
        fs::remove_dir_all(site.drive(slot)).unwrap();
    }
    let source = site.dir().join("source");
    fill_tree(&source, 120).unwrap();
    Run::new("cp").arg("-a").arg(&source).arg(site.mnt().join("tree")).deadline_secs(120).ok();
    let synced = site.mnt().join("synced");
    fs::write(&synced, "acknowledged").unwrap();
    fs::File::open(&synced).unwrap().sync_all().unwrap();
    site.flush();
    site.command(&["umount"]).arg(site.mnt()).deadline_secs(120).ok();
    assert_eq!(site.wait_stopped(), Some(0));

    // A third drive goes: what was written on four bears it, and nothing local serves it.
    site.mount();
    site.command(&["cache", "drop", "--data"]).arg(site.data()).ok();
    let away = site.dir().join("away");
    fs::rename(site.drive(2), &away).unwrap();
    same(&source, &site.mnt().join("tree"));
    fs::rename(&away, site.drive(2)).unwrap();

    let status = site.command(&["pool", "status", "--json", "--data"]).arg(site.data()).finish();
    assert_eq!(status.code, Some(4), "displaced shards are a debt\n{}", status.text());
    assert!(status.json()["heal_pending"].as_u64() > Some(0), "{}", status.text());
    site.command(&["pool", "heal", "--data"]).arg(site.data()).deadline_secs(120).ok();
    site.command(&["pool", "status", "--data"]).arg(site.data()).ok();
    site.command(&["cache", "drop", "--data"]).arg(site.data()).ok();
    for slot in [0, 5] {
        fs::remove_dir_all(site.drive(slot)).unwrap();
    }
    site.remount();
    same(&source, &site.mnt().join("tree"));
    assert_eq!(fs::read_to_string(&synced).unwrap(), "acknowledged");
}

#[test]
fn f12_three_deleted_drives_give_eio_and_name_the_file_and_the_drives() {
    let mut site = cold_site();
    site.stop();
    for slot in [0, 2, 3] {
        fs::rename(site.drive(slot), site.dir().join(format!("away{slot}"))).unwrap();
    }
    let refused = site.try_mount();
    if refused.is_ok() {
        let read = fs::read(site.mnt().join("tree/d3/e0/f45"));
        assert_eq!(read.unwrap_err().raw_os_error(), Some(5), "EIO, never zeros");
        assert!(fs::metadata(site.mnt().join("tree/d3/e0/f45")).is_ok(), "names are not affected");
        let log = site.log();
        assert!(log.contains("drives/0") || log.contains("drives/2"), "the log names the drives:\n{log}");
        site.stop();
    }
    for slot in [0, 2, 3] {
        if site.drive(slot).exists() {
            fs::remove_dir_all(site.drive(slot)).unwrap();
        }
        fs::rename(site.dir().join(format!("away{slot}")), site.drive(slot)).unwrap();
    }
    site.mount();
    same(&site.dir().join("source"), &site.mnt().join("tree"));
}
