//! Who may do what, and what bits and ACLs follow from it: every permission decision of the filesystem.
//!
//! Pure functions over the records of `fs-api`: the caller holds the locks, reads owner, mode and ACL of an inode, and
//! asks. The answers are Linux's, down to which of EPERM (`NotPermitted`) and EACCES (`AccessDenied`) it is; where a
//! function checks several things it does so in the kernel's order. Nothing here knows of stores, doors or paths.

#![forbid(unsafe_code)]

mod acl;
mod attributes;
mod create;
mod names;
mod node;
mod open;
mod permission;
mod xattr;

pub use acl::{ACCESS_ACL_XATTR, Acl, DEFAULT_ACL_XATTR, NamedEntry, Perm};
pub use attributes::{NewOwner, may_set, mode_after_chmod, mode_after_chown, mode_after_write, owner_after};
pub use create::{Inherited, inherit};
pub use names::{Victim, may_create, may_delete, may_link, may_make};
pub use node::{GROUP_EXECUTE, Node, SETGID, SETUID, STICKY};
pub use open::may_open;
pub use permission::{EXECUTE, READ, WRITE, check, owns, require_owner};
pub use xattr::{Refused, XattrSpace, access_acl_to_store, lists_xattr, may_read_xattr, may_write_xattr};
