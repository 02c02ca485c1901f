//! Listings of large directories, while they change and while the service dies.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::ReadDirArgs;
use tests_e2e::{Site, deep};

use crate::{MOUNT_AND_NFS, serving};
use tests_e2e::wire::{OK, ROOT, Wire, number, opaque, skip_post_op};

/// Limits of a reply that clients ask for, from the smallest to the largest.
const REPLY_BYTES: [u32; 4] = [512, 4096, 32 << 10, 1 << 20];
const LINKS: [&str; 3] = ["link-0", "link-1", "link-2"];

/// What a listing has told so far.
#[derive(Clone, Default)]
struct Seen {
    /// How often each name came.
    names: HashMap<Vec<u8>, u32>,
    cookies: BTreeMap<Vec<u8>, u64>,
    fileids: HashMap<Vec<u8>, u64>,
    last: u64,
    end: bool,
}

impl Seen {
    /// One reply more.
    fn read(&mut self, client: &mut Wire, dir: &Bytes, bytes: u32, plus: bool) {
        let args =
            ReadDirArgs { dir: dir.clone(), cookie: self.last, verifier: [0; 8], dircount: bytes, maxcount: bytes };
        let procedure = if plus { Procedure::ReadDirPlus } else { Procedure::ReadDir };
        let mut reply = client.nfs(procedure, &ROOT, |out| args.encode(out, plus));
        assert_eq!(number(&mut reply), OK);
        assert!(reply.remaining() <= bytes as usize, "{} bytes in a reply of {bytes}", reply.remaining());
        skip_post_op(&mut reply);
        reply.fixed::<8>().expect("the verifier");
        let before = self.last;
        while reply.bool().expect("whether there is an entry") {
            let (fileid, name) = (reply.u64().expect("a number"), opaque(&mut reply).to_vec());
            let cookie = reply.u64().expect("a cookie");
            assert!(cookie > self.last, "cookies ascend");
            self.last = cookie;
            if plus {
                skip_post_op(&mut reply);
                if reply.bool().expect("whether there is a handle") {
                    opaque(&mut reply);
                }
            }
            *self.names.entry(name.clone()).or_default() += 1;
            self.fileids.insert(name.clone(), fileid);
            self.cookies.insert(name, cookie);
        }
        self.end = reply.bool().expect("whether this is the end");
        assert!(self.end || self.last > before, "a listing that is not at its end goes on");
    }

    fn read_to_the_end(&mut self, client: &mut Wire, dir: &Bytes, bytes: u32, plus: bool) {
        while !self.end {
            self.read(client, dir, bytes, plus);
        }
    }

    /// Each of `stable`, `.` and `..` exactly once; nothing else but what comes and goes.
    fn check(&self, stable: &[String], what: &str) {
        for name in stable.iter().map(String::as_str).chain([".", ".."]) {
            assert_eq!(self.names.get(name.as_bytes()), Some(&1), "{what}: {name}");
        }
        let others = self.names.keys().filter(|name| name.starts_with(b"passing-")).count();
        assert_eq!(self.names.len(), stable.len() + 2 + others, "{what}: names that nobody made");
    }
}

fn listed(client: &mut Wire, dir: &Bytes, bytes: u32, plus: bool) -> Seen {
    let mut seen = Seen::default();
    seen.read_to_the_end(client, dir, bytes, plus);
    seen
}

/// A directory of `entries` names that stay, of all lengths; three of them of one file where there are so many.
fn fill(dir: &Path, entries: usize) -> Vec<String> {
    fs::create_dir(dir).unwrap();
    let links = if entries >= 900 { &LINKS[..] } else { &[] };
    let mut names: Vec<String> =
        (0..entries - links.len()).map(|n| format!("n{n:0width$}", width = 6 + n * 7 % 90)).collect();
    for name in &names {
        File::create(dir.join(name)).unwrap();
    }
    for (n, link) in links.iter().enumerate() {
        match n {
            0 => drop(File::create(dir.join(link)).unwrap()),
            _ => fs::hard_link(dir.join(LINKS[0]), dir.join(link)).unwrap(),
        }
        names.push((*link).to_owned());
    }
    File::open(dir).unwrap().sync_all().unwrap();
    names
}

