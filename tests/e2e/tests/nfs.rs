//! The NFS door of the real binary, with real clients: the tools of libnfs.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use tests_e2e::{Finished, NfsClient, Pattern, Run, Site, SiteOptions, tool};

const NFS: &str = "[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
const MOUNT_AND_NFS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
const NOBODY: u32 = 65_534;

fn serving(doors: &str) -> Site {
    let mut site = Site::new(SiteOptions { doors: Some(doors.to_owned()), ..SiteOptions::default() });
    site.mount();
    site
}

fn nfs_cp(site: &Site, from: &str, to: &str) -> Finished {
    Run::new(tool("nfs-cp")).args([from, to]).dir(site.dir()).finish()
}

fn nfs_ls(site: &Site, path: &str) -> Finished {
    Run::new(tool("nfs-ls")).arg(site.nfs_url(path)).finish()
}

/// The tools of libnfs do not all fail with a code of their own: what counts is what arrived.
fn fetched(site: &Site, path: &str) -> Vec<u8> {
    let copy = site.dir().join("fetched");
    fs::remove_file(&copy).ok();
    let done = nfs_cp(site, &site.nfs_url(path), &copy.display().to_string());
    fs::read(&copy).unwrap_or_else(|error| panic!("{path} did not arrive: {error}\n{}", done.text()))
}

/// The kernel of the mount is told of other doors' changes a moment after they are made.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file of `len` bytes in the site's folder.
fn source(site: &Site, len: usize) -> (String, Vec<u8>) {
    let path = site.dir().join("source");
    let bytes = Pattern(7).bytes(0, len);
    fs::write(&path, &bytes).unwrap();
    (path.display().to_string(), bytes)
}

#[test]
fn what_one_door_writes_the_other_reads() {
    let mut site = serving(MOUNT_AND_NFS);
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let (local, bytes) = source(&site, 5_000_000);

    // The mount learns that there is no such name, and then that there is.
    assert!(!site.mnt().join("files/by-nfs").exists());
    let done = nfs_cp(&site, &local, &site.nfs_url("/files/by-nfs"));
    assert_eq!(done.code, Some(0), "{}", done.text());
    eventually("the mount sees what NFS wrote", || {
        fs::read(site.mnt().join("files/by-nfs")).is_ok_and(|read| read == bytes)
    });

    fs::write(site.mnt().join("files/by-mount"), &bytes[..3_000_001]).unwrap();
    assert!(fetched(&site, "/files/by-mount") == bytes[..3_000_001], "NFS sees what the mount wrote");

    // Changed by one door while the other has it in its cache: both ways.
    let changed = vec![b'x'; 3_000_001];
    fs::write(site.mnt().join("files/by-nfs"), &changed).unwrap();
    assert!(fetched(&site, "/files/by-nfs") == changed);
    assert!(fs::read(site.mnt().join("files/by-mount")).unwrap() == bytes[..3_000_001]);
    // nfs-cp does not write to files that are there.
    let mut client = NfsClient::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").unwrap();
    let file = client.lookup(&root, "by-mount");
    client.write_synced(&file, &[b'y'; 5000]);
    let changed = [&[b'y'; 5000], &bytes[5000..3_000_001]].concat();
    eventually("the mount sees the change", || {
        fs::read(site.mnt().join("files/by-mount")).is_ok_and(|read| read == changed)
    });
    let listed = nfs_ls(&site, "/files");
    assert!(listed.stdout.contains("by-nfs") && listed.stdout.contains("by-mount"), "{}", listed.text());
    fs::remove_file(site.mnt().join("files/by-nfs")).unwrap();
    assert!(!nfs_ls(&site, "/files").stdout.contains("by-nfs"));
    site.stop();
}

