//! What every change of a directory's names has in common.

use fs_api::{FileKind, Ino, Time};
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

/// Adds `name` to `directory`, which the caller stores afterwards.
pub(super) fn add_name(directory: &mut Inode, name: &[u8], ino: Ino, kind: FileKind, now: Time, change: &mut Change) {
    let dentry = Dentry { ino, kind, cookie: directory.next_cookie };
    directory.next_cookie = directory.next_cookie.wrapping_add(1);
    directory.entries = directory.entries.saturating_add(1);
    directory.touch_mtime(now);
    if kind == FileKind::Directory {
        directory.nlink = directory.nlink.saturating_add(1);
    }
    change.put_name(directory.ino, name, dentry, None);
}

/// Takes `name` out of `directory`, which the caller stores afterwards.
pub(super) fn remove_name(directory: &mut Inode, name: &[u8], dentry: Dentry, now: Time, change: &mut Change) {
    forget_name(directory, dentry, now);
    change.delete_name(directory.ino, name, dentry);
}

/// The directory's side of a name that goes.
fn forget_name(directory: &mut Inode, dentry: Dentry, now: Time) {
    directory.entries = directory.entries.saturating_sub(1);
    directory.touch_mtime(now);
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
    now: Time,
    change: &mut Change,
) {
    let was_dir = u32::from(before.kind == FileKind::Directory);
    let is_dir = u32::from(kind == FileKind::Directory);
    directory.nlink = directory.nlink.saturating_add(is_dir).saturating_sub(was_dir);
    directory.touch_mtime(now);
    change.put_name(directory.ino, name, Dentry { ino, kind, cookie: before.cookie }, Some(before));
}
