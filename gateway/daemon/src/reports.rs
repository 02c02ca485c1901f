//! What commands report, as JSON and for people. Field names are an interface: they are documented in README.md and
//! only ever added to.

use std::fmt::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::door_reports::NfsReport;
use crate::exit::Exit;
use crate::units::{show_bytes, show_seconds};
use crate::watch_reports::AdminReport;

/// How well the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    Ok,
    Degraded,
    Damaged,
}

impl Health {
    pub(crate) const fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Ok,
            Self::Degraded => Exit::Degraded,
            Self::Damaged => Exit::Damaged,
        }
    }
}

/// One drive of the pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DriveReport {
    pub(crate) slot: u16,
    pub(crate) place: String,
    /// `ok`, `suspect`, `away`.
    pub(crate) state: String,
    pub(crate) total_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<String>,
}

/// `pool status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PoolReport {
    pub(crate) health: Health,
    pub(crate) pool_uuid: String,
    pub(crate) code: String,
    pub(crate) survives: String,
    pub(crate) capacity_bytes: u64,
    pub(crate) free_bytes: u64,
    /// Blobs on the heal list.
    pub(crate) heal_pending: u64,
    /// Shards that lie beside others of their blob on one drive, because their own drive was away.
    #[serde(default)]
    pub(crate) displaced_shards: u64,
    /// The heal list was lost, and no heal has looked at every blob since.
    #[serde(default)]
    pub(crate) heal_list_lost: bool,
    pub(crate) drives: Vec<DriveReport>,
}

/// `pool heal`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HealOutcome {
    /// Blobs whose every shard was read back.
    pub(crate) blobs_checked: u64,
    pub(crate) blobs_healed: u64,
    pub(crate) shards_rebuilt: u64,
    /// Shards that lay beside others and have a drive of their own again.
    #[serde(default)]
    pub(crate) shards_moved: u64,
    /// Drives that were made anew.
    pub(crate) drives_initialised: Vec<String>,
    /// Drives that stay away, with the reason.
    pub(crate) drives_away: Vec<String>,
    pub(crate) blobs_failed: u64,
    /// Blobs that could not be healed, with the reason.
    pub(crate) failures: Vec<String>,
}

/// `check`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CheckOutcome {
    pub(crate) inodes: u64,
    pub(crate) names: u64,
    pub(crate) extents: u64,
    pub(crate) frames: u64,
    pub(crate) file_bytes: u64,
    /// One line each, at most a thousand.
    pub(crate) findings: Vec<String>,
    pub(crate) findings_total: u64,
}

impl CheckOutcome {
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} inodes, {} names, {} extents in {} frames, {} of files: {}",
            self.inodes,
            self.names,
            self.extents,
            self.frames,
            show_bytes(self.file_bytes),
            if self.findings_total == 0 {
                "all as it should be".to_owned()
            } else {
                format!("{} findings", self.findings_total)
            }
        );
        for finding in &self.findings {
            text.push('\n');
            text.push_str(finding);
        }
        text
    }
}

/// `cache drop`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DropOutcome {
    pub(crate) freed_bytes: u64,
}

/// `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    pub(crate) health: Health,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_secs: f64,
    pub(crate) data: PathBuf,
    /// The first of `mounts`.
    pub(crate) mountpoint: Option<PathBuf>,
    #[serde(default)]
    pub(crate) mounts: Vec<PathBuf>,
    /// The NFS door, where one is open.
    #[serde(default)]
    pub(crate) nfs: Option<NfsReport>,
    /// The admin interface, where it is open.
    #[serde(default)]
    pub(crate) admin: Option<AdminReport>,
    pub(crate) store_uuid: String,
    pub(crate) code: String,
    pub(crate) survives: String,
    pub(crate) inodes: u64,
    pub(crate) file_bytes: u64,
    /// Not in the pool yet.
    pub(crate) dirty_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) dirty_oldest_secs: Option<f64>,
    pub(crate) dirty_eta_secs: Option<f64>,
    pub(crate) upload_bytes_per_sec: Option<u64>,
    /// `idle`, `uploading`, `retrying`, `stopped`.
    pub(crate) upload_state: String,
    pub(crate) upload_error: Option<String>,
    /// Why nothing goes into the pool, and what to do; null while it goes.
    #[serde(default)]
    pub(crate) stuck: Option<String>,
    pub(crate) journal_bytes: u64,
    pub(crate) journal_last_lsn: u64,
    pub(crate) journal_durable_lsn: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) cache_bytes_max: u64,
    /// Removed files that are still open.
    pub(crate) orphans: u64,
    /// Reads that the journal's disk failed and the pool answered, since the start.
    #[serde(default)]
    pub(crate) local_read_failures: u64,
    /// Places that are nearly full, each with what to do.
    pub(crate) full: Vec<String>,
    pub(crate) pool: PoolReport,
}

