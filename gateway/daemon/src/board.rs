//! The board: what a mount says when it is up.

use std::path::PathBuf;

use crate::host;
use crate::reports::{MountReport, line};
use crate::units::{Code, show_bytes};

/// What the loss of drives costs, honest about drives that share a disk.
pub(crate) fn survives(code: Code, drives: &[PathBuf]) -> String {
    let count = drives.len();
    let losses = match code.parity {
        0 => format!("does not survive the loss of any of its {count} drive folders"),
        1 => format!("survives the loss of any 1 of {count} drive folders"),
        parity => format!("survives the loss of any {parity} of {count} drive folders"),
    };
    let mut disks: Vec<u64> =
        drives.iter().filter_map(|drive| host::identity(drive).ok()).map(|(disk, _)| disk).collect();
    disks.sort_unstable();
    let most_on_one = disks.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or(0);
    let distinct = disks.chunk_by(|a, b| a == b).count();
    match distinct {
        _ if count <= 1 || most_on_one <= 1 => losses,
        1 => format!("{losses}; they share one disk: does not survive the loss of that disk"),
        _ if most_on_one > usize::from(code.parity) => {
            format!("{losses}; up to {most_on_one} of them share a disk: does not survive the loss of that disk")
        }
        _ => losses,
    }
}

pub(crate) fn text(report: &MountReport) -> String {
    let mut out = String::new();
    let made = if report.created { "new store" } else { "store" };
    line(&mut out, made, &report.data.display().to_string());
    line(&mut out, "code", &format!("{}: {}", report.code, report.survives));
    line(&mut out, "mounted on", &format!(" {} (process {})", report.mountpoint.display(), report.pid));
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
    let mountpoint = report.mountpoint.display();
    line(&mut out, "next", &format!("tidegate status {mountpoint}     is everything safe?"));
    line(&mut out, "", &format!("tidegate umount {mountpoint}     drain into the pool and unmount"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_on_one_disk_are_said_to_share_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let drives: Vec<PathBuf> = (0..6).map(|slot| dir.path().join(slot.to_string())).collect();
        for drive in &drives {
            std::fs::create_dir(drive).expect("mkdir");
        }
        let said = survives(Code { data: 4, parity: 2 }, &drives);
        assert_eq!(
            said,
            "survives the loss of any 2 of 6 drive folders; they share one disk: does not survive the loss of that disk"
        );
        assert!(survives(Code { data: 1, parity: 0 }, &drives[..1]).starts_with("does not survive"));
    }
}