/// Makes and removes names until `stop`, in the midst of those that stay.
fn come_and_go(dir: &Path, stop: &AtomicBool) {
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = |n: u64| dir.join(format!("passing-{n}"));
        File::create(name(n)).unwrap();
        if n >= 20 {
            fs::remove_file(name(n - 20)).unwrap();
        }
    }
}

fn sharing(entries: usize) -> (Site, Vec<String>) {
    let site = serving(MOUNT_AND_NFS);
    let stable = fill(&site.mnt().join("d"), entries);
    site.share(&["create", "/d", "--squash", "none"]).ok();
    (site, stable)
}

fn open(site: &Site) -> (Wire, Bytes) {
    let mut client = Wire::connect(site.nfs_address().unwrap());
    let dir = client.mount("/d").expect("this machine is on the list");
    (client, dir)
}

/// All sizes of replies; then changes meanwhile; then the service dies in the middle.
fn a_directory_of(entries: usize) {
    let (mut site, stable) = sharing(entries);
    let (mut client, dir) = open(&site);
    let first = listed(&mut client, &dir, 1 << 20, false);
    first.check(&stable, "at first");
    for bytes in REPLY_BYTES {
        for plus in [false, true] {
            let seen = listed(&mut client, &dir, bytes, plus);
            seen.check(&stable, &format!("{entries} names in replies of {bytes}"));
            assert!(seen.cookies == first.cookies, "{entries} names: the cookies are the same");
        }
    }
    if entries >= 900 {
        let numbers: Vec<u64> = LINKS.iter().map(|link| first.fileids[link.as_bytes()]).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "three names of one file: {numbers:?}");
    }

    let (mnt, stop) = (site.mnt().join("d"), AtomicBool::new(false));
    thread::scope(|scope| {
        let changes = scope.spawn(|| come_and_go(&mnt, &stop));
        let sizes = if entries > 10_000 { &REPLY_BYTES[1..] } else { &REPLY_BYTES[..] };
        for (round, bytes) in sizes.iter().enumerate() {
            listed(&mut client, &dir, *bytes, round % 2 == 0).check(&stable, "while names come and go");
            assert!(!changes.is_finished(), "names come and go all the while");
        }
        stop.store(true, Ordering::Relaxed);
    });

    // Half of it from one service, the other half from the next.
    let mut half = Seen::default();
    let bytes = (entries as u32 * 60 / 3).clamp(512, 1 << 20);
    half.read(&mut client, &dir, bytes, true);
    site.kill();
    site.mount();
    let (mut client, again) = open(&site);
    assert_eq!(again, dir, "the handle of the directory is the same");
    half.read_to_the_end(&mut client, &dir, bytes, false);
    half.check(&stable, "over a death in the middle");
    let after = listed(&mut client, &dir, 1 << 20, false);
    after.check(&stable, "after a death");
    for name in &stable {
        assert_eq!(after.cookies.get(name.as_bytes()), first.cookies.get(name.as_bytes()), "{name} keeps its cookie");
    }
}

#[test]
fn h44_small_directories_are_listed_whole_over_changes_and_a_death() {
    for entries in [0, 1, 2] {
        a_directory_of(entries);
    }
}

#[test]
fn h44_directories_about_a_thousand_are_listed_whole_over_changes_and_a_death() {
    for entries in [999, 1000, 1001] {
        a_directory_of(entries);
    }
}

#[test]
fn h44_a_directory_of_more_than_65536_is_listed_whole_over_changes_and_a_death() {
    a_directory_of(65_537);
    if deep() {
        a_directory_of(1_000_000);
    }
}