/// One run of a file's bytes and where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExtentReport {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// `data`, or `reserved` where space is set aside that reads as zeros.
    pub(crate) kind: String,
    pub(crate) segment: Option<u64>,
    pub(crate) frame: Option<u32>,
    pub(crate) skip: Option<u32>,
}

/// One segment that a file's bytes are in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SegmentReport {
    pub(crate) segment: u64,
    /// `journal`, `journal and pool`, `pool`.
    pub(crate) at: String,
    pub(crate) shards: Vec<ShardReport>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShardReport {
    pub(crate) index: usize,
    pub(crate) slot: Option<u16>,
    pub(crate) place: Option<String>,
    /// `ok`, `missing`, `corrupt`, `unreachable`.
    pub(crate) state: String,
}

/// `info`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InfoReport {
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    pub(crate) kind: String,
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) size: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) extents: Vec<ExtentReport>,
    pub(crate) segments: Vec<SegmentReport>,
}

/// `mount` and `serve`, once they serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServingReport {
    pub(crate) pid: u32,
    pub(crate) created: bool,
    pub(crate) data: PathBuf,
    /// The first of `mounts`.
    pub(crate) mountpoint: Option<PathBuf>,
    #[serde(default)]
    pub(crate) mounts: Vec<PathBuf>,
    /// The NFS door, where one is open.
    #[serde(default)]
    pub(crate) nfs: Option<NfsReport>,
    /// The admin interface, where it is open.
    #[serde(default)]
    pub(crate) admin: Option<AdminReport>,
    pub(crate) store_uuid: String,
    pub(crate) code: String,
    pub(crate) drives: Vec<PathBuf>,
    pub(crate) survives: String,
    pub(crate) compression: String,
    pub(crate) capacity_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) cache_bytes_max: u64,
    pub(crate) dirty_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
    /// Where the log is; nothing in the foreground.
    pub(crate) log: Option<PathBuf>,
    pub(crate) health: Health,
}

/// What went on so far, while a command waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What is being done.
    pub(crate) doing: String,
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Whether these are bytes (else things).
    pub(crate) bytes: bool,
    /// What keeps it from going on, and what to do about that.
    #[serde(default)]
    pub(crate) waiting: Option<String>,
}

/// What a service that ended left in its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// Bytes of files that are not in the pool.
    pub(crate) dirty_bytes: u64,
    /// The pool has every record.
    pub(crate) complete: bool,
}

impl PoolReport {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let health = match self.health {
            Health::Ok => "ok",
            Health::Degraded => "DEGRADED: everything is readable, something is missing",
            Health::Damaged => "DAMAGED: more drives are away than the code bears; bring them back",
        };
        line(&mut out, "pool", &format!("{} code {}, {health}", self.pool_uuid, self.code));
        line(&mut out, "", &self.survives);
        line(
            &mut out,
            "space",
            &format!("{} free of {}", show_bytes(self.free_bytes), show_bytes(self.capacity_bytes)),
        );
        for drive in &self.drives {
            let space = format!("{} free of {}", show_bytes(drive.free_bytes), show_bytes(drive.total_bytes));
            let state = if drive.state == "away" { "AWAY".to_owned() } else { format!("{}, {space}", drive.state) };
            line(&mut out, &format!("drive {}", drive.slot), &format!("{}  {state}", drive.place));
            if let Some(error) = drive.last_error.as_ref().filter(|_| drive.state != "ok") {
                line(&mut out, "", error);
            }
        }
        match self.heal_pending {
            _ if self.heal_list_lost => {
                line(&mut out, "to heal", "not known, the heal list was lost: `tidegate pool heal` looks at every blob")
            }
            0 if self.health == Health::Ok => line(&mut out, "to heal", "nothing"),
            0 => line(&mut out, "to heal", "not known: run `tidegate pool heal` when the drives are back"),
            blobs => {
                let doubled = match self.displaced_shards {
                    0 => String::new(),
                    shards => format!(" ({shards} of their shards share a drive with another)"),
                };
                let less = "until then they bear the loss of one drive less";
                line(&mut out, "to heal", &format!("{blobs} blobs{doubled}, {less}: `tidegate pool heal`"));
            }
        }
        out
    }
}

