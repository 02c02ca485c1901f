//! The board: what a service says when it is up.

use std::path::Path;

use crate::host;
use crate::reports::{ServingReport, line};
use crate::units::{Code, show_bytes};

/// A drive as the board counts it.
pub(crate) struct Counted<'a> {
    pub(crate) path: &'a Path,
    pub(crate) away: bool,
}

/// What the loss of drives costs now: honest about drives that are away, and about drives that share a disk.
pub(crate) fn survives(code: Code, drives: &[Counted<'_>]) -> String {
    let count = drives.len();
    let away = drives.iter().filter(|drive| drive.away).count();
    let parity = usize::from(code.parity);
    let Some(spare) = parity.checked_sub(away) else {
        return format!("{away} of {count} {} away, more than code {code} bears", folders_are(away));
    };
    let losses = match (spare, away) {
        (0, 0) if count == 1 => "does not survive the loss of its drive folder".to_owned(),
        (0, 0) => format!("does not survive the loss of any of its {count} drive folders"),
        (0, _) => format!("{away} of {count} {} away: does not survive the loss of another one", folders_are(away)),
        (_, 0) => format!("survives the loss of any {spare} of {count} drive folders"),
        (_, _) => format!("{away} of {count} {} away: survives the loss of {spare} more", folders_are(away)),
    };
    let there = drives.iter().filter(|drive| !drive.away);
    let mut disks: Vec<u64> = there.filter_map(|drive| host::identity(drive.path).ok()).map(|(disk, _)| disk).collect();
    disks.sort_unstable();
    let most_on_one = disks.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or(0);
    let distinct = disks.chunk_by(|a, b| a == b).count();
    match distinct {
        _ if count <= 1 || most_on_one <= 1 => losses,
        1 => format!("{losses}; they share one disk: does not survive the loss of that disk"),
        _ if most_on_one > spare => {
            format!("{losses}; up to {most_on_one} of them share a disk: does not survive the loss of that disk")
        }
        _ => losses,
    }
}

const fn folders_are(count: usize) -> &'static str {
    if count == 1 { "drive folders is" } else { "drive folders are" }
}

pub(crate) fn text(report: &ServingReport) -> String {
    let mut out = String::new();
    let made = if report.created { "new store" } else { "store" };
    line(&mut out, made, &report.data.display().to_string());
    line(&mut out, "code", &format!("{}: {}", report.code, report.survives));
    for mountpoint in &report.mounts {
        line(&mut out, "mounted on", &format!(" {} (process {})", mountpoint.display(), report.pid));
    }
    if let Some(nfs) = &report.nfs {
        line(&mut out, "NFS on", &format!("{} (process {})", nfs.summary(), report.pid));
        nfs.mounts_into(&mut out);
    }
    if let Some(admin) = &report.admin {
        line(&mut out, "admin on", &admin.summary());
    }
    line(
        &mut out,
        "space",
        &format!("{} free of {}", show_bytes(report.free_bytes), show_bytes(report.capacity_bytes)),
    );
    line(
        &mut out,
        "cache",
        &format!(
            "{} of {}, compression {}",
            show_bytes(report.cache_bytes),
            show_bytes(report.cache_bytes_max),
            report.compression
        ),
    );
    line(
        &mut out,
        "dirty",
        &format!(
            "{} not in the pool yet (at most {})",
            show_bytes(report.dirty_bytes),
            show_bytes(report.dirty_bytes_max)
        ),
    );
    if let Some(log) = &report.log {
        line(&mut out, "log", &log.display().to_string());
    }
    let place = match &report.mountpoint {
        Some(mountpoint) => mountpoint.display().to_string(),
        None => format!("--data {}", report.data.display()),
    };
    line(&mut out, "next", &format!("tidegate status {place}     is everything safe?"));
    if let Some(mountpoint) = &report.mountpoint {
        line(&mut out, "", &format!("tidegate umount {}     drain into the pool and unmount", mountpoint.display()));
    }
    if report.nfs.as_ref().is_some_and(|nfs| nfs.shares.is_empty()) {
        let data = report.data.display();
        line(&mut out, "", &format!("tidegate share create --data {data} --make /files     export a directory"));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folders(dir: &Path) -> Vec<PathBuf> {
        let drives: Vec<PathBuf> = (0..6).map(|slot| dir.join(slot.to_string())).collect();
        for drive in &drives {
            std::fs::create_dir(drive).expect("mkdir");
        }
        drives
    }

    fn said(code: Code, drives: &[PathBuf], away: usize) -> String {
        let counted: Vec<Counted<'_>> =
            drives.iter().enumerate().map(|(slot, path)| Counted { path, away: slot < away }).collect();
        survives(code, &counted)
    }

    #[test]
    fn drives_on_one_disk_are_said_to_share_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let drives = folders(dir.path());
        assert_eq!(
            said(Code { data: 4, parity: 2 }, &drives, 0),
            "survives the loss of any 2 of 6 drive folders; they share one disk: does not survive the loss of that disk"
        );
        assert_eq!(said(Code { data: 1, parity: 0 }, &drives[..1], 0), "does not survive the loss of its drive folder");
        assert!(
            said(Code { data: 2, parity: 0 }, &drives[..2], 0).starts_with("does not survive the loss of any of its 2")
        );
    }

    #[test]
    fn drives_that_are_away_count_as_lost_already() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let drives = folders(dir.path());
        let code = Code { data: 4, parity: 2 };
        let of = |away| said(code, &drives, away);
        assert!(of(1).starts_with("1 of 6 drive folders is away: survives the loss of 1 more"), "{}", of(1));
        assert!(of(2).starts_with("2 of 6 drive folders are away: does not survive the loss of another"), "{}", of(2));
        assert_eq!(of(3), "3 of 6 drive folders are away, more than code 4+2 bears");
    }
}
