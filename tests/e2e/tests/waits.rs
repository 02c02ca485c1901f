//! A pool that takes nothing: what a command says while it waits, how the wait ends, and what is true afterwards.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests_e2e::{Site, is_mounted};

const DEADLINE: Duration = Duration::from_secs(90);

/// A command in the background, with what it has said so far.
struct Started {
    child: Child,
    log: PathBuf,
}

impl Started {
    fn new(site: &Site, name: &str, args: &[&str]) -> Self {
        let log = site.dir().join(name);
        let child = site.command(args).arg(site.mnt()).start(fs::File::create(&log).unwrap());
        Self { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_to_say(&mut self, part: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.said().contains(part) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended without {part:?}:\n{}", self.said());
            assert!(Instant::now() < end, "it never said {part:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn interrupt(&mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        self.end();
    }

    fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it did not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A site with 3 MiB that wait, whose drives are away.
fn stuck_site() -> Site {
    let site = Site::mounted();
    fs::rename(site.data().join("drives"), site.dir().join("away")).unwrap();
    fs::write(site.mnt().join("a"), vec![7; 3 << 20]).unwrap();
    site
}

#[test]
fn a_wait_for_the_pool_says_what_it_waits_for_and_ctrl_c_leaves_the_service() {
    let site = stuck_site();
    for (name, args) in [("flush", &["flush"][..]), ("umount", &["umount"]), ("json", &["umount", "--json"])] {
        let mut waiting = Started::new(&site, name, args);
        waiting.wait_to_say("MiB wait in the journal");
        let said = waiting.said();
        assert!(said.contains("6 of 6 drives are away") && said.contains("drives/3"), "{said}");
        assert!(name == "json" || said.contains("Ctrl-C"), "{said}");
        if let (true, Some(line)) = (name == "json", said.lines().next()) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["progress"]["waiting"].is_string(), "{line}");
        }
        waiting.interrupt();
    }
    let status = site.status();
    assert!(status["stuck"].as_str().is_some_and(|why| why.contains("6 of 6 drives")), "{status}");
    let text = site.command(&["status"]).arg(site.mnt()).finish().stdout;
    assert!(text.contains("exist once, on this machine's disk only") && text.contains("NOTHING GOES UP"), "{text}");
    fs::rename(site.dir().join("away"), site.data().join("drives")).unwrap();
    site.flush();
    assert_eq!(fs::read(site.mnt().join("a")).unwrap(), vec![7; 3 << 20]);
    assert!(is_mounted(&site.mnt()), "the umount that was given up must not come true later");
}

#[test]
fn umount_by_force_takes_over_and_says_what_stays_in_the_journal() {
    let mut site = stuck_site();
    let pid = site.pid();
    let mut patient = Started::new(&site, "umount", &["umount"]);
    patient.wait_to_say("MiB wait in the journal");
    let forced = site.command(&["umount", "--force", "--json"]).arg(site.mnt()).deadline_secs(90).ok();
    // Asked at once: nobody holds the store's disk any more when the command has returned.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the service still runs: {stat}");
    assert_ne!(patient.end(), Some(0), "{}", patient.said());
    assert!(patient.said().contains("took over"), "{}", patient.said());
    let report = forced.json();
    assert!(report["dirty_bytes"].as_u64().is_some_and(|bytes| bytes >= 3 << 20), "{report}");
    assert_eq!(report["complete"], false, "{report}");
    assert!(!is_mounted(&site.mnt()));
    assert_eq!(site.wait_stopped(), Some(0), "{}", site.log());
    fs::rename(site.dir().join("away"), site.data().join("drives")).unwrap();
    site.mount();
    assert_eq!(fs::read(site.mnt().join("a")).unwrap(), vec![7; 3 << 20]);
    let done = site.command(&["umount"]).arg(site.mnt()).deadline_secs(120).ok();
    assert!(done.stdout.contains("everything is in the pool"), "{}", done.text());
    assert_eq!(site.wait_stopped(), Some(0), "{}", site.log());
}