impl StatusReport {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let safe = match (self.health, self.dirty_bytes) {
            (Health::Damaged, _) => "NO: more drives are away than the code bears; see the pool below",
            (Health::Degraded, _) => "readable, but DEGRADED: see the pool below",
            (Health::Ok, 0) => "yes, all of it is in the pool",
            (Health::Ok, _) => "yes here, but not all of it is in the pool yet",
        };
        line(&mut out, "safe", safe);
        if let Some(single) = self.single_copy() {
            line(&mut out, "", &single);
        }
        let process = format!("(process {}, up {})", self.pid, show_seconds(self.uptime_secs));
        for mountpoint in &self.mounts {
            line(&mut out, "mount", &format!("{} {process}", mountpoint.display()));
        }
        if let Some(nfs) = &self.nfs {
            line(&mut out, "NFS", &format!("{} {process}", nfs.summary()));
        }
        if let Some(admin) = &self.admin {
            line(&mut out, "admin", &admin.summary());
        }
        line(
            &mut out,
            "store",
            &format!("{} ({} files and folders, {})", self.data.display(), self.inodes, show_bytes(self.file_bytes)),
        );
        line(&mut out, "dirty", &self.dirty());
        match (&self.stuck, &self.upload_error) {
            (Some(stuck), _) => line(&mut out, "", stuck),
            (None, Some(error)) => line(&mut out, "", &format!("uploads fail: {error}")),
            (None, None) => {}
        }
        line(&mut out, "cache", &format!("{} of {}", show_bytes(self.cache_bytes), show_bytes(self.cache_bytes_max)));
        if self.local_read_failures > 0 {
            let reads = self.local_read_failures;
            line(
                &mut out,
                "",
                &format!("the journal's disk failed {reads} reads; the pool answered them: replace the disk"),
            );
        }
        for full in &self.full {
            line(&mut out, "full", full);
        }
        out.push_str(&self.pool.text());
        out
    }

    /// What the loss of this machine's disk would cost now.
    fn single_copy(&self) -> Option<String> {
        if self.dirty_bytes == 0 {
            return None;
        }
        let since = self.dirty_oldest_secs.map_or_else(String::new, |age| format!(" for {}", show_seconds(age)));
        let stuck = if self.stuck.is_some() { ", and NOTHING GOES UP NOW" } else { "" };
        Some(format!("{} exist once, on this machine's disk only{since}{stuck}", show_bytes(self.dirty_bytes)))
    }

    fn dirty(&self) -> String {
        let mut text = format!("{} of at most {}", show_bytes(self.dirty_bytes), show_bytes(self.dirty_bytes_max));
        if self.dirty_bytes == 0 {
            return text;
        }
        if let Some(age) = self.dirty_oldest_secs {
            write!(text, ", oldest {}", show_seconds(age)).ok();
        }
        match (self.upload_bytes_per_sec, self.dirty_eta_secs) {
            (Some(rate), Some(eta)) => write!(text, ", {} at {}/s", show_seconds(eta), show_bytes(rate)).ok(),
            _ => write!(text, ", {}", self.upload_state).ok(),
        };
        text
    }
}

impl ExtentReport {
    /// Whether `next` follows in the file and where it is kept.
    fn goes_on_in(&self, next: &Self) -> bool {
        let follows = self.offset + self.len == next.offset && self.segment == next.segment && self.kind == next.kind;
        let kept_after = match (self.frame, next.frame) {
            (Some(frame), Some(after)) => frame.checked_add(1) == Some(after) && next.skip == Some(0),
            (None, None) => true,
            _ => false,
        };
        follows && kept_after
    }
}

