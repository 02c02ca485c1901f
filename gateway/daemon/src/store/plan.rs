//! What a service is going to do with its store, decided before anything on disk is touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Layout, Room, StoreFile, file, remains, require_utf8};
use crate::cli::StoreOptions;
use crate::exit::{Exit, Failure};
use crate::host;
use crate::units::Code;

/// What is going to happen.
pub(crate) enum Plan {
    Create(NewStore),
    Open(StoreFile),
}

/// A store to be made.
#[derive(Debug)]
pub(crate) struct NewStore {
    pub(crate) code: Code,
    /// As the store file will have them: relative to the folder, or absolute.
    pub(crate) drives: Vec<String>,
}

/// Decides what serving `args` on `mountpoints` means for the folder in `layout`, or refuses.
pub(crate) fn plan(args: &StoreOptions, layout: &Layout, mountpoints: &[&Path]) -> Result<Plan, Failure> {
    for mountpoint in mountpoints {
        apart(&layout.data, mountpoint)?;
    }
    match file::read(layout)? {
        Some(store) => {
            same_store(args, layout, &store)?;
            Ok(Plan::Open(store))
        }
        None => {
            if let Some(remains) = remains::of_store(layout) {
                let failure = Failure::refuse("open store", layout.data.display(), remains);
                return Err(failure.with_exit(Exit::Damaged));
            }
            free_folder(&layout.data, "data folder", || None)?;
            let new = new_store(args, layout, mountpoints)?;
            Room::at(&layout.data)?.for_new_store(&layout.data)?;
            Ok(Plan::Create(new))
        }
    }
}

/// A mount over its own store, or a store inside its own mount, would wait for itself.
fn apart(data: &Path, mountpoint: &Path) -> Result<(), Failure> {
    if mountpoint.starts_with(data) {
        return Err(Failure::refuse(
            "use mount point",
            mountpoint.display(),
            format!("it lies inside the data folder {}: choose another", data.display()),
        ));
    }
    if data.starts_with(mountpoint) {
        return Err(Failure::refuse(
            "use data folder",
            data.display(),
            format!("it lies inside the mount point {}: choose another", mountpoint.display()),
        ));
    }
    Ok(())
}

/// `--code` and `--drive` describe a new store; for an existing one they may only repeat what it is.
fn same_store(args: &StoreOptions, layout: &Layout, store: &StoreFile) -> Result<(), Failure> {
    if let Some(code) = args.code.filter(|code| code.to_string() != store.code) {
        return Err(Failure::refuse(
            "open store",
            layout.data.display(),
            format!(
                "it was made with code {}, not {code}: leave --code out, or make a new store with another --data",
                store.code
            ),
        ));
    }
    if args.drives.is_empty() {
        return Ok(());
    }
    let has: Vec<PathBuf> = store.drives.iter().map(|drive| resolved(&layout.drive(drive))).collect();
    let mut given: Vec<PathBuf> = args.drives.iter().map(|drive| resolved(drive)).collect();
    let mut sorted = has.clone();
    sorted.sort();
    given.sort();
    if sorted == given {
        return Ok(());
    }
    let has: Vec<String> = has.iter().map(|drive| drive.display().to_string()).collect();
    Err(Failure::refuse(
        "open store",
        layout.data.display(),
        format!("its drives are {}: leave --drive out, or make a new store with another --data", has.join(", ")),
    ))
}

fn resolved(path: &Path) -> PathBuf {
    host::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A folder that is there must be an empty directory that can be written to; one that is not must be possible. What
/// `remains` says of one that is not empty takes the place of the general advice.
fn free_folder(path: &Path, what: &str, remains: impl FnOnce() -> Option<String>) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::refuse(&format!("use {what}"), path.display(), why));
    match host::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => return refuse("it is a file, not a directory: choose another"),
        Ok(_) if !host::may_write(path) => {
            return refuse("it cannot be written to: change its permissions, or choose another");
        }
        Ok(_) => match host::is_free(path) {
            Ok(true) => {}
            Ok(false) => {
                let general =
                    "it is not empty and not a store: choose an empty directory, or one that does not exist yet";
                return refuse(&remains().unwrap_or_else(|| general.to_owned()));
            }
            Err(error) => return refuse(&error.to_string()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = host::nearest_existing(path);
            if !host::metadata(parent).is_ok_and(|m| m.is_dir()) {
                return refuse(&format!("{} is not a directory: choose another", parent.display()));
            }
            if !host::may_write(parent) {
                return refuse(&format!(
                    "it cannot be made, {} cannot be written to: choose another",
                    parent.display()
                ));
            }
        }
        Err(error) => return refuse(&error.to_string()),
    }
    Ok(())
}

