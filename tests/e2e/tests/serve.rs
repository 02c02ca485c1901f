//! `tidegate serve`: its configuration, its doors, and what a service manager hears.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests_e2e::{Run, Site, SiteOptions, is_mounted, tidegate};

const MOUNT_AND_NFS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
const DEADLINE: Duration = Duration::from_secs(60);

fn site(doors: &str) -> Site {
    Site::new(SiteOptions { doors: Some(doors.to_owned()), ..SiteOptions::default() })
}

fn hang_up(site: &Site) {
    kill(Pid::from_raw(i32::try_from(site.pid()).unwrap()), Signal::SIGHUP).unwrap();
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn mistakes_in_a_configuration_are_one_line_and_nothing_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = format!("[nfs]\nlisten = [\"{}\"]\n", taken.local_addr().unwrap());
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&str, &[&str]); 9] = [
        ("[nfs]\nlisten = [\"127.0.0.1:0\"]\nreadonly = true\n", &["line 5", "[nfs] readonly", "`listen`"]),
        ("[cache]\nsize = \"lots\"\n[nfs]\n", &["line 4", "[cache] size", "`lots` is no size"]),
        ("[nfs]\nlisten = [\"10.0.0.0/8\"]\n", &["line 4", "`10.0.0.0/8` is no address"]),
        ("[nfs]\nlisten = [\"192.0.2.77:0\"]\n", &["192.0.2.77:0", "does not have this address"]),
        (&taken_port, &[&taken, "another program"]),
        ("[[mounts]]\npath = \"@MNT@-absent\"\n", &["mnt-absent", "does not exist", "mkdir"]),
        ("[[mounts]]\npath = \"@MNT@\"\n[[mounts]]\npath = \"@MNT@\"\n", &["mnt", "overlaps"]),
        ("[[drives]]\npath = \"@MNT@-disk/drive\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n", &["mnt-disk does not exist"]),
        ("", &["opens no door", "[[mounts]]", "[nfs]"]),
    ];
    for (doors, parts) in cases {
        let site = site(doors);
        for command in [&["check", "-c"], &["serve", "-c"]] {
            let done = Run::new(tidegate()).args(command).arg(site.config()).env("HOME", site.dir()).finish();
            assert!(done.code.is_some_and(|code| code != 0), "{doors}: {}", done.text());
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
            assert!(parts.iter().all(|part| done.stderr.contains(part)), "{doors}\n{}", done.stderr);
        }
        assert!(!site.data().exists(), "{doors}: a refusal makes no store");
    }
}

#[test]
fn a_configuration_is_looked_at_without_starting_anything() {
    let mut site = site(MOUNT_AND_NFS);
    let report = site.command(&["check", "--json", "-c"]).arg(site.config()).ok().json();
    assert_eq!((&report["new_store"], &report["running"]), (&true.into(), &false.into()));
    assert!(!site.data().exists());
    site.mount();
    let report = site.command(&["check", "--json", "-c"]).arg(site.config()).ok().json();
    assert_eq!((&report["new_store"], &report["running"]), (&false.into(), &true.into()));
    let counted = site.command(&["check", "--json", "--data"]).arg(site.data()).ok().json();
    assert_eq!(counted["findings_total"], 0, "without -c it counts the store again");
}

