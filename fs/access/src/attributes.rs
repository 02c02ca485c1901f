//! chmod, chown, truncate, utimes: who may, and what else changes with it.

use fs_api::{Credentials, FileKind, SetAttr, SetTime};
use objstore_base::{Error, ErrorKind, Result};

use crate::acl::Acl;
use crate::node::{GROUP_EXECUTE, Node, SETGID, SETUID};
use crate::permission::{WRITE, check, owns, require_owner};

const OP: &str = "set attributes";

/// Whether the caller may change what `set` names on `node` (with its access `acl`). `open_for_writing` says that the
/// call comes through a handle that was opened for writing, which is permission enough to truncate.
///
/// # Errors
/// - size: `IsDirectory`, `InvalidArgument` for other kinds without bytes, `AccessDenied`
/// - uid, gid: `NotPermitted`. Root changes both; the owner gives the file to a group they are in.
/// - mode: `NotPermitted` unless owner or root
/// - times: explicit ones, and one of the two as the clock's, are the owner's (`NotPermitted`); both as the clock's need
///   ownership or write permission (`AccessDenied`)
///
/// # Source
/// Linux `vfs_truncate`, `may_setattr`, `setattr_prepare`, `vfs_utimes`.
pub fn may_set(
    caller: &Credentials,
    node: &Node,
    acl: Option<&Acl>,
    set: &SetAttr,
    open_for_writing: bool,
) -> Result<()> {
    if set.size.is_some() {
        may_truncate(caller, node, acl, open_for_writing)?;
    }
    may_touch(caller, node, acl, set)?;
    may_chown(caller, node, set)?;
    if set.mode.is_some_and(|mode| !drops_suid_sgid_only(caller, node, acl, mode, open_for_writing)) {
        require_owner(caller, node)?;
    }
    Ok(())
}

fn may_truncate(caller: &Credentials, node: &Node, acl: Option<&Acl>, open_for_writing: bool) -> Result<()> {
    match node.kind {
        FileKind::Regular if open_for_writing => Ok(()),
        FileKind::Regular => check(caller, node, acl, WRITE),
        FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, OP)),
        _ => Err(Error::new(ErrorKind::InvalidArgument, OP)),
    }
}

fn may_touch(caller: &Credentials, node: &Node, acl: Option<&Acl>, set: &SetAttr) -> Result<()> {
    match (set.atime, set.mtime) {
        (None, None) => Ok(()),
        (Some(SetTime::Now), Some(SetTime::Now)) if !owns(caller, node) => check(caller, node, acl, WRITE),
        // The times that a truncation sets come with it and need no more than it does.
        (None | Some(SetTime::Now), None | Some(SetTime::Now)) if set.size.is_some() => Ok(()),
        _ => require_owner(caller, node),
    }
}

fn may_chown(caller: &Credentials, node: &Node, set: &SetAttr) -> Result<()> {
    let owner = caller.uid == node.uid;
    let uid_ok = set.uid.is_none_or(|uid| owner && uid == node.uid);
    let gid_ok = || set.gid.is_none_or(|gid| owner && (gid == node.gid || caller.in_group(gid)));
    if caller.is_privileged() || (uid_ok && gid_ok()) { Ok(()) } else { Err(Error::new(ErrorKind::NotPermitted, OP)) }
}

/// The kernel has setuid and setgid dropped, on a write by someone who is not the owner, by a plain change of mode.
/// Whoever may write may ask for that.
fn drops_suid_sgid_only(
    caller: &Credentials,
    node: &Node,
    acl: Option<&Acl>,
    mode: u32,
    open_for_writing: bool,
) -> bool {
    let (old, new) = (node.mode & 0o7777, mode & 0o7777);
    let drops = old != new && new & !old == 0 && (old ^ new) & !(SETUID | SETGID) == 0;
    drops && node.kind == FileKind::Regular && (open_for_writing || check(caller, node, acl, WRITE).is_ok())
}

/// Owner, group and mode after `set` (its `mode`, `uid`, `gid`, `size` and `kill_suid_sgid`), which the caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOwner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// What [`may_set`] allowed, carried out on owner, group and mode.
pub fn owner_after(caller: &Credentials, node: &Node, set: &SetAttr) -> NewOwner {
    let (uid, gid) = (set.uid.unwrap_or(node.uid), set.gid.unwrap_or(node.gid));
    let mut mode = node.mode;
    if set.size.is_some() {
        mode = mode_after_write(caller, node);
    }
    if set.uid.is_some() || set.gid.is_some() {
        mode &= mode_after_chown(caller, node);
    }
    if set.kill_suid_sgid {
        mode &= without_suid_sgid(caller, node);
    }
    if let Some(asked) = set.mode {
        mode = mode_after_chmod(caller, gid, asked);
    }
    NewOwner { uid, gid, mode }
}

/// The mode that a chmod to `mode` sets on an inode of group `gid`: who is not in the group makes nothing setgid.
pub fn mode_after_chmod(caller: &Credentials, gid: u32, mode: u32) -> u32 {
    let setgid = mode & SETGID == 0 || caller.is_privileged() || caller.in_group(gid);
    mode & if setgid { 0o7777 } else { 0o7777 & !SETGID }
}

/// The mode after a change of owner or group, root's included: a program must not run as someone its maker was not.
pub fn mode_after_chown(caller: &Credentials, node: &Node) -> u32 {
    if node.is_dir() { node.mode } else { without_suid_sgid(caller, node) }
}

/// The mode after bytes of a file were changed: what runs with other rights must be what its owner put there.
pub fn mode_after_write(caller: &Credentials, node: &Node) -> u32 {
    if node.kind != FileKind::Regular || caller.is_privileged() { node.mode } else { without_suid_sgid(caller, node) }
}

/// Setgid without group execution (mandatory locking, once) stays for members of the group.
fn without_suid_sgid(caller: &Credentials, node: &Node) -> u32 {
    if node.is_dir() {
        return node.mode;
    }
    let mode = node.mode & !SETUID;
    let keeps =
        mode & SETGID == 0 || (mode & GROUP_EXECUTE == 0 && (caller.is_privileged() || caller.in_group(node.gid)));
    if keeps { mode } else { mode & !SETGID }
}
