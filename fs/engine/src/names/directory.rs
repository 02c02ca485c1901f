//! What every change of a directory's names has in common.

use fs_api::{AccessMask, Context, FileKind, Ino, Time};
use objstore_base::{Error, ErrorKind, Result};

use crate::change::Change;
use crate::engine::Engine;
use crate::records::{Dentry, Inode};

/// Permission to change the names of a directory.
const MODIFY: AccessMask = AccessMask { read: false, write: true, execute: true };

impl Engine {
    /// Whether the caller may add a name to `directory` (Linux `may_create`, after the check that the name is free).
    pub(super) fn require_create(&self, op: &'static str, cx: &Context, directory: &Inode) -> Result<()> {
        if directory.nlink == 0 {
            return Err(Error::new(ErrorKind::NotFound, op).context("the directory has been removed"));
        }
        self.require(cx, directory, MODIFY)
    }

    /// Whether the caller may remove the name of `victim` from `directory` (Linux `may_delete`).
    pub(super) fn require_delete(
        &self, op: &'static str, cx: &Context, directory: &Inode, victim: &Inode, want_dir: Option<bool>,
    ) -> Result<()> {
        self.require(cx, directory, MODIFY)?;
        self.require_sticky(cx, directory, victim)?;
        match want_dir {
            Some(true) if !victim.is_dir() => Err(Error::new(ErrorKind::NotDirectory, op)),
            Some(false) if victim.is_dir() => Err(Error::new(ErrorKind::IsDirectory, op)),
            _ => Ok(()),
        }
    }
}

/// Adds `name` to `directory`, which the caller stores afterwards.
pub(super) fn add_name(
    directory: &mut Inode, name: &[u8], ino: Ino, kind: FileKind, now: Time, change: &mut Change,
) {
    let dentry = Dentry { ino, kind, cookie: directory.next_cookie };
    directory.next_cookie += 1;
    directory.entries += 1;
    directory.touch_mtime(now);
    if kind == FileKind::Directory {
        directory.nlink += 1;
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
    directory: &mut Inode, name: &[u8], before: Dentry, ino: Ino, kind: FileKind, now: Time, change: &mut Change,
) {
    let was_dir = u32::from(before.kind == FileKind::Directory);
    let is_dir = u32::from(kind == FileKind::Directory);
    directory.nlink = directory.nlink + is_dir - was_dir;
    directory.touch_mtime(now);
    change.put_name(directory.ino, name, Dentry { ino, kind, cookie: before.cookie }, Some(before));
}
