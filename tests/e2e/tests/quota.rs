//! Quotas of shares on the real binary: both doors are bound, nothing acknowledged is lost, and the use is exact.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use serde_json::Value;
use tests_e2e::{NfsClient, Pattern, Run, Site, SiteOptions, tool};

const MOUNT_AND_NFS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
const MIB: u64 = 1 << 20;
const NFS3ERR_DQUOT: u32 = 69;

fn serving() -> Site {
    let mut site = Site::new(SiteOptions { doors: Some(MOUNT_AND_NFS.to_owned()), ..SiteOptions::default() });
    site.mount();
    site
}

fn share(site: &Site, path: &str) -> Value {
    let shares = site.share(&["list", "--json"]).ok().json();
    let all = shares["shares"].as_array().expect("a list");
    all.iter().find(|share| share["path"] == path).unwrap_or_else(|| panic!("{path} is no share")).clone()
}

/// Bytes and files that the quota of the share says are taken.
fn used(site: &Site, path: &str) -> (u64, u64) {
    let quota = &share(site, path)["quota"];
    (quota["used_bytes"].as_u64().expect("bytes"), quota["used_files"].as_u64().expect("files"))
}

/// What is freed in the background, or passed on by the kernel, is so a moment later.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().expect("an error of the system"))
}

/// Appends until nothing more is taken; gives the bytes that were.
fn fill(path: &Path, part: usize) -> Vec<u8> {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
    let mut taken = fs::read(path).expect("read");
    loop {
        let bytes = Pattern(9).bytes(taken.len() as u64, part);
        match file.write(&bytes) {
            Ok(written) => taken.extend_from_slice(&bytes[..written]),
            Err(error) => {
                assert_eq!(errno(&error), Errno::EDQUOT);
                file.sync_all().expect("what was taken is kept");
                return taken;
            }
        }
    }
}

fn check_is_clean(site: &Site) {
    let checked = site.command(&["check", "--json", "--data"]).arg(site.data()).ok().json();
    assert_eq!(checked["findings_total"], 0, "{checked}");
}

#[test]
fn a_quota_binds_both_doors_and_keeps_what_it_took_over_kill_9() {
    let mut site = serving();
    site.share(&["create", "/files", "--make", "--squash", "none", "--quota", "8MiB", "--quota-files", "5"]).ok();
    let dir = site.mnt().join("files");
    let first = Pattern(7).bytes(0, 5 * MIB as usize);
    fs::write(dir.join("first"), &first).unwrap();

    // A client of NFS that asks for more than is left, and one that asks byte by byte.
    let local = site.dir().join("source");
    fs::write(&local, &first).unwrap();
    let copied = Run::new(tool("nfs-cp")).arg(&local).arg(site.nfs_url("/files/copied")).finish();
    // It says that much and no more; the next client sees the status.
    assert!(copied.text().contains("Failed to write"), "nfs-cp hears of it: {}", copied.text());
    let mut client = NfsClient::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").unwrap();
    let copy = client.lookup(&root, "copied");
    let mut end = fs::metadata(dir.join("copied")).unwrap().len();
    assert!(end < 5 * MIB, "{end}");
    let byte_by =
        |client: &mut NfsClient, offset: u64, len: usize| client.write_status(&copy, offset, &vec![b'n'; len]);
    while byte_by(&mut client, end, 100_000) == 0 {
        end += 100_000;
    }
    assert_eq!(byte_by(&mut client, end, 100_000), NFS3ERR_DQUOT);
    assert_eq!(byte_by(&mut client, 0, 100_000), 0, "over what is there");

    // The mount takes the rest, to the byte.
    let rest = fill(&dir.join("rest"), 1000);
    let rest = [rest, fill(&dir.join("rest"), 1)].into_iter().max_by_key(Vec::len).unwrap();
    assert_eq!(used(&site, "/files"), (8 * MIB, 4));
    let space = statvfs(&dir).unwrap();
    assert_eq!((space.blocks() * space.fragment_size(), space.blocks_available()), (8 * MIB, 0), "as df says it");
    assert_eq!(client.space(&root), (8 * MIB, 0), "as FSSTAT says it");
    assert!(client.space(&root).0 < statvfs(&site.mnt()).unwrap().blocks() * space.fragment_size());
    File::create(dir.join("fifth")).unwrap();
    File::create(dir.join("sixth")).map(drop).expect_err("six with the directory, five are allowed");
    let file = OpenOptions::new().write(true).open(dir.join("first")).unwrap();
    file.write_all_at(b"over what is there", 0).unwrap();
    file.sync_all().unwrap();
    let acknowledged = |name: &str| fs::read(dir.join(name)).unwrap();
    let first = [b"over what is there", &first[18..]].concat();
    let copied = acknowledged("copied");
    assert_eq!(copied.len() as u64, end);

    for _ in 0..2 {
        assert!(acknowledged("first") == first && acknowledged("rest") == rest && acknowledged("copied") == copied);
        check_is_clean(&site);
        site.kill();
        site.mount();
        assert_eq!(used(&site, "/files"), (8 * MIB, 5), "as before");
    }
    let error = fs::write(dir.join("fifth"), b"x").expect_err("still full");
    assert_eq!(errno(&error), Errno::EDQUOT);

    // What is removed makes room, through whichever door.
    fs::remove_file(dir.join("first")).unwrap();
    eventually("a removed file makes room", || used(&site, "/files").0 == 3 * MIB);
    fs::write(dir.join("fifth"), &first).unwrap();
    site.share(&["set", "/files", "--quota", "9MiB"]).ok();
    let more = fill(&dir.join("fifth"), 4096);
    eventually("nothing but the files counts", || used(&site, "/files").0 == more.len() as u64 + 3 * MIB);
    check_is_clean(&site);
    site.stop();
}

