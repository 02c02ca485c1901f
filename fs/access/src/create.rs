//! What a new inode inherits.

use fs_api::{Credentials, FileKind};

use crate::acl::Acl;
use crate::node::{GROUP_EXECUTE, Node, SETGID, SETUID};

/// Owner, mode and ACLs of a new inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Kept only where it says more than the mode.
    pub access_acl: Option<Acl>,
    /// Directories only.
    pub default_acl: Option<Acl>,
}

/// What a new inode of `kind` gets in `directory`, whose default ACL is `default_acl`. The umask takes bits away only
/// where there is no default ACL.
///
/// # Source
/// Linux `vfs_prepare_mode`, `inode_init_owner`, `posix_acl_create`.
pub fn inherit(
    caller: &Credentials,
    directory: &Node,
    default_acl: Option<&Acl>,
    kind: FileKind,
    mode: u32,
    umask: u32,
) -> Inherited {
    if kind == FileKind::Symlink {
        let gid = owning_group(caller, directory);
        return Inherited { uid: caller.uid, gid, mode: 0o777, access_acl: None, default_acl: None };
    }
    let is_dir = kind == FileKind::Directory;
    let mut mode = with_setgid(caller, directory, is_dir, mode & 0o7777);
    let access_acl = default_acl.map(|acl| acl.for_new(mode));
    mode = match &access_acl {
        Some(acl) => mode & !0o777 | acl.mode(),
        None => mode & !(umask & 0o777),
    };
    Inherited {
        uid: caller.uid,
        gid: owning_group(caller, directory),
        mode,
        access_acl: access_acl.filter(|acl| !acl.is_minimal()),
        default_acl: default_acl.filter(|_| is_dir).cloned(),
    }
}

fn owning_group(caller: &Credentials, directory: &Node) -> u32 {
    if directory.mode & SETGID == 0 { caller.gid } else { directory.gid }
}

/// Under a setgid directory a directory is setgid too, and nobody makes a program that runs as a group they are not in;
/// that is judged by the mode asked for, before umask or ACL take bits away.
fn with_setgid(caller: &Credentials, directory: &Node, is_dir: bool, mode: u32) -> u32 {
    let inherits = directory.mode & SETGID != 0;
    let program = mode & (SETGID | GROUP_EXECUTE) == SETGID | GROUP_EXECUTE;
    if is_dir {
        mode & !(SETUID | SETGID) | if inherits { SETGID } else { 0 }
    } else if inherits && program && !caller.is_privileged() && !caller.in_group(directory.gid) {
        mode & !SETGID
    } else {
        mode
    }
}
