//! POSIX ACLs: kept as extended attributes, bound to the mode bits.

use fs_api::Context;
use objstore_base::{Error, ErrorKind, Result};

use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;

impl Engine {
    pub(crate) fn inherit_acl(&self, directory: &Inode, inode: &mut Inode, umask: u32, _c: &mut Change) -> Result<()> {
        let _ = (directory, inode, umask);
        Ok(())
    }
    pub(super) fn chmod_acl(&self, _inode: &mut Inode, _change: &mut Change) -> Result<()> {
        Ok(())
    }
    pub(super) fn set_access_acl(&self, _cx: &Context, _i: &mut Inode, _value: &[u8], _c: &mut Change) -> Result<()> {
        Err(Error::new(ErrorKind::NotSupported, "set ACL"))
    }
    pub(super) fn set_default_acl(&self, _i: &mut Inode, _value: &[u8], _c: &mut Change) -> Result<()> {
        Err(Error::new(ErrorKind::NotSupported, "set ACL"))
    }
}
