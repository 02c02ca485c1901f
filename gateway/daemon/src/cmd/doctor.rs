//! `tidegate doctor`: is this machine, and this store, fit for service?

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::statfs;
use objstore_env::real::{RealClock, RealDisk};
use objstore_env::{Clock, Disk, OpenMode};
use serde::Serialize;

use crate::cli::StoreArgs;
use crate::cmd::find_store;
use crate::control::{Answer, Request, ask_for};
use crate::exit::{Exit, Failure};
use crate::reports::{Health, line};
use crate::store::{self, Layout, Room};
use crate::units::show_bytes;
use crate::{Outcome, host, output, resources};

/// FUSE has everything this program asks for since this kernel (5.11: HANDLE_KILLPRIV_V2).
const KERNEL_MIN: (u32, u32) = (5, 11);
const OPEN_FILES_MIN: u64 = 4096;
/// A sync slower than this is felt at every fsync.
const SYNC_SLOW: Duration = Duration::from_millis(20);
const SYNC_ROUNDS: u32 = 20;
/// Before this the clock was not set: 2025-01-01.
const CLOCK_MIN_SECS: i64 = 1_735_689_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct DoctorReport {
    verdict: Verdict,
    findings: Vec<Finding>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(crate) fn run(args: &StoreArgs, json: bool) -> Outcome {
    let layout = match find_store(args) {
        // A machine without a store is looked at all the same.
        Err(failure) if failure.exit == Exit::NotRunning && args.mountpoint.is_none() => {
            Layout::new(store::data_folder(args.data.as_deref())?)
        }
        found => found?,
    };
    let mut findings = vec![kernel(), fuse(), mount_permission(), open_files(), clock()];
    findings.extend(disk(&layout.data));
    findings.push(service(&layout)?);
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let report = DoctorReport { verdict, findings };
    output::report(&report, json, || text(&report));
    Ok(if verdict == Verdict::Failed { Exit::Failure } else { Exit::Ok })
}

fn text(report: &DoctorReport) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let mark = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        line(&mut out, mark, &format!("{}: {}", finding.check, finding.found));
        if let Some(advice) = &finding.advice {
            line(&mut out, "", &format!("  {advice}"));
        }
    }
    out
}

