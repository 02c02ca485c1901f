//! A store and its mount point, with the process that serves it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::command::{Run, wait};
use crate::tidegate;

/// How long a service may take to come up. It is 10 s by promise; a busy test machine gets more.
const START_SECS_MAX: u64 = 60;
const STOP_SECS_MAX: u64 = 120;

/// How a site is set up.
#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    /// Further arguments of `tidegate mount`.
    pub args: Vec<String>,
    /// Where the store lies; in the site's own folder unless told otherwise.
    pub data: Option<PathBuf>,
    /// Environment of the service.
    pub env: Vec<(String, String)>,
    /// The doors of `tidegate serve`, as sections of its configuration (`@MNT@` is the mount point); without it the
    /// service is `tidegate mount`.
    pub doors: Option<String>,
}

/// `TIDEGATE_TEST_DIR` or `/var/tmp`: a folder on a real disk, not tmpfs.
pub fn scratch() -> PathBuf {
    let base = std::env::var_os("TIDEGATE_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    fs::create_dir_all(&base).expect("the folder for tests can be made");
    base
}

/// A temporary folder with a store (`data`), a mount point (`mnt`) and room for the test's own files (`dir`).
pub struct Site {
    dir: TempDir,
    options: SiteOptions,
    service: Option<Child>,
}

impl Site {
    /// Makes the folders, in [`scratch`]; nothing runs yet.
    pub fn new(options: SiteOptions) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in(scratch()).expect("a temporary folder");
        fs::create_dir(dir.path().join("mnt")).expect("a fresh folder takes a new name");
        Self { dir, options, service: None }
    }

    /// A site with default options, mounted.
    pub fn mounted() -> Self {
        let mut site = Self::new(SiteOptions::default());
        site.mount();
        site
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    pub fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn drive(&self, slot: usize) -> PathBuf {
        self.data().join("drives").join(slot.to_string())
    }

    /// `tidegate COMMAND` with this store.
    pub fn command(&self, args: &[&str]) -> Run {
        Run::new(tidegate()).args(args).env("HOME", self.dir.path())
    }

    /// Starts the service in the foreground and waits until the mount is there.
    pub fn mount(&mut self) {
        if let Err(why) = self.try_mount() {
            panic!("{why}");
        }
    }

    /// As `mount`, but gives back what the service said when it ended instead of serving.
    pub fn try_mount(&mut self) -> Result<Duration, String> {
        assert!(self.service.is_none(), "it is mounted");
        let begin = Instant::now();
        let log_path = self.dir.path().join("service.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).expect("the log can be opened");
        let mut run = match self.options.doors {
            Some(_) => Run::new(tidegate()).args(["serve", "-c"]).arg(self.config()),
            None => Run::new(tidegate())
                .args(["mount", "--foreground", "--data"])
                .arg(self.data())
                .args(&self.options.args)
                .arg(self.mnt()),
        };
        run = run.env("HOME", self.dir.path());
        for (name, value) in &self.options.env {
            run = run.env(name, value);
        }
        let mut child = run.start(log);
        let end = begin + Duration::from_secs(START_SECS_MAX);
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return Err(format!("the service ended with {status}:\n{}", tail(&log_path)));
            }
            // A new store is one only when it has its file, which comes last.
            let made = self.data().join("store.json").exists();
            if made && self.is_served() {
                self.service = Some(child);
                return Ok(begin.elapsed());
            }
            if Instant::now() > end {
                drop(child.kill());
                drop(child.wait());
                return Err(format!("not mounted after {START_SECS_MAX} s:\n{}", tail(&log_path)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_served(&self) -> bool {
        let (mounts, nfs) = match &self.options.doors {
            Some(doors) => (doors.contains("[[mounts]]"), doors.contains("[nfs]")),
            None => (true, false),
        };
        let mounted = !mounts || answers(&self.mnt());
        mounted && (!nfs || self.nfs_address().is_some())
    }

    /// The configuration of a site with doors, written anew.
    pub fn config(&self) -> PathBuf {
        let path = self.dir.path().join("tidegate.toml");
        let doors = self.options.doors.as_deref().expect("a site with doors");
        let doors = doors.replace("@MNT@", &self.mnt().display().to_string());
        let text = format!("[store]\ndata = \"{}\"\n{doors}", self.data().display());
        fs::write(&path, text).expect("the configuration can be written");
        path
    }

    /// Other doors, from the next start or reload on.
    pub fn set_doors(&mut self, doors: &str) {
        self.options.doors = Some(doors.to_owned());
    }

    /// Where the NFS door listens; nothing while it does not.
    pub fn nfs_address(&self) -> Option<SocketAddr> {
        let done = self.command(&["status", "--json", "--data"]).arg(self.data()).finish();
        let status: serde_json::Value = serde_json::from_str(&done.stdout).ok()?;
        status["nfs"]["listen"][0].as_str()?.parse().ok()
    }

    /// `path`, below a share or the share itself, as the tools of libnfs name it.
    pub fn nfs_url(&self, path: &str) -> String {
        let address = self.nfs_address().expect("the NFS door is open");
        let port = address.port();
        format!("nfs://{}{path}?nfsport={port}&mountport={port}", address.ip())
    }

    /// `tidegate share ARGS…` with this store.
    pub fn share(&self, args: &[&str]) -> Run {
        self.command(&["share"]).args(args).arg("--data").arg(self.data())
    }

    /// The service's process id.
    pub fn pid(&self) -> u32 {
        self.service.as_ref().expect("it is mounted").id()
    }

    /// `kill -9`, and the dead mount is left behind as a crash leaves it.
    pub fn kill(&mut self) {
        let mut child = self.service.take().expect("it is mounted");
        child.kill().expect("an own child can be killed");
        child.wait().expect("a killed child can be waited for");
    }

    /// SIGTERM; fails the test unless the service drains and exits with 0.
    pub fn stop(&mut self) {
        let mut child = self.service.take().expect("it is mounted");
        kill(Pid::from_raw(i32::try_from(child.id()).expect("pids fit")), Signal::SIGTERM).expect("an own child");
        let Some(status) = wait(&mut child, Duration::from_secs(STOP_SECS_MAX)) else {
            self.service = Some(child);
            panic!("the service did not stop within {STOP_SECS_MAX} s:\n{}", self.log());
        };
        assert!(status.success(), "the service stopped with {status}:\n{}", self.log());
        assert!(!is_mounted(&self.mnt()), "it stopped and left the mount");
    }

    /// Waits for the service to end by itself (after an unmount from outside) and gives its exit code.
    pub fn wait_stopped(&mut self) -> Option<i32> {
        let mut child = self.service.take().expect("it is mounted");
        let status = wait(&mut child, Duration::from_secs(STOP_SECS_MAX));
        if status.is_none() {
            self.service = Some(child);
            panic!("the service still runs after {STOP_SECS_MAX} s:\n{}", self.log());
        }
        status.and_then(|s| s.code())
    }

    /// Stops and mounts again.
    pub fn remount(&mut self) {
        self.stop();
        self.mount();
    }

    /// What the service wrote, its last part.
    pub fn log(&self) -> String {
        tail(&self.dir.path().join("service.log"))
    }

    /// `tidegate status --json`.
    pub fn status(&self) -> serde_json::Value {
        let done = self.command(&["status", "--json", "--data"]).arg(self.data()).finish();
        // A degraded or damaged pool has its exit code, and its report.
        assert!(matches!(done.code, Some(0 | 4 | 5)), "{}", done.text());
        done.json()
    }

    /// Everything into the pool.
    pub fn flush(&self) {
        self.command(&["flush", "--data"]).arg(self.data()).deadline_secs(300).ok();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.service.take() {
            drop(child.kill());
            drop(child.wait());
        }
        while is_mounted(&self.mnt()) {
            if umount2(&self.mnt(), MntFlags::MNT_DETACH).is_err() {
                eprintln!("cannot unmount {}", self.mnt().display());
                break;
            }
        }
        if std::thread::panicking() {
            eprintln!("the service's last words:\n{}", self.log());
        }
    }
}

/// Whether a living mount is there. One question, since the service takes a dead mount away in between two; and a dead
/// one may still answer a stat from the kernel's cache, but never a statfs.
fn answers(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == FUSE_SUPER_MAGIC)
}

/// Whether something is mounted exactly there.
pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("proc is mounted");
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