/// One line for extents that follow each other.
fn run_text(run: &[ExtentReport]) -> String {
    let [first, .., last] = run else { return run.first().map_or_else(String::new, |one| span_text(one, one)) };
    span_text(first, last)
}

fn span_text(first: &ExtentReport, last: &ExtentReport) -> String {
    let at = match (first.segment, first.frame, last.frame) {
        (Some(segment), Some(from), Some(to)) => {
            let frames = if from == to { format!("frame {from}") } else { format!("frames {from} to {to}") };
            format!("segment {segment} {frames} +{}", first.skip.unwrap_or(0))
        }
        _ => first.kind.clone(),
    };
    format!("{}..{}  {at}", first.offset, last.offset + last.len)
}

impl InfoReport {
    pub(crate) fn text(&self) -> String {
        /// More lines than this help nobody; JSON has them all.
        const LINES_MAX: usize = 40;
        let mut out = String::new();
        line(&mut out, "path", &self.path.display().to_string());
        line(
            &mut out,
            "inode",
            &format!(
                "{} ({}, mode {}, owner {}:{}, {} links)",
                self.inode, self.kind, self.mode, self.uid, self.gid, self.nlink
            ),
        );
        line(&mut out, "size", &format!("{} bytes, {} allocated", self.size, show_bytes(self.allocated_bytes)));
        let runs: Vec<&[ExtentReport]> = self.extents.chunk_by(ExtentReport::goes_on_in).collect();
        for run in runs.iter().take(LINES_MAX) {
            line(&mut out, "extent", &run_text(run));
        }
        if runs.len() > LINES_MAX {
            line(&mut out, "", &format!("and {} more (--json has all)", runs.len() - LINES_MAX));
        }
        for segment in self.segments.iter().take(LINES_MAX) {
            line(&mut out, "segment", &format!("{} in the {}", segment.segment, segment.at));
            for shard in &segment.shards {
                line(
                    &mut out,
                    "",
                    &format!("shard {}  {}  {}", shard.index, shard.state, shard.place.as_deref().unwrap_or("-")),
                );
            }
        }
        out
    }
}

impl HealOutcome {
    pub(crate) const fn health(&self) -> Health {
        match (self.blobs_failed, self.drives_away.is_empty()) {
            (0, true) => Health::Ok,
            (0, false) => Health::Degraded,
            _ => Health::Damaged,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let healed = format!(
            "{} blobs ({} shards rebuilt, {} moved to drives of their own); {} blobs read back whole",
            self.blobs_healed, self.shards_rebuilt, self.shards_moved, self.blobs_checked
        );
        line(&mut out, "healed", &healed);
        for drive in &self.drives_initialised {
            line(&mut out, "new drive", &format!(" {drive}"));
        }
        for drive in &self.drives_away {
            line(&mut out, "away", drive);
        }
        for failure in &self.failures {
            line(&mut out, "FAILED", failure);
        }
        out
    }
}

/// One line of a report: what it is, then what is to be said.
pub(crate) fn line(out: &mut String, what: &str, text: &str) {
    writeln!(out, "{what:<10}{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, len: u64, at: Option<(u64, u32, u32)>) -> ExtentReport {
        let kind = if at.is_some() { "data" } else { "reserved" }.to_owned();
        let (segment, frame, skip) = (at.map(|a| a.0), at.map(|a| a.1), at.map(|a| a.2));
        ExtentReport { offset, len, kind, segment, frame, skip }
    }

    #[test]
    fn frames_that_follow_each_other_are_one_line() {
        let extents = [
            extent(0, 10, Some((3, 5, 2))),
            extent(10, 20, Some((3, 6, 0))),
            extent(30, 20, Some((3, 7, 0))),
            extent(50, 20, Some((3, 8, 4))),
            extent(80, 10, Some((3, 9, 0))),
            extent(90, 5, None),
            extent(95, 5, None),
            extent(100, 1, Some((4, 0, 0))),
        ];
        let lines: Vec<String> = extents.chunk_by(ExtentReport::goes_on_in).map(run_text).collect();
        assert_eq!(
            lines,
            [
                "0..50  segment 3 frames 5 to 7 +2",
                "50..70  segment 3 frame 8 +4",
                "80..90  segment 3 frame 9 +0",
                "90..100  reserved",
                "100..101  segment 4 frame 0 +0",
            ]
        );
    }
}
