//! Read, write, execute: mode bits, ACL, root.

use fs_api::{AccessMask, Credentials};
use objstore_base::{Error, ErrorKind, Result};

use crate::acl::{Acl, Perm};
use crate::node::Node;

pub const READ: AccessMask = AccessMask { read: true, write: false, execute: false };
pub const WRITE: AccessMask = AccessMask { read: false, write: true, execute: false };
pub const EXECUTE: AccessMask = AccessMask { read: false, write: false, execute: true };

/// Whether the caller has every permission of `mask` on `node`, whose access ACL is `acl`.
///
/// The owner is judged by the owner's bits alone. Everyone else is judged by the ACL, if there is one and its mask
/// (which the group bits show) is not empty; as on Linux an empty mask sends them to the plain bits. Root may do
/// anything, but execute only what somebody may execute.
///
/// # Errors
/// `AccessDenied`.
///
/// # Source
/// Linux `generic_permission` and `acl_permission_check` (fs/namei.c).
pub fn check(caller: &Credentials, node: &Node, acl: Option<&Acl>, mask: AccessMask) -> Result<()> {
    let want = Perm::from(mask);
    if granted(caller, node, acl, want) || root_may(caller, node, mask) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::AccessDenied, "check permission"))
    }
}

fn granted(caller: &Credentials, node: &Node, acl: Option<&Acl>, want: Perm) -> bool {
    let class = |shift: u32| Perm::from_bits(node.mode >> shift);
    if caller.uid == node.uid {
        return class(6).contains(want);
    }
    if let Some(acl) = acl.filter(|_| !class(3).is_empty()) {
        return acl.grants(caller, node.gid, want);
    }
    // Whether the caller is in the group may cost a system call: it is not asked where it makes no difference.
    let differs = want.and(class(3)) != want.and(class(0));
    if differs && caller.in_group(node.gid) { class(3).contains(want) } else { class(0).contains(want) }
}

fn root_may(caller: &Credentials, node: &Node, mask: AccessMask) -> bool {
    caller.is_privileged() && (node.is_dir() || !mask.execute || node.mode & 0o111 != 0)
}

/// Whether the caller is the owner, or root.
pub fn owns(caller: &Credentials, node: &Node) -> bool {
    caller.uid == node.uid || caller.is_privileged()
}

/// # Errors
/// `NotPermitted` where the caller is neither the owner nor root.
pub fn require_owner(caller: &Credentials, node: &Node) -> Result<()> {
    if owns(caller, node) { Ok(()) } else { Err(Error::new(ErrorKind::NotPermitted, "check ownership")) }
}