#[test]
fn a_committed_copy_its_handle_and_its_share_survive_kill_9() {
    let mut site = serving(NFS);
    site.share(&["create", "files", "--make", "--squash", "none", "--client", "127.0.0.0/8"]).ok();
    let (local, bytes) = source(&site, 20_000_000);
    let mut seen = Vec::new();
    let mut client = NfsClient::connect(site.nfs_address().unwrap());
    let root = client.mount("/files").expect("this machine is on the list");
    for round in 0..3 {
        let name = format!("copy-{round}");
        // nfs-cp ends with COMMIT.
        let done = nfs_cp(&site, &local, &site.nfs_url(&format!("/files/{name}")));
        assert_eq!(done.code, Some(0), "{}", done.text());
        let file = client.lookup(&root, &name);
        seen.push((name, file.clone(), client.verifier(&file)));

        site.kill();
        site.mount();

        client = NfsClient::connect(site.nfs_address().unwrap());
        assert_eq!(client.getattr(&root), 0, "round {round}: the handle of the share is as good as before");
        let verifier = client.verifier(&file);
        for (name, file, before) in &seen {
            assert_eq!(client.getattr(file), 0, "round {round}: the handle of {name} is as good as before");
            assert!(fetched(&site, &format!("/files/{name}")) == bytes, "round {round}: {name}");
            assert_ne!(*before, verifier, "round {round}: no start has the verifier of another");
        }
    }
    site.stop();
}

#[test]
fn a_client_off_the_list_is_refused_from_the_moment_the_list_changes() {
    let site = serving(NFS);
    site.share(&["create", "/files", "--make", "--client", "192.0.2.0/24", "--client", "2001:db8::/32"]).ok();
    let mut client = NfsClient::connect(site.nfs_address().unwrap());
    const ACCES: u32 = 13;
    assert_eq!(client.mount("/files"), Err(ACCES));
    let refused = nfs_ls(&site, "/files");
    assert_ne!(refused.code, Some(0), "{}", refused.text());

    site.share(&["set", "/files", "--client", "localhost"]).ok();
    let root = client.mount("/files").expect("the name leads to this machine");
    assert_eq!(client.getattr(&root), 0);
    assert_eq!(nfs_ls(&site, "/files").code, Some(0));

    // The handle is known by now; the next call is refused all the same.
    site.share(&["set", "files", "--client", "192.0.2.1"]).ok();
    assert_eq!(client.getattr(&root), ACCES);
    let unknown = site.share(&["set", "/files", "--client", "nobody.invalid", "--json"]).ok();
    assert_eq!(unknown.json()["share"]["unresolved"][0], "nobody.invalid");
    assert_eq!(client.getattr(&root), ACCES, "a name that leads nowhere admits nobody");

    site.share(&["set", "/files", "--client", "127.0.0.1"]).ok();
    assert_eq!(client.getattr(&root), 0);
    site.share(&["delete", "/files"]).ok();
    const STALE: u32 = 70;
    assert_eq!(client.getattr(&root), STALE);
}

#[test]
fn root_of_a_client_is_nobody_unless_the_share_says_otherwise() {
    let site = serving(MOUNT_AND_NFS);
    let (local, _) = source(&site, 1000);
    site.share(&["create", "/files", "--make"]).ok();
    let directory = site.mnt().join("files");

    // Asked over NFS: the mount hears of names a moment after they are made.
    let is_there = |name: &str| nfs_ls(&site, "/files").stdout.lines().any(|line| line.ends_with(&format!(" {name}")));
    nfs_cp(&site, &local, &site.nfs_url("/files/a"));
    assert!(!is_there("a"), "nobody may not write to root's directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    nfs_cp(&site, &local, &site.nfs_url("/files/a"));
    let made = fs::metadata(directory.join("a")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.len()), (NOBODY, NOBODY, 1000));

    site.share(&["set", "/files", "--squash", "all", "--anonymous-uid", "1234", "--anonymous-gid", "1235"]).ok();
    nfs_cp(&site, &local, &site.nfs_url("/files/b"));
    let made = fs::metadata(directory.join("b")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1234, 1235));

    site.share(&["set", "/files", "--squash", "none"]).ok();
    nfs_cp(&site, &local, &site.nfs_url("/files/c"));
    assert_eq!(fs::metadata(directory.join("c")).unwrap().uid(), 0);

    site.share(&["set", "/files", "--read-only"]).ok();
    nfs_cp(&site, &local, &site.nfs_url("/files/d"));
    assert!(!is_there("d"));
    site.share(&["set", "/files", "--read-write"]).ok();
    nfs_cp(&site, &local, &site.nfs_url("/files/d"));
    assert!(is_there("d"));
}