fn kernel() -> Finding {
    let release = host::read_text("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = KERNEL_MIN;
    if version >= KERNEL_MIN {
        Finding::ok("kernel", release)
    } else {
        Finding::warn(
            "kernel",
            release,
            format!("FUSE has all that is used here since {major}.{minor}: setuid bits may survive a write"),
        )
    }
}

fn fuse() -> Finding {
    match gateway_fuse::check_device() {
        Ok(()) => Finding::ok("fuse", "/dev/fuse can be used"),
        Err(error) => {
            let failure = Failure::from(error);
            Finding::fail("fuse", "/dev/fuse cannot be used", failure.message)
        }
    }
}

fn mount_permission() -> Finding {
    match (nix::unistd::geteuid().is_root(), gateway_fuse::mount_helper()) {
        (true, _) => Finding::ok("permission", "root mounts for all users"),
        (false, Some(helper)) => {
            Finding::ok("permission", format!("mounts for this user alone, by {}", helper.display()))
        }
        (false, None) => {
            Finding::fail("permission", "fusermount3 is missing", "install the package fuse3, or run as root")
        }
    }
}

fn open_files() -> Finding {
    resources::raise_open_files();
    let most = resources::open_files_max();
    if most >= OPEN_FILES_MIN {
        Finding::ok("open files", format!("{most} may be open"))
    } else {
        Finding::warn(
            "open files",
            format!("{most} may be open"),
            format!("raise the hard limit to {OPEN_FILES_MIN} or more (ulimit -Hn)"),
        )
    }
}

/// Decisions never rest on the wall clock, but people read it in file times.
fn clock() -> Finding {
    let now = RealClock::new().wall().0.div_euclid(1_000_000_000);
    if now >= CLOCK_MIN_SECS {
        Finding::ok("clock", "set")
    } else {
        Finding::warn("clock", "it shows a time before 2025", "set it: files would get wrong times")
    }
}

fn disk(data: &Path) -> Vec<Finding> {
    let place = host::nearest_existing(data).to_path_buf();
    vec![filesystem(&place), free_space(data), sync_latency(&place)]
}

/// Kinds of filesystem (statfs(2)) on which a journal proves nothing or crawls.
fn filesystem(place: &Path) -> Finding {
    const RAMFS: i64 = 0x8584_58f6;
    const TMPFS: i64 = 0x0102_1994;
    const NFS: i64 = 0x6969;
    const FUSE: i64 = 0x6573_5546;
    let found = match statfs(place) {
        Ok(found) => found.filesystem_type().0,
        Err(error) => return Finding::fail("data folder", place.display().to_string(), error.to_string()),
    };
    match found {
        TMPFS | RAMFS => Finding::warn(
            "data folder",
            format!("{} is in memory", place.display()),
            "a reboot loses everything: choose a disk with --data",
        ),
        NFS | FUSE => Finding::warn(
            "data folder",
            format!("{} is on a network or FUSE filesystem", place.display()),
            "choose a local disk with --data",
        ),
        other => Finding::ok("data folder", format!("{} (filesystem type {other:#x})", place.display())),
    }
}

fn free_space(data: &Path) -> Finding {
    const CHECK: &str = "free space";
    let room = match Room::at(data) {
        Ok(room) => room,
        Err(failure) => return Finding::fail(CHECK, data.display().to_string(), failure.message),
    };
    let free = show_bytes(room.free);
    let is_there = host::metadata(&Layout::new(data.to_path_buf()).store_file()).is_ok();
    match (is_there, room.complaint(), room.for_new_store(data)) {
        (true, Some(complaint), _) if room.free < room.kept_free => Finding::fail(CHECK, free, complaint),
        (true, Some(complaint), _) => Finding::warn(CHECK, free, complaint),
        (false, _, Err(failure)) => Finding::fail(CHECK, free, failure.message),
        _ => Finding::ok(CHECK, free),
    }
}

fn sync_latency(place: &Path) -> Finding {
    const CHECK: &str = "sync";
    let path: PathBuf = place.join(format!(".tidegate-doctor-{}", std::process::id()));
    let measured = measure_sync(&path);
    if let Err(error) = host::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the probe file stays behind");
    }
    match measured {
        Ok(median) if median < SYNC_SLOW => {
            Finding::ok(CHECK, format!("{:.2} ms for an fdatasync of 4 KiB", median.as_secs_f64() * 1e3))
        }
        Ok(median) => Finding::warn(
            CHECK,
            format!("{:.1} ms for an fdatasync of 4 KiB", median.as_secs_f64() * 1e3),
            "every fsync takes that long: a disk with power-loss protection is faster",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Finding::warn(CHECK, "not measured", format!("{} cannot be written to by this user", place.display()))
        }
        Err(error) => Finding::fail(CHECK, place.display().to_string(), error.to_string()),
    }
}

fn measure_sync(path: &Path) -> std::io::Result<Duration> {
    let (disk, clock) = (RealDisk, RealClock::new());
    let file = disk.open(path, OpenMode::Truncate)?;
    let page = [0x5a; 4096];
    let mut times = Vec::new();
    for round in 0..SYNC_ROUNDS {
        let begin = clock.monotonic();
        file.write_all_at(&[IoSlice::new(&page)], u64::from(round) * 4096)?;
        file.sync_data()?;
        times.push(clock.monotonic().saturating_sub(begin));
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

fn service(layout: &Layout) -> Result<Finding, Failure> {
    const CHECK: &str = "store";
    if host::metadata(&layout.store_file()).is_err() {
        return Ok(Finding::ok(CHECK, format!("none at {} yet", layout.data.display())));
    }
    let store = store::existing(&layout.data)?;
    match ask_for(layout, &Request::Status) {
        Ok(Answer::Status(status)) if status.health == Health::Ok => {
            Ok(Finding::ok(CHECK, format!("code {}, served by process {}", store.code, status.pid)))
        }
        Ok(Answer::Status(status)) => Ok(Finding::warn(
            CHECK,
            format!("code {}, {:?}", store.code, status.health).to_lowercase(),
            "see `tidegate pool status`",
        )),
        Ok(_) => Err(super::unexpected()),
        Err(failure) if failure.exit == Exit::NotRunning => {
            Ok(Finding::ok(CHECK, format!("code {}, not running", store.code)))
        }
        Err(failure) => Ok(Finding::warn(CHECK, format!("code {}", store.code), failure.message)),
    }
}