fn new_store(args: &StoreOptions, layout: &Layout, mountpoints: &[&Path]) -> Result<NewStore, Failure> {
    if args.drives.is_empty() {
        let code = args.code.unwrap_or(Code { data: 4, parity: 2 });
        let drives = (0..code.width()).map(|slot| Layout::default_drive(slot).display().to_string()).collect();
        return Ok(NewStore { code, drives });
    }
    let code = args.code.unwrap_or_else(|| code_for(args.drives.len()));
    let (needed, given) = (code.width(), args.drives.len());
    if given < needed {
        return Err(Failure::refuse(
            "make store",
            layout.data.display(),
            format!(
                "code {code} needs {needed} drives and {given} are given: give more with --drive, or choose another --code"
            ),
        ));
    }
    let drives = distinct_drives(&args.drives)?;
    for drive in &drives {
        free_folder(drive, "drive", || remains::of_drive(drive))?;
        parent_is_there(drive, layout)?;
        if layout.data.starts_with(drive) {
            return Err(overlap(drive, "data folder", &layout.data));
        }
        if let Some(mountpoint) = mountpoints.iter().find(|at| drive.starts_with(at) || at.starts_with(drive)) {
            return Err(overlap(drive, "mount point", mountpoint));
        }
    }
    let named = drives.iter().map(|drive| name_of(drive, layout)).collect::<Result<_, _>>()?;
    Ok(NewStore { code, drives: named })
}

fn overlap(drive: &Path, name: &str, other: &Path) -> Failure {
    let advice = format!("it overlaps with the {name} {}: choose another", other.display());
    Failure::refuse("use drive", drive.display(), advice)
}

/// What a store file calls a drive: relative where it lies in the folder, so that the whole can be moved.
fn name_of(drive: &Path, layout: &Layout) -> Result<String, Failure> {
    let named = drive.strip_prefix(&layout.data).unwrap_or(drive);
    require_utf8(named, "drive").map(str::to_owned)
}

/// The code that `drives` carry best: as much parity as 4+2 has, or what fits.
const fn code_for(drives: usize) -> Code {
    let (data, parity) = match drives {
        0 | 1 => (1, 0),
        2 => (1, 1),
        3 => (2, 1),
        4 => (2, 2),
        5 => (3, 2),
        _ => (4, 2),
    };
    Code { data, parity }
}

/// The drives without links; refused where two are one directory, by name, link or bind mount, or nested.
fn distinct_drives(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut drives: Vec<PathBuf> = Vec::with_capacity(given.len());
    for path in given {
        let drive = host::absolute(path).map_err(|error| Failure::refuse("use drive", path.display(), error))?;
        require_utf8(&drive, "drive")?;
        let same = match host::identity(&drive) {
            Ok(identity) => seen.insert(identity, path.clone()),
            Err(_) => drives.contains(&drive).then(|| path.clone()),
        };
        if let Some(other) = same {
            return Err(Failure::refuse(
                "use drive",
                path.display(),
                format!("it is the same directory as {}: give each drive once", other.display()),
            ));
        }
        if let Some(other) = drives.iter().find(|other| drive.starts_with(other) || other.starts_with(&drive)) {
            return Err(Failure::refuse(
                "use drive",
                path.display(),
                format!("it overlaps with {}: give separate directories", other.display()),
            ));
        }
        drives.push(drive);
    }
    Ok(drives)
}