#[test]
fn a_share_follows_its_directory_and_its_number_is_never_given_again() {
    let mut site = serving(MOUNT_AND_NFS);
    fs::create_dir_all(site.mnt().join("a/b")).unwrap();
    fs::write(site.mnt().join("a/b/f"), "kept").unwrap();
    let first = site.share(&["create", "/a/b", "--json"]).ok().json();
    assert_eq!(first["share"]["id"], 1);
    let around = site.share(&["create", "a", "--as", "/everything", "--json"]).ok().json();
    assert_eq!(around["share"]["overlaps"][0], "/a/b", "allowed, and said");
    assert!(around["notes"].to_string().contains("overlaps"), "{around}");

    fs::rename(site.mnt().join("a/b"), site.mnt().join("elsewhere")).unwrap();
    assert_eq!(fetched(&site, "/a/b/f"), b"kept");
    let listed = site.share(&["list", "--json"]).ok().json();
    assert_eq!(listed["shares"][0]["state"], "renamed");
    assert_eq!(listed["shares"][1]["state"], "there");
    assert!(listed["mount_lines"][0].as_str().unwrap().ends_with("127.0.0.1:/a/b /mnt"), "{listed}");

    site.share(&["delete", "/everything"]).ok();
    site.kill();
    site.mount();
    let listed = site.share(&["list", "--json"]).ok().json();
    assert_eq!(listed["shares"].as_array().map(Vec::len), Some(1), "{listed}");
    let again = site.share(&["create", "a", "--json"]).ok().json();
    assert_eq!(again["share"]["id"], 3, "2 was given out once");
    fs::remove_dir_all(site.mnt().join("elsewhere")).unwrap();
    let listed = site.share(&["list", "--json"]).ok().json();
    assert_eq!(listed["shares"][0]["state"], "removed");
}

#[test]
fn shares_and_handles_come_back_when_the_index_is_lost() {
    let mut site = serving(NFS);
    site.share(&["create", "/files", "--make", "--squash", "all", "--client", "127.0.0.1"]).ok();
    let before = site.share(&["list", "--json"]).ok().json()["shares"].clone();
    let root = NfsClient::connect(site.nfs_address().unwrap()).mount("/files").unwrap();
    site.flush();
    site.kill();
    fs::remove_dir_all(site.data().join("index")).unwrap();
    site.command(&["recover", "--data"]).arg(site.data()).ok();
    site.mount();
    assert_eq!(site.share(&["list", "--json"]).ok().json()["shares"], before);
    assert_eq!(NfsClient::connect(site.nfs_address().unwrap()).getattr(&root), 0);
}

#[test]
fn shares_that_make_no_sense_are_refused_in_one_line() {
    let site = serving(MOUNT_AND_NFS);
    fs::write(site.mnt().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", site.mnt().join("link")).unwrap();
    site.share(&["create", "/taken", "--make"]).ok();
    let cases: [(&[&str], &[&str]); 10] = [
        (&["create", "/absent"], &["/absent", "no such directory", "--make"]),
        (&["create", "/file"], &["/file", "no directory"]),
        (&["create", "/link"], &["/link", "symbolic link"]),
        (&["create", "/a/../b"], &["/a/../b", "leave out"]),
        (&["create", "/taken"], &["/taken", "--as"]),
        (&["create", "/", "--client", "10.0.0.0/40"], &["`10.0.0.0/40` is no client", "10.1.0.0/16"]),
        (&["create", "/", "--client", "*.example.org"], &["`*.example.org`"]),
        (&["set", "/absent", "--read-only"], &["/absent", "share list"]),
        (&["delete", "/absent"], &["/absent", "no such share"]),
        (&["create", "/new", "--make", "--client", "::1/200"], &["`::1/200`"]),
    ];
    for (args, parts) in cases {
        let done = site.share(args).finish();
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.text());
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(parts.iter().all(|part| done.stderr.contains(part)), "{args:?}: {}", done.stderr);
    }
    assert!(!site.mnt().join("new").exists(), "a refusal makes nothing");
    assert_eq!(site.share(&["list", "--json"]).ok().json()["shares"].as_array().map(Vec::len), Some(1));
}

#[test]
fn shares_without_a_service_are_refused_with_what_to_do() {
    let mut site = serving(NFS);
    site.stop();
    let done = site.share(&["list"]).finish();
    assert_eq!(done.code, Some(3), "{}", done.text());
    assert!(done.stderr.contains("does not run") && done.stderr.contains("tidegate serve"), "{}", done.stderr);
}