#[test]
fn reload_applies_what_can_change_and_names_what_needs_a_restart() {
    let mut site = site(MOUNT_AND_NFS);
    site.mount();
    let reload = |site: &Site| {
        site.config();
        site.command(&["reload", "--json", "--data"]).arg(site.data()).finish()
    };
    assert_eq!(reload(&site).json()["applied"].as_array().map(Vec::len), Some(0));
    let address = site.nfs_address();

    let changed = "[cache]\nupload_delay = \"1s\"\n[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"[::1]:0\"]\n\
                   privileged_port = true\n[service]\nstop_limit = \"20s\"\nlog = \"info\"\n";
    site.set_doors(changed);
    let report = reload(&site).json();
    assert_eq!(report["applied"], serde_json::json!(["service.log", "service.stop_limit", "nfs.privileged_port"]));
    assert_eq!(report["needs_restart"], serde_json::json!(["cache.upload_delay", "nfs.listen"]));
    assert_eq!(site.nfs_address(), address, "the door stands where it stood");

    // A file that is not valid changes nothing.
    site.set_doors("[nfs]\nlissten = []\n");
    let refused = reload(&site);
    assert!(refused.code == Some(1) && refused.stderr.contains("lissten"), "{}", refused.text());
    assert!(is_mounted(&site.mnt()));

    site.set_doors("[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n[service]\nstop_limit = \"7s\"\n");
    site.config();
    hang_up(&site);
    eventually("SIGHUP reads the file again", || site.log().contains("\"service.stop_limit\""));
    site.stop();
}

#[test]
fn umount_of_one_mount_leaves_the_other_doors_and_the_last_one_ends_the_service() {
    let mut site = site("[[mounts]]\npath = \"@MNT@\"\n[[mounts]]\npath = \"@MNT@-2\"\n");
    let second = site.dir().join("mnt-2");
    fs::create_dir(&second).unwrap();
    site.mount();
    fs::write(second.join("f"), "by the second").unwrap();
    assert_eq!(fs::read(site.mnt().join("f")).unwrap(), b"by the second");

    let report = site.command(&["umount", "--json"]).arg(&second).ok().json();
    assert_eq!((&report["goes_on"], &report["complete"]), (&true.into(), &true.into()));
    assert!(!is_mounted(&second));
    fs::write(site.mnt().join("f"), "by the first").unwrap();
    assert_eq!(site.status()["mounts"].as_array().map(Vec::len), Some(1));

    let report = site.command(&["umount", "--json"]).arg(site.mnt()).ok().json();
    assert_eq!(report["goes_on"], false);
    assert_eq!(site.wait_stopped(), Some(0), "{}", site.log());
}

/// A thread that tells one mount what the other changed may wait in the kernel for a program that waits for the service.
#[test]
fn programs_in_two_mounts_go_on_when_the_service_is_killed() {
    let mut site = site("[[mounts]]\npath = \"@MNT@\"\n[[mounts]]\npath = \"@MNT@-2\"\n");
    let mounts = [site.mnt(), site.dir().join("mnt-2")];
    fs::create_dir(&mounts[1]).unwrap();
    for round in 0..5 {
        site.mount();
        let (ended, programs) = mpsc::channel();
        for n in 0..4 {
            let (ended, path) = (ended.clone(), mounts[n % 2].join(format!("f{n}")));
            std::thread::spawn(move || {
                while fs::write(&path, "x").and_then(|()| fs::remove_file(&path)).is_ok() {}
                ended.send(()).expect("the test waits for it");
            });
        }
        std::thread::sleep(Duration::from_millis(200));
        kill(Pid::from_raw(i32::try_from(site.pid()).unwrap()), Signal::SIGKILL).unwrap();
        let all_ended = (0..4).all(|_| programs.recv_timeout(DEADLINE).is_ok());
        if !all_ended {
            // Else neither they nor the service would ever end.
            for flag in [MntFlags::MNT_FORCE, MntFlags::MNT_DETACH] {
                mounts.iter().filter_map(|mount| umount2(mount, flag).err()).for_each(|errno| eprintln!("{errno}"));
            }
        }
        site.kill();
        assert!(all_ended, "round {round}: a program still waits {DEADLINE:?} after the service was killed");
    }
    site.mount();
    site.stop();
}

