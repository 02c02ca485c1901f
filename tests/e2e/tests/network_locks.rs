//! Locks over the network through a death of the service: who had them takes them again before anybody else gets any.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_nlm::protocol::{NLM_PROGRAM, NLM_VERSION};
use tests_e2e::wire::{ROOT, Wire, encoded, number, opaque};
use tests_e2e::{Portmapper, Run, Site, SiteOptions};

const DOORS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\nregister_portmapper = true\n";
const GRANTED: u32 = 0;
const DENIED: u32 = 1;
const GRACE: u32 = 4;
/// The grace period is three quarters of a minute.
const DEADLINE: Duration = Duration::from_secs(90);

const LOCK: u32 = 2;
const UNLOCK: u32 = 4;

/// A client machine, by its address.
struct Machine {
    wire: Wire,
    name: &'static [u8],
}

impl Machine {
    fn new(site: &Site, host: u8, name: &'static [u8]) -> Self {
        let address = site.nfs_address().expect("the door is open");
        Self { wire: Wire::connect_from(host, address).expect("the door is open"), name }
    }

    /// The status of an exclusive lock on ten bytes from `offset`.
    fn lock(&mut self, file: &Bytes, offset: u64, reclaim: bool) -> u32 {
        let words = self.words(file, offset);
        self.ask(LOCK, |out| {
            // Without waiting, exclusive.
            out.opaque(b"cookie");
            out.bool(false);
            out.bool(true);
            out.fixed(&words);
            out.bool(reclaim);
            out.i32(1);
        })
    }

    fn unlock(&mut self, file: &Bytes, offset: u64) -> u32 {
        let words = self.words(file, offset);
        self.ask(UNLOCK, |out| {
            out.opaque(b"cookie");
            out.fixed(&words);
        })
    }

    fn words(&self, file: &Bytes, offset: u64) -> Vec<u8> {
        encoded(|out| {
            out.opaque(self.name);
            out.opaque(file);
            out.opaque(b"owner");
            out.u32(7);
            out.u64(offset);
            out.u64(10);
        })
    }

    fn ask(&mut self, procedure: u32, args: impl FnOnce(&mut gateway_sunrpc::xdr::Encoder)) -> u32 {
        let mut reply = self.wire.ask([NLM_PROGRAM, NLM_VERSION, procedure], &ROOT, &encoded(args)).results();
        assert_eq!(opaque(&mut reply), b"cookie"[..]);
        number(&mut reply)
    }
}

/// Tries to lock ten bytes from `offset` through the mount, without waiting.
fn by_mount(path: &str, offset: u64) -> bool {
    let script = format!(
        "import fcntl\nf = open('{path}', 'r+')\n\
         try:\n fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, {offset})\n print('locked')\n\
         except BlockingIOError:\n print('refused')\n"
    );
    match Run::new("python3").args(["-c", &script]).ok().stdout.trim() {
        "locked" => true,
        "refused" => false,
        other => panic!("{other}"),
    }
}

/// A program that waits for a lock through the mount, and says when it has it.
struct Waiting(Child, BufReader<ChildStdout>);

impl Waiting {
    fn new(path: &str, offset: u64) -> Self {
        let script = format!(
            "import fcntl\nf = open('{path}', 'r+')\nprint('waits', flush=True)\n\
             fcntl.lockf(f, fcntl.LOCK_EX, 10, {offset})\nprint('locked', flush=True)\n"
        );
        let mut child = Command::new("python3").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(line(&mut said), "waits");
        Self(child, said)
    }

    fn waits(&mut self) -> bool {
        self.0.try_wait().expect("an own child").is_none()
    }

    fn has_it(&mut self) {
        let end = Instant::now() + DEADLINE;
        while self.waits() {
            assert!(Instant::now() < end, "it waits on");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(line(&mut self.1), "locked");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("it is read");
    line.trim_end().to_owned()
}

#[test]
fn a_client_takes_its_lock_again_after_a_restart_and_nobody_takes_it_before() {
    let _portmapper = Portmapper::alone();
    let mut site = Site::new(SiteOptions { doors: Some(DOORS.to_owned()), ..SiteOptions::default() });
    site.mount();
    site.share(&["create", "/", "--as", "/all", "--squash", "none", "--client", "127.0.0.0/8"]).ok();
    let path = site.mnt().join("f").display().to_string();
    fs::write(&path, [0; 100]).unwrap();
    assert!(by_mount(&path, 0), "nobody had locks before the first start");

    let mut holder = Machine::new(&site, 2, b"holder");
    let root = holder.wire.mount("/all").expect("it is on the list");
    let file = holder.wire.lookup(&root, b"f").expect("it was made");
    assert_eq!(holder.lock(&file, 0, false), GRANTED);
    assert!(!by_mount(&path, 0));
    fs::File::open(&path).unwrap().sync_all().unwrap();

    site.kill();
    site.mount();
    let mut holder = Machine::new(&site, 2, b"holder");
    let mut other = Machine::new(&site, 3, b"other");
    assert_eq!(other.lock(&file, 0, false), GRACE, "it may be the holder's");
    assert_eq!(other.lock(&file, 50, false), GRACE, "nobody knows what the holder comes back for");
    assert!(!by_mount(&path, 0) && !by_mount(&path, 50), "nor do programs of this machine get it");
    let mut for_the_held = Waiting::new(&path, 0);
    let mut for_the_free = Waiting::new(&path, 50);
    assert_eq!(holder.lock(&file, 0, true), GRANTED, "the holder has it again");
    assert!(for_the_held.waits() && for_the_free.waits());

    // The end of the grace period.
    for_the_free.has_it();
    assert!(for_the_held.waits(), "what was taken again is held");
    assert!(!by_mount(&path, 0));
    assert_eq!(other.lock(&file, 0, false), DENIED);
    assert_eq!(other.lock(&file, 20, false), GRANTED);
    assert_eq!(other.lock(&file, 30, true), GRACE, "too late for a reclaim");
    assert_eq!(holder.unlock(&file, 0), GRANTED);
    for_the_held.has_it();
    assert!(by_mount(&path, 0) && !by_mount(&path, 20));
    assert_eq!(other.unlock(&file, 20), GRANTED);
    site.stop();
}
