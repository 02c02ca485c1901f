//! POSIX ACLs: kept as extended attributes, bound to the mode bits.
//!
//! The inode record says whether there is one, so that an inode without (nearly all) costs no look-up.

use fs_access::{ACCESS_ACL_XATTR, Acl, DEFAULT_ACL_XATTR, Inherited};
use fs_api::{Context, FileKind};
use objstore_base::{Error, Result};

use super::permission::node;
use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;

impl Engine {
    pub(super) fn access_acl(&self, inode: &Inode) -> Result<Option<Acl>> {
        if inode.has_access_acl { self.stored_acl(inode, ACCESS_ACL_XATTR) } else { Ok(None) }
    }

    fn stored_acl(&self, inode: &Inode, name: &[u8]) -> Result<Option<Acl>> {
        let Some(value) = self.stored_xattr(inode, name)? else { return Ok(None) };
        // What was stored had been valid: if it is not now, the index is damaged.
        Acl::decode(&value).map_err(|e| Error::corrupt("read ACL", e.to_string()).entity(inode.ino))
    }

    /// What a new inode of `kind` gets in `directory` from this caller.
    pub(crate) fn inherit(
        &self,
        cx: &Context,
        directory: &Inode,
        kind: FileKind,
        mode: u32,
        umask: u32,
    ) -> Result<Inherited> {
        let acl = if directory.has_default_acl { self.stored_acl(directory, DEFAULT_ACL_XATTR)? } else { None };
        Ok(fs_access::inherit(&cx.credentials, &node(directory), acl.as_ref(), kind, mode, umask))
    }

    /// Stores the ACLs that a new inode inherited.
    pub(crate) fn put_inherited(inode: &mut Inode, inherited: &Inherited, change: &mut Change) {
        if let Some(acl) = &inherited.access_acl {
            Self::put_acl(inode, ACCESS_ACL_XATTR, acl, change);
        }
        if let Some(acl) = &inherited.default_acl {
            Self::put_acl(inode, DEFAULT_ACL_XATTR, acl, change);
        }
    }

    /// Keeps the access ACL in step with permission bits that have changed.
    pub(super) fn chmod_acl(&self, inode: &mut Inode, change: &mut Change) -> Result<()> {
        if let Some(mut acl) = self.access_acl(inode)? {
            acl.chmod(inode.mode);
            Self::put_acl(inode, ACCESS_ACL_XATTR, &acl, change);
        }
        Ok(())
    }

    /// Sets the access ACL, and the mode bits that show it; an ACL that says no more than they do is not kept.
    pub(super) fn set_access_acl(cx: &Context, inode: &mut Inode, value: &[u8], change: &mut Change) -> Result<()> {
        let Some(acl) = Acl::decode(value)? else {
            Self::drop_acl(inode, ACCESS_ACL_XATTR, change);
            return Ok(());
        };
        let (mode, kept) = fs_access::access_acl_to_store(&cx.credentials, &node(inode), acl);
        inode.mode = mode;
        match kept {
            Some(acl) => Self::put_acl(inode, ACCESS_ACL_XATTR, &acl, change),
            None => Self::drop_acl(inode, ACCESS_ACL_XATTR, change),
        }
        Ok(())
    }

    pub(super) fn set_default_acl(inode: &mut Inode, value: &[u8], change: &mut Change) -> Result<()> {
        match Acl::decode(value)? {
            Some(acl) => Self::put_acl(inode, DEFAULT_ACL_XATTR, &acl, change),
            None => Self::drop_acl(inode, DEFAULT_ACL_XATTR, change),
        }
        Ok(())
    }

    fn put_acl(inode: &mut Inode, name: &[u8], acl: &Acl, change: &mut Change) {
        let there = *acl_flag(inode, name);
        Self::put_xattr(inode, name, &acl.encode(), there, change);
        *acl_flag(inode, name) = true;
    }

    pub(super) fn drop_acl(inode: &mut Inode, name: &[u8], change: &mut Change) {
        if std::mem::take(acl_flag(inode, name)) {
            Self::take_xattr(inode, name, change);
        }
    }
}

/// Whether `inode` has the ACL called `name`.
fn acl_flag<'a>(inode: &'a mut Inode, name: &[u8]) -> &'a mut bool {
    if name == DEFAULT_ACL_XATTR { &mut inode.has_default_acl } else { &mut inode.has_access_acl }
}