/// Whoever moves the folder above a mount point away keeps the service from unmounting it, and from nothing else.
#[test]
fn a_mount_that_stays_is_told_and_the_store_is_closed_all_the_same() {
    let mut site = site("[[mounts]]\npath = \"@MNT@\"\n[[mounts]]\npath = \"@MNT@-above/mnt\"\n");
    let (above, away) = (site.dir().join("mnt-above"), site.dir().join("mnt-away"));
    fs::create_dir_all(above.join("mnt")).unwrap();
    site.mount();
    fs::write(site.mnt().join("f"), vec![7; 3_000_000]).unwrap();
    fs::rename(&above, &away).unwrap();
    fs::write(&above, "no folder").unwrap();
    kill(Pid::from_raw(i32::try_from(site.pid()).unwrap()), Signal::SIGTERM).unwrap();
    let code = site.wait_stopped();
    Run::new("umount").arg(away.join("mnt")).ok();
    let log = site.log();
    assert!(log.contains("a mount stays") && log.contains("mnt-above/mnt"), "{log}");
    assert!(log.lines().any(|line| line.ends_with("stopped")), "the store was closed: {log}");
    assert_eq!(code, Some(1), "{log}");
    assert!(!is_mounted(&site.mnt()), "the other one is gone");
}

#[test]
fn nfs_goes_on_when_the_last_mount_is_taken_away_from_outside() {
    let mut site = site(MOUNT_AND_NFS);
    site.mount();
    Run::new("umount").arg(site.mnt()).ok();
    eventually("the mount is forgotten", || site.status()["mounts"].as_array().map(Vec::len) == Some(0));
    assert!(site.nfs_address().is_some());
    site.stop();
}

#[test]
fn a_mount_without_a_configuration_has_nothing_to_read_again() {
    let site = Site::mounted();
    let done = site.command(&["reload", "--data"]).arg(site.data()).finish();
    assert_eq!(done.code, Some(1), "{}", done.text());
    assert!(done.stderr.contains("no configuration") && done.stderr.contains("tidegate serve"), "{}", done.stderr);
}

#[test]
fn a_stop_waits_for_the_pool_no_longer_than_it_may_and_says_what_stays() {
    let mut site = site(&format!("{MOUNT_AND_NFS}[service]\nstop_limit = \"1s\"\n"));
    site.mount();
    // Two of six are enough for 4+2 to write, by putting shards beside others; one is not.
    let aside = site.dir().join("aside");
    fs::create_dir(&aside).unwrap();
    for slot in 0..5 {
        fs::rename(site.drive(slot), aside.join(slot.to_string())).unwrap();
    }
    fs::write(site.mnt().join("f"), vec![7; 3_000_000]).unwrap();
    let begin = Instant::now();
    site.stop();
    // The limit, and not the half minute that is the default.
    assert!(begin.elapsed() < Duration::from_secs(25), "stopped after {:?}", begin.elapsed());
    assert!(site.log().contains("stopping before everything is in the pool"), "{}", site.log());
    for slot in 0..5 {
        fs::rename(aside.join(slot.to_string()), site.drive(slot)).unwrap();
    }
    site.mount();
    assert_eq!(fs::read(site.mnt().join("f")).unwrap(), vec![7; 3_000_000]);
}

#[test]
fn a_service_manager_hears_ready_alive_reloading_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |word: &str| loop {
        let mut text = [0; 512];
        let len = manager.recv(&mut text).unwrap_or_else(|error| panic!("{word} was not said: {error}"));
        if String::from_utf8_lossy(&text[..len]).lines().any(|line| line == word) {
            return;
        }
    };
    let env = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "200000".to_owned())];
    let mut site = Site::new(SiteOptions {
        doors: Some(MOUNT_AND_NFS.to_owned()),
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        ..SiteOptions::default()
    });
    site.mount();
    hear("READY=1");
    hear("WATCHDOG=1");
    hang_up(&site);
    hear("RELOADING=1");
    hear("READY=1");
    site.stop();
    hear("STOPPING=1");
}

#[test]
fn init_writes_a_configuration_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("etc/tidegate.toml");
    let init = || Run::new(tidegate()).args(["init", "-c"]).arg(&file).env("HOME", dir.path()).finish();
    assert_eq!(init().code, Some(0));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("[nfs]") && text.contains("data = \"/"), "{text}");
    let again = init();
    assert_eq!(again.code, Some(1), "{}", again.text());
    assert!(again.stderr.contains("not overwritten"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}