#[test]
fn a_tree_that_was_there_gets_a_quota_and_mv_copies_out_of_it() {
    const FILES: u64 = 2000;
    let mut site = serving();
    let old = site.mnt().join("old");
    fs::create_dir_all(old.join("sub")).unwrap();
    for n in 0..FILES {
        fs::write(old.join(if n % 2 == 0 { format!("f{n}") } else { format!("sub/f{n}") }), b"12345").unwrap();
    }
    let set = site.share(&["create", "/old", "--squash", "none", "--quota", "1MiB", "--json"]).ok().json();
    assert_eq!(set["share"]["quota"]["counting"], true, "{set}");
    site.kill();
    site.mount();
    eventually("the tree is counted", || share(&site, "/old")["quota"]["counting"] == false);
    assert_eq!(used(&site, "/old"), (FILES * 5, FILES + 2));
    check_is_clean(&site);
    let listed = site.share(&["list"]).ok().stdout;
    assert!(listed.contains("9.8 KiB of 1.0 MiB, 2002 files of no limit"), "{listed}");

    for nested in ["/old/sub", "/"] {
        let refused = site.share(&["create", nested, "--quota", "1MiB", "--as", "/nested"]).finish();
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("quotas do not lie in each other"), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1);
    }

    let outside = site.mnt().join("outside");
    fs::create_dir(&outside).unwrap();
    let error = fs::rename(old.join("sub"), outside.join("sub")).expect_err("another device");
    assert_eq!(errno(&error), Errno::EXDEV);
    assert_eq!(errno(&fs::hard_link(old.join("f0"), outside.join("f0")).unwrap_err()), Errno::EXDEV);
    Run::new("mv").arg(old.join("sub")).arg(&outside).ok();
    Run::new("mv").arg(outside.join("sub")).arg(old.join("back")).ok();
    fs::rename(old.join("back"), old.join("sub")).expect("within the quota");
    fs::rename(&old, site.mnt().join("new")).expect("the directory itself");
    eventually("what was moved out and back counts once", || used(&site, "/old") == (FILES * 5, FILES + 2));
    check_is_clean(&site);

    let new = site.mnt().join("new");
    site.share(&["set", "/old", "--quota", "1"]).ok();
    assert_eq!(errno(&fs::write(new.join("more"), b"x").unwrap_err()), Errno::EDQUOT);
    site.share(&["set", "/old", "--quota", "none"]).ok();
    fs::write(new.join("more"), b"x").unwrap();
    assert_eq!(share(&site, "/old")["quota"], Value::Null);
    site.share(&["set", "/old", "--quota", "1"]).ok();
    assert_eq!(errno(&fs::write(new.join("most"), b"x").unwrap_err()), Errno::EDQUOT);
    site.share(&["delete", "/old"]).ok();
    fs::write(new.join("most"), b"the limit went with the share").unwrap();
    site.stop();
}
