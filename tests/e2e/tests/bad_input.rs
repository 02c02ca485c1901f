//! Bad input: one clear line that says what to do, a non-zero exit code, nothing changed on disk.

#![allow(clippy::disallowed_methods)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tests_e2e::{Finished, Run, Site, SiteOptions, tidegate};

/// Runs `tidegate mount ARGS…` in a fresh folder and checks the shape of the refusal.
fn refused(dir: &Path, args: &[&OsStr]) -> Finished {
    let before = listing(dir);
    let done = Run::new(tidegate())
        .arg("mount")
        .args(args)
        .env("HOME", dir)
        .env("XDG_DATA_HOME", dir.join("share"))
        .dir(dir)
        .finish();
    assert!(done.code.is_some_and(|c| c != 0), "it was accepted: {}", done.text());
    assert_eq!(listing(dir), before, "the refusal left something behind");
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

fn one_line(done: &Finished, parts: &[&str]) {
    let lines: Vec<&str> = done.stderr.lines().filter(|l| !l.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line, not:\n{}", done.stderr);
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in: {}", lines[0]);
    }
}

fn listing(dir: &Path) -> Vec<String> {
    Run::new("find").arg(dir).args(["-printf", "%P %y %s\n"]).ok().stdout.lines().map(String::from).collect()
}

fn s(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in("/var/tmp").unwrap();
    fs::create_dir(dir.path().join("mnt")).unwrap();
    dir
}

#[test]
fn unknown_options_are_usage_errors() {
    let dir = folder();
    let cases: [(&[&OsStr], &str); 6] = [
        (&[s("--no-such"), s("mnt")], "--no-such"),
        (&[], "<MOUNTPOINT>"),
        (&[s("--code"), s("four"), s("mnt")], "`four` is no code"),
        (&[s("--code"), s("-1+2"), s("mnt")], "`-1+2` is no code"),
        (&[s("--max-dirty"), s("12 parsecs"), s("mnt")], "12 parsecs"),
        (&[s("--max-dirty"), s("1"), s("mnt")], "at least 16.0 MiB"),
    ];
    for (args, part) in cases {
        let done = refused(dir.path(), args);
        assert_eq!(done.code, Some(2), "{}", done.text());
        one_line(&done, &[part]);
    }
}

#[test]
fn mount_point_is_checked() {
    let dir = folder();
    one_line(&refused(dir.path(), &[s("absent")]), &["absent"]);
    fs::write(dir.path().join("file"), "x").unwrap();
    one_line(&refused(dir.path(), &[s("file")]), &["file", "directory"]);
    fs::write(dir.path().join("mnt/taken"), "x").unwrap();
    one_line(&refused(dir.path(), &[s("mnt")]), &["mnt", "empty"]);
}

#[test]
fn mount_point_in_use_is_refused() {
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    let other = site.dir().join("other-data");
    let done = site.command(&["mount", "--data"]).arg(&other).arg(site.mnt()).finish();
    assert!(done.code.is_some_and(|c| c != 0));
    one_line(&done, &["mounted"]);
    assert!(!other.exists(), "nothing was created");
}

#[test]
fn store_opened_twice_is_refused_and_says_by_whom() {
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    fs::create_dir(site.dir().join("mnt2")).unwrap();
    let done = site.command(&["mount", "--data"]).arg(site.data()).arg(site.dir().join("mnt2")).finish();
    assert!(done.code.is_some_and(|c| c != 0));
    one_line(&done, &[&site.pid().to_string()]);
    fs::write(site.mnt().join("still"), "served").unwrap();
}

#[test]
fn data_folder_is_checked() {
    let dir = folder();
    fs::write(dir.path().join("data"), "a file").unwrap();
    one_line(&refused(dir.path(), &[s("--data"), s("data"), s("mnt")]), &["data", "directory"]);
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/somebody"), "else's").unwrap();
    one_line(&refused(dir.path(), &[s("--data"), s("full"), s("mnt")]), &["full"]);
}

#[test]
fn code_that_the_drives_cannot_carry_is_refused() {
    let dir = folder();
    let drives = ["a", "b", "c"].map(|d| dir.path().join(d));
    let mut args = vec![s("--data"), s("data"), s("--code"), s("4+2")];
    for drive in &drives {
        args.push(s("--drive"));
        args.push(drive.as_os_str());
    }
    args.push(s("mnt"));
    one_line(&refused(dir.path(), &args), &["4+2", "6", "3"]);
    for code in ["0+1", "17+1", "4+5", "4", "4+", "-1+2"] {
        refused(dir.path(), &[s("--data"), s("data"), s("--code"), s(code), s("mnt")]);
    }
}

#[test]
fn drives_that_repeat_are_refused() {
    let dir = folder();
    fs::create_dir(dir.path().join("a")).unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
    let args = ["--data", "data", "--code", "1+1", "--drive", "a", "--drive", "b", "mnt"].map(s);
    one_line(&refused(dir.path(), &args), &["same"]);
}

#[test]
fn drives_that_were_mixed_up_are_refused() {
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    fs::write(site.mnt().join("a"), "b").unwrap();
    site.stop();
    let spare = site.dir().join("spare");
    fs::rename(site.drive(0), &spare).unwrap();
    fs::rename(site.drive(1), site.drive(0)).unwrap();
    fs::rename(&spare, site.drive(1)).unwrap();
    let why = site.try_mount().unwrap_err();
    assert!(why.contains("drives/0") || why.contains("drives/1"), "{why}");
    fs::rename(site.drive(0), &spare).unwrap();
    fs::rename(site.drive(1), site.drive(0)).unwrap();
    fs::rename(&spare, site.drive(1)).unwrap();
    site.mount();
    assert_eq!(fs::read(site.mnt().join("a")).unwrap(), b"b");
}

#[test]
fn drive_of_another_pool_is_refused() {
    let mut first = Site::mounted();
    let mut second = Site::mounted();
    first.stop();
    second.stop();
    fs::rename(first.drive(2), first.dir().join("own")).unwrap();
    fs::rename(second.drive(2), first.drive(2)).unwrap();
    let why = first.try_mount().unwrap_err();
    assert!(why.contains("drives/2") && why.contains("pool"), "{why}");
}

#[test]
fn store_of_a_newer_format_is_refused() {
    let mut site = Site::mounted();
    site.stop();
    let path = site.data().join("store.json");
    let mut store: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    store["format"] = 999.into();
    fs::write(&path, store.to_string()).unwrap();
    let why = site.try_mount().unwrap_err();
    assert!(why.contains("999") && why.contains("newer"), "{why}");
}

#[test]
fn path_that_is_not_utf_8_is_refused() {
    let dir = folder();
    refused(dir.path(), &[s("--data"), OsStr::from_bytes(b"da\xffta"), s("mnt")]);
}

#[test]
fn name_that_is_too_long_is_enametoolong() {
    let site = Site::mounted();
    let error = fs::write(site.mnt().join("n".repeat(256)), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(36));
    fs::write(site.mnt().join("n".repeat(255)), "x").unwrap();
    let odd = site.mnt().join(OsStr::from_bytes(b"\xff\xfe\n"));
    fs::write(&odd, "bytes").unwrap();
    assert_eq!(fs::read(&odd).unwrap(), b"bytes");
}

#[test]
fn status_of_nothing_says_so() {
    let dir = folder();
    let done = Run::new(tidegate()).args(["status", "--data"]).arg(dir.path().join("none")).finish();
    assert_eq!(done.code, Some(3), "{}", done.text());
    one_line(&done, &["none"]);
}
