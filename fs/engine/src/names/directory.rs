//! What every change of a directory's names has in common.
//!
//! Nothing here notes the change in the directory's times and counter: a change may have two names in one directory and is
//! one change of it. The caller does, once for each directory, and stores it.

use fs_api::{FileKind, Ino};
use objstore_base::{Error, ErrorKind, Result};

use crate::change::Change;
use crate::records::{Dentry, Inode};

/// # Errors
/// `NotFound` where `directory` has been removed and lives on for those who have it open.
pub(super) fn require_alive(op: &'static str, directory: &Inode) -> Result<()> {
    if directory.nlink == 0 {
        return Err(Error::new(ErrorKind::NotFound, op).context("the directory has been removed"));
    }
    Ok(())
}

/// # Errors
/// `CrossDevice` where `inode` counts for another quota than what is made in `directory`: it would be taken there without
/// having been counted. Programs that move files copy them then.
pub(super) fn require_same_project(op: &'static str, inode: &Inode, directory: &Inode) -> Result<()> {
    if inode.project == directory.project {
        return Ok(());
    }
    Err(Error::new(ErrorKind::CrossDevice, op).entity(inode.ino).context("a quota begins or ends between the two"))
}

/// Adds `name` to `directory`, which the caller touches and stores afterwards.
pub(super) fn add_name(directory: &mut Inode, name: &[u8], ino: Ino, kind: FileKind, change: &mut Change) {
    let dentry = Dentry { ino, kind, cookie: directory.next_cookie };
    directory.next_cookie = directory.next_cookie.wrapping_add(1);
    directory.entries = directory.entries.saturating_add(1);
    if kind == FileKind::Directory {
        directory.nlink = directory.nlink.saturating_add(1);
    }
    change.put_name(directory.ino, name, dentry, None);
}

/// Takes `name` out of `directory`, which the caller touches and stores afterwards.
pub(super) fn remove_name(directory: &mut Inode, name: &[u8], dentry: Dentry, change: &mut Change) {
    forget_name(directory, dentry);
    change.delete_name(directory.ino, name, dentry);
}

/// The directory's side of a name that goes.
fn forget_name(directory: &mut Inode, dentry: Dentry) {
    directory.entries = directory.entries.saturating_sub(1);
    if dentry.kind == FileKind::Directory {
        directory.nlink = directory.nlink.saturating_sub(1);
    }
}

/// Lets `name`, which led to `before`, lead to `ino`: one entry, so that it never misses in between. It keeps its cookie.
pub(super) fn replace_name(
    directory: &mut Inode,
    name: &[u8],
    before: Dentry,
    ino: Ino,
    kind: FileKind,
    change: &mut Change,
) {
    let was_dir = u32::from(before.kind == FileKind::Directory);
    let is_dir = u32::from(kind == FileKind::Directory);
    directory.nlink = directory.nlink.saturating_add(is_dir).saturating_sub(was_dir);
    change.put_name(directory.ino, name, Dentry { ino, kind, cookie: before.cookie }, Some(before));
}
