//! Making and removing names.

use fs_api::{AccessMask, Credentials, FileKind, NewNode};
use objstore_base::{Error, ErrorKind, Result};

use crate::acl::Acl;
use crate::node::{Node, STICKY};
use crate::permission::{check, owns};

const CHANGE_NAMES: AccessMask = AccessMask { read: false, write: true, execute: true };

/// What the name to be removed must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// `unlink`, and `rename` of anything but a directory over it.
    NotDirectory,
    /// `rmdir`, and `rename` of a directory over it.
    Directory,
    /// The source of a `rename`, and both sides of an exchange.
    Any,
}

/// Whether the caller may make a name in `directory`.
///
/// # Errors
/// `AccessDenied`.
pub fn may_create(caller: &Credentials, directory: &Node, acl: Option<&Acl>) -> Result<()> {
    check(caller, directory, acl, CHANGE_NAMES)
}

/// As [`may_create`], for a new node of this kind.
///
/// # Errors
/// `NotPermitted`: only root makes device nodes.
pub fn may_make(caller: &Credentials, directory: &Node, acl: Option<&Acl>, node: &NewNode) -> Result<()> {
    may_create(caller, directory, acl)?;
    match node {
        NewNode::CharDevice(_) | NewNode::BlockDevice(_) if !caller.is_privileged() => {
            Err(Error::new(ErrorKind::NotPermitted, "make device node"))
        }
        _ => Ok(()),
    }
}

/// Whether `source` may have one more name, in `directory`.
///
/// # Errors
/// `AccessDenied`; `NotPermitted` for a directory.
pub fn may_link(caller: &Credentials, source: &Node, directory: &Node, acl: Option<&Acl>) -> Result<()> {
    may_create(caller, directory, acl)?;
    if source.is_dir() { Err(Error::new(ErrorKind::NotPermitted, "link directory")) } else { Ok(()) }
}

/// Whether the caller may remove from `directory` (with its `acl`) a name of `node`.
///
/// # Errors
/// In this order: `AccessDenied` by the directory's bits, `NotPermitted` by its sticky bit, `NotDirectory` or
/// `IsDirectory` where `node` is not what it must be.
///
/// # Source
/// Linux `may_delete` (fs/namei.c).
pub fn may_delete(
    caller: &Credentials,
    directory: &Node,
    acl: Option<&Acl>,
    node: &Node,
    victim: Victim,
) -> Result<()> {
    check(caller, directory, acl, CHANGE_NAMES)?;
    if directory.mode & STICKY != 0 && caller.uid != directory.uid && !owns(caller, node) {
        return Err(Error::new(ErrorKind::NotPermitted, "remove from sticky directory"));
    }
    match (victim, node.kind) {
        (Victim::NotDirectory, FileKind::Directory) => Err(Error::new(ErrorKind::IsDirectory, "remove name")),
        (Victim::Directory, kind) if kind != FileKind::Directory => {
            Err(Error::new(ErrorKind::NotDirectory, "remove name"))
        }
        _ => Ok(()),
    }
}
