//! Extended attributes: the namespaces and who may use them.

use fs_api::{Credentials, FileKind, XATTR_NAME_BYTES_MAX};
use objstore_base::{Error, ErrorKind, Result};

use crate::acl::{ACCESS_ACL_XATTR, Acl, DEFAULT_ACL_XATTR};
use crate::attributes::mode_after_chmod;
use crate::node::{Node, STICKY};
use crate::permission::{READ, WRITE, check, owns, require_owner};

/// What a name's prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrSpace {
    User,
    Trusted,
    Security,
    AccessAcl,
    DefaultAcl,
}

impl XattrSpace {
    /// # Errors
    /// `RangeTooSmall` for an empty name and one longer than 255 bytes, `InvalidArgument` for a namespace without a
    /// name in it, `NotSupported` for an unknown namespace.
    pub fn of(name: &[u8]) -> Result<Self> {
        let error = |kind| Err(Error::new(kind, "find extended attribute"));
        let in_space = |prefix: &[u8], space| match name.strip_prefix(prefix) {
            None => None,
            Some(rest) if rest.is_empty() || rest.contains(&0) => Some(error(ErrorKind::InvalidArgument)),
            Some(_) => Some(Ok(space)),
        };
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX {
            return error(ErrorKind::RangeTooSmall);
        }
        match name {
            ACCESS_ACL_XATTR => Ok(Self::AccessAcl),
            DEFAULT_ACL_XATTR => Ok(Self::DefaultAcl),
            _ => in_space(b"user.", Self::User)
                .or_else(|| in_space(b"trusted.", Self::Trusted))
                .or_else(|| in_space(b"security.", Self::Security))
                .unwrap_or_else(|| error(ErrorKind::NotSupported)),
        }
    }
}

/// Only these have room for `user.*`: anyone may write a device or a symlink, who must not fill the disk by it.
const fn takes_user_attributes(kind: FileKind) -> bool {
    matches!(kind, FileKind::Regular | FileKind::Directory)
}

/// Whether the caller may read an attribute of `space` on `node`.
///
/// # Errors
/// `NoData` where the attribute must look absent, `AccessDenied`, `NotSupported` for an ACL of a symlink.
///
/// # Source
/// Linux `xattr_permission` (fs/xattr.c).
pub fn may_read_xattr(caller: &Credentials, node: &Node, acl: Option<&Acl>, space: XattrSpace) -> Result<()> {
    let error = |kind| Err(Error::new(kind, "get extended attribute"));
    match space {
        XattrSpace::User if !takes_user_attributes(node.kind) => error(ErrorKind::NoData),
        XattrSpace::User => check(caller, node, acl, READ),
        XattrSpace::Trusted if !caller.is_privileged() => error(ErrorKind::NoData),
        XattrSpace::AccessAcl | XattrSpace::DefaultAcl if node.kind == FileKind::Symlink => {
            error(ErrorKind::NotSupported)
        }
        _ => Ok(()),
    }
}

/// Whether the caller may set or remove an attribute of `space` on `node`.
///
/// # Errors
/// `NotPermitted`; `AccessDenied` without write permission, and for a default ACL on what is no directory;
/// `NotSupported` for an ACL of a symlink.
///
/// # Source
/// Linux `xattr_permission` (fs/xattr.c), `cap_inode_setxattr`, `set_posix_acl`.
pub fn may_write_xattr(caller: &Credentials, node: &Node, acl: Option<&Acl>, space: XattrSpace) -> Result<()> {
    let error = |kind| Err(Error::new(kind, "set extended attribute"));
    let sticky = node.is_dir() && node.mode & STICKY != 0;
    match space {
        XattrSpace::User if !takes_user_attributes(node.kind) => error(ErrorKind::NotPermitted),
        XattrSpace::User if sticky && !owns(caller, node) => error(ErrorKind::NotPermitted),
        XattrSpace::User => check(caller, node, acl, WRITE),
        XattrSpace::Trusted | XattrSpace::Security if caller.is_privileged() => Ok(()),
        XattrSpace::Trusted | XattrSpace::Security => error(ErrorKind::NotPermitted),
        XattrSpace::AccessAcl | XattrSpace::DefaultAcl if node.kind == FileKind::Symlink => {
            error(ErrorKind::NotSupported)
        }
        XattrSpace::DefaultAcl if !node.is_dir() => error(ErrorKind::AccessDenied),
        XattrSpace::AccessAcl | XattrSpace::DefaultAcl => require_owner(caller, node),
    }
}

/// Whether a listing shows the caller the attribute `name`.
pub fn lists_xattr(caller: &Credentials, name: &[u8]) -> bool {
    caller.is_privileged() || !name.starts_with(b"trusted.")
}

/// What setting the access ACL of `node` to `acl` stores: the new mode, and the ACL unless the mode says it all.
///
/// # Source
/// Linux `posix_acl_update_mode`.
pub fn access_acl_to_store(caller: &Credentials, node: &Node, acl: Acl) -> (u32, Option<Acl>) {
    let mode = mode_after_chmod(caller, node.gid, node.mode & !0o777 | acl.mode());
    (mode, Some(acl).filter(|acl| !acl.is_minimal()))
}
