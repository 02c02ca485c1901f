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
    /// A name that nothing is stored under. The kernel asks for permission before it says so: `may_read_xattr` and
    /// `may_write_xattr` never allow it.
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    rules: Rules,
    kind: ErrorKind,
}

/// Who may use the attributes of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    User,
    Trusted,
    Security,
    AccessAcl,
    DefaultAcl,
    /// `system.*`
    Free,
    /// Unknown namespaces: plain permission.
    Plain,
}

impl XattrSpace {
    /// # Errors
    /// `RangeTooSmall` for an empty name and one longer than 255 bytes, `InvalidArgument` for one with NUL.
    pub fn of(name: &[u8]) -> Result<Self> {
        const OP: &str = "find extended attribute";
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::RangeTooSmall, OP));
        }
        if name.contains(&0) {
            return Err(Error::new(ErrorKind::InvalidArgument, OP));
        }
        let refused = |rules, kind| Self::Refused(Refused { rules, kind });
        Ok(match name {
            ACCESS_ACL_XATTR => Self::AccessAcl,
            DEFAULT_ACL_XATTR => Self::DefaultAcl,
            b"user." => refused(Rules::User, ErrorKind::InvalidArgument),
            b"trusted." => refused(Rules::Trusted, ErrorKind::InvalidArgument),
            b"security." => refused(Rules::Security, ErrorKind::InvalidArgument),
            _ if name.starts_with(b"user.") => Self::User,
            _ if name.starts_with(b"trusted.") => Self::Trusted,
            _ if name.starts_with(b"security.") => Self::Security,
            _ if name.starts_with(b"system.") => refused(Rules::Free, ErrorKind::NotSupported),
            _ => refused(Rules::Plain, ErrorKind::NotSupported),
        })
    }

    const fn rules(self) -> Rules {
        match self {
            Self::User => Rules::User,
            Self::Trusted => Rules::Trusted,
            Self::Security => Rules::Security,
            Self::AccessAcl => Rules::AccessAcl,
            Self::DefaultAcl => Rules::DefaultAcl,
            Self::Refused(refused) => refused.rules,
        }
    }

    fn unless_refused(self, op: &'static str) -> Result<()> {
        match self {
            Self::Refused(refused) => Err(Error::new(refused.kind, op)),
            _ => Ok(()),
        }
    }
}

/// Only these have room for `user.*`: anyone may write a device or a symlink, who must not fill the disk by it.
const fn takes_user_attributes(kind: FileKind) -> bool {
    matches!(kind, FileKind::Regular | FileKind::Directory)
}

/// Whether the caller may read an attribute of `space` on `node`, whose access ACL is `acl`.
///
/// # Errors
/// `NoData` where the attribute must look absent, `AccessDenied`; then `InvalidArgument` for a namespace without a name
/// in it, `NotSupported` for an unknown one and for an ACL of a symlink.
///
/// # Source
/// Linux `xattr_permission` (fs/xattr.c).
pub fn may_read_xattr(caller: &Credentials, node: &Node, acl: Option<&Acl>, space: XattrSpace) -> Result<()> {
    const OP: &str = "get extended attribute";
    let error = |kind| Err(Error::new(kind, OP));
    match space.rules() {
        Rules::User if !takes_user_attributes(node.kind) => error(ErrorKind::NoData),
        Rules::User | Rules::Plain => check(caller, node, acl, READ),
        Rules::Trusted if !caller.is_privileged() => error(ErrorKind::NoData),
        Rules::AccessAcl | Rules::DefaultAcl if node.kind == FileKind::Symlink => error(ErrorKind::NotSupported),
        Rules::Trusted | Rules::Security | Rules::AccessAcl | Rules::DefaultAcl | Rules::Free => Ok(()),
    }?;
    space.unless_refused(OP)
}

/// Whether the caller may set or remove an attribute of `space` on `node`, whose access ACL is `acl`.
///
/// # Errors
/// `NotPermitted`; `AccessDenied` without write permission, and for a default ACL on what is no directory; then
/// `InvalidArgument` for a namespace without a name in it, `NotSupported` for an unknown one and for an ACL of a symlink.
///
/// # Source
/// Linux `xattr_permission` (fs/xattr.c), `cap_inode_setxattr`, `set_posix_acl`.
pub fn may_write_xattr(caller: &Credentials, node: &Node, acl: Option<&Acl>, space: XattrSpace) -> Result<()> {
    const OP: &str = "set extended attribute";
    let error = |kind| Err(Error::new(kind, OP));
    let sticky = node.is_dir() && node.mode & STICKY != 0;
    match space.rules() {
        Rules::User if !takes_user_attributes(node.kind) => error(ErrorKind::NotPermitted),
        Rules::User if sticky && !owns(caller, node) => error(ErrorKind::NotPermitted),
        Rules::User | Rules::Plain => check(caller, node, acl, WRITE),
        Rules::Trusted | Rules::Security if !caller.is_privileged() => error(ErrorKind::NotPermitted),
        Rules::Trusted | Rules::Security | Rules::Free => Ok(()),
        Rules::AccessAcl | Rules::DefaultAcl if node.kind == FileKind::Symlink => error(ErrorKind::NotSupported),
        Rules::DefaultAcl if !node.is_dir() => error(ErrorKind::AccessDenied),
        Rules::AccessAcl | Rules::DefaultAcl => require_owner(caller, node),
    }?;
    space.unless_refused(OP)
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