/// Only the last part of a drive's path is made: where more is missing, its disk is not mounted or the path is wrong,
/// and shards would fill the disk above it.
fn parent_is_there(drive: &Path, layout: &Layout) -> Result<(), Failure> {
    let Some(parent) = drive.parent().filter(|_| !drive.starts_with(&layout.data)) else { return Ok(()) };
    if host::metadata(parent).is_ok() {
        return Ok(());
    }
    let why = format!(
        "{} does not exist: mount the disk there, or make that directory first if it is really meant",
        parent.display()
    );
    Err(Failure::refuse("use drive", drive.display(), why))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(text: &[&str]) -> StoreOptions {
        let line = ["tidegate", "mount"].iter().chain(text);
        match Cli::try_parse_from(line).expect("a valid command line").command {
            Command::Mount(args) => args.store,
            other => panic!("mount was asked for, not {other:?}"),
        }
    }

    fn refused(text: &[&str], data: &Path, mountpoint: &Path) -> String {
        match plan(&args(text), &Layout::new(data.to_path_buf()), &[mountpoint]) {
            Err(failure) => failure.message,
            Ok(_) => panic!("{text:?} was accepted"),
        }
    }

    #[test]
    fn a_new_store_is_4_plus_2_over_six_folders_unless_told_otherwise() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().join("data"));
        let Ok(Plan::Create(new)) = plan(&args(&["mnt"]), &layout, &[Path::new("/mnt")]) else { panic!("a new store") };
        assert_eq!((new.code.to_string(), new.drives.len()), ("4+2".to_owned(), 6));
        assert_eq!(new.drives[5], "drives/5");
        assert!(!layout.data.exists(), "planning makes nothing");
        assert_eq!(code_for(3).to_string(), "2+1");
    }

    #[test]
    fn drives_that_are_one_directory_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (a, link) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).expect("mkdir");
        std::os::unix::fs::symlink(&a, &link).expect("symlink");
        let (a, link) = (a.display().to_string(), link.display().to_string());
        let inside = format!("{a}/inside");
        for second in [&a, &link] {
            let why = refused(
                &["--code", "1+1", "--drive", &a, "--drive", second, "m"],
                &dir.path().join("d"),
                Path::new("/m"),
            );
            assert!(why.contains("same directory"), "{why}");
        }
        let why =
            refused(&["--code", "1+1", "--drive", &a, "--drive", &inside, "m"], &dir.path().join("d"), Path::new("/m"));
        assert!(why.contains("overlaps"), "{why}");
    }

    #[test]
    fn a_code_too_wide_for_the_drives_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let why = refused(
            &["--code", "4+2", "--drive", "a", "--drive", "b", "--drive", "c", "m"],
            dir.path(),
            Path::new("/m"),
        );
        assert!(why.contains("4+2") && why.contains('6') && why.contains('3'), "{why}");
    }

    #[test]
    fn a_store_in_its_own_mount_is_refused_both_ways() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        assert!(refused(&["m"], &data, &data.join("mnt")).contains("inside the data folder"));
        assert!(refused(&["m"], &data, dir.path()).contains("inside the mount point"));
    }

    #[test]
    fn a_drive_whose_parent_is_missing_is_refused_and_nothing_is_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let missing = dir.path().join("disk1/tidegate");
        let why = refused(
            &["--code", "1+0", "--drive", &missing.display().to_string(), "m"],
            &dir.path().join("d"),
            Path::new("/m"),
        );
        assert!(why.contains("disk1 does not exist") && why.contains("mount the disk"), "{why}");
        assert!(!dir.path().join("disk1").exists());
        let inside = dir.path().join("d/own/0").display().to_string();
        let layout = Layout::new(dir.path().join("d"));
        let made = plan(&args(&["--code", "1+0", "--drive", &inside, "m"]), &layout, &[Path::new("/m")]);
        assert!(made.is_ok(), "folders inside the store's own are the store's to make");
    }

    #[test]
    fn a_store_without_its_store_file_is_named_as_what_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        for part in ["journal", "index"] {
            std::fs::create_dir_all(data.join(part)).expect("mkdir");
        }
        let why = refused(&["m"], &data, Path::new("/m"));
        assert!(why.contains("journal/, index/") && why.contains("store.json back"), "{why}");
    }
}
