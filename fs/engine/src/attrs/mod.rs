//! Attributes of inodes: what `stat` shows, what may change them, extended attributes and ACLs.

mod acl;
mod atime;
mod open;
mod permission;
mod setattr;
mod xattr;

pub(crate) use permission::node;
