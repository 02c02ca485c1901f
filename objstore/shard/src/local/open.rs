//! Opening and initialising a directory as a drive: who it belongs to is checked before anything is touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use objstore_base::{Error, ErrorKind, Result};
use objstore_env::{Disk, DiskLock, Env};

use super::{LocalDrive, Root, TMP_DIR};
use crate::{DRIVE_FORMAT, DriveIdentity, DriveUuid, IDENTITY_FILE, PoolUuid};

const LOCK_FILE: &str = "drive.lock";
/// What a fresh filesystem holds.
const LOST_AND_FOUND: &str = "lost+found";
const OP: &str = "open drive";

impl LocalDrive {
    /// Opens the drive in `dir` as slot `slot` of `pool`.
    ///
    /// # Errors
    /// `Unavailable`: the directory is missing, or empty (never initialised, or replaced by a new disk).
    /// `NotDirectory`; `Mismatch` for a drive of another pool or slot; `NewerFormat`; `StoreLocked` where another
    /// process has it; `Corrupt` for an unreadable or missing `drive.json` beside other files; else the medium's.
    pub async fn open(env: &Env, dir: PathBuf, pool: PoolUuid, slot: u16) -> Result<Self> {
        let inner = env.clone();
        env.blocking(move || open(inner, dir, pool, slot)).await
    }

    /// Makes `dir` (missing or empty) a drive of `pool` and opens it; one that is this drive already is opened.
    ///
    /// # Errors
    /// `NotEmpty` for a directory with foreign files, and those of [`Self::open`].
    pub async fn init(env: &Env, dir: PathBuf, pool: PoolUuid, slot: u16) -> Result<Self> {
        let inner = env.clone();
        env.blocking(move || {
            if vacant(&*inner.disk, &dir)? {
                initialise(&inner, &dir, pool, slot)
                    .map_err(|e| Error::io("initialise drive", e).entity(dir.display()))?;
            }
            open(inner, dir, pool, slot)
        })
        .await
    }

    /// Whether `dir` could become slot `slot` of `pool`; touches nothing.
    ///
    /// # Errors
    /// Those of [`Self::init`].
    pub async fn check_init(env: &Env, dir: PathBuf, pool: PoolUuid, slot: u16) -> Result<()> {
        let disk = std::sync::Arc::clone(&env.disk);
        env.blocking(move || {
            if vacant(&*disk, &dir)? {
                return Ok(());
            }
            identify(&*disk, &dir, pool, slot).map(|_| ())
        })
        .await
    }
}

fn open(env: Env, dir: PathBuf, pool: PoolUuid, slot: u16) -> Result<LocalDrive> {
    let identity = identify(&*env.disk, &dir, pool, slot)?;
    let lock = lock(&*env.disk, &dir)?;
    if lock.is_some() {
        clear_temporaries(&*env.disk, &dir);
    }
    Ok(LocalDrive::new(Root { env, dir, identity, temporaries: AtomicU64::new(0), _lock: lock }))
}

fn identify(disk: &dyn Disk, dir: &Path, pool: PoolUuid, slot: u16) -> Result<DriveIdentity> {
    let error = |kind, why: String| Error::new(kind, OP).entity(dir.display()).context(why);
    match entries(disk, dir)? {
        None => return Err(error(ErrorKind::Unavailable, "the directory does not exist".into())),
        Some(0) => return Err(error(ErrorKind::Unavailable, "the directory is empty: not initialised".into())),
        Some(_) => {}
    }
    let Some(identity) = DriveIdentity::load(disk, dir)? else {
        let why = format!("there are files but no {IDENTITY_FILE}: not a drive, or damaged");
        return Err(error(ErrorKind::Corrupt, why));
    };
    if identity.pool != pool {
        return Err(error(ErrorKind::Mismatch, format!("it belongs to pool {}, not to {pool}", identity.pool)));
    }
    if identity.slot != slot {
        let why = format!("it is drive {} of the pool, given in place {slot}: put the drives in order", identity.slot);
        return Err(error(ErrorKind::Mismatch, why));
    }
    Ok(identity)
}

/// How many entries `dir` has beside `lost+found`; `None` where it does not exist.
fn entries(disk: &dyn Disk, dir: &Path) -> Result<Option<usize>> {
    let failed = |e| Error::io(OP, e).entity(dir.display());
    match disk.metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
        Ok(found) if !found.is_dir => {
            return Err(Error::new(ErrorKind::NotDirectory, OP).entity(dir.display()).context("not a directory"));
        }
        Ok(_) => {}
    }
    let entries = disk.list(dir).map_err(failed)?;
    Ok(Some(entries.iter().filter(|entry| entry.name != LOST_AND_FOUND).count()))
}

/// Whether `dir` is missing or empty, or was left so by an initialisation that a crash cut short.
///
/// # Errors
/// `NotEmpty` for foreign files.
fn vacant(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    let Some(count) = entries(disk, dir)? else { return Ok(true) };
    if count == 0 {
        return Ok(true);
    }
    let exists = |path: PathBuf| match disk.metadata(&path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(OP, e).entity(path.display())),
    };
    if exists(dir.join(IDENTITY_FILE))? {
        return Ok(false);
    }
    let half_made = [TMP_DIR.to_owned(), format!("{IDENTITY_FILE}.tmp")];
    let listed = disk.list(dir).map_err(|e| Error::io(OP, e).entity(dir.display()))?;
    if listed.iter().all(|entry| entry.name == LOST_AND_FOUND || half_made.contains(&entry.name)) {
        return Ok(true);
    }
    Err(Error::new(ErrorKind::NotEmpty, "initialise drive").entity(dir.display()).context("the directory is not empty"))
}

/// `drive.json` comes last: a directory with it is a whole drive.
fn initialise(env: &Env, dir: &Path, pool: PoolUuid, slot: u16) -> io::Result<()> {
    env.disk.create_dir_durable(&dir.join(TMP_DIR))?;
    let identity = DriveIdentity { format: DRIVE_FORMAT, pool, drive: DriveUuid::random(&*env.rng), slot };
    identity.store(&*env.disk, dir).map_err(io::Error::other)
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Option<Box<dyn DiskLock>>> {
    let path = dir.join(LOCK_FILE);
    match disk.lock(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let why = "another process uses this drive";
            Err(Error::new(ErrorKind::StoreLocked, OP).entity(dir.display()).context(why))
        }
        // A drive that went read-only, or is full to the last inode, still serves reads.
        Err(e) if matches!(e.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull) => Ok(None),
        Err(e) => Err(Error::io("lock drive", e).entity(path.display())),
    }
}

/// Removes what puts left that never finished. A failure costs room, nothing else: the next open tries again.
fn clear_temporaries(disk: &dyn Disk, dir: &Path) {
    let tmp = dir.join(TMP_DIR);
    let listed = match disk.list(&tmp) {
        Ok(listed) => listed,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(dir = %tmp.display(), %error, "cannot list unfinished shards");
            return;
        }
    };
    for entry in listed {
        if let Err(error) = disk.remove_file(&tmp.join(&entry.name)) {
            tracing::warn!(dir = %tmp.display(), name = entry.name, %error, "cannot remove an unfinished shard");
        }
    }
}
