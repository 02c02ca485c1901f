//! Finding the inode of a name, and of a whole path.

use fs_api::{Attr, Context, FileKind, Ino, ROOT_INO};
use objstore_base::{Error, ErrorKind, Result};

use super::check_length;
use crate::engine::Engine;
use crate::records::{Dentry, Inode};

const OP: &str = "look up";

impl Engine {
    pub(crate) fn lookup_name(&self, cx: &Context, parent: Ino, name: &[u8]) -> Result<Attr> {
        loop {
            let Some(ino) = self.find_name(cx, parent, name)? else {
                return Err(Error::new(ErrorKind::NotFound, OP));
            };
            match self.inode(ino) {
                Ok(inode) => return Ok(inode.attr()),
                // The name led elsewhere before its old inode could be read: look again.
                Err(e) if e.kind() == ErrorKind::Stale && self.inode_gone_from(parent, name, ino)? => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn find_name(&self, cx: &Context, parent: Ino, name: &[u8]) -> Result<Option<Ino>> {
        let _stripe = self.stripes.read(parent);
        let directory = self.directory_locked(OP, parent)?;
        self.require_search(cx, &directory)?;
        match name {
            b"." => Ok(Some(parent)),
            b".." => Ok(Some(directory.parent)),
            _ => {
                check_length(OP, name)?;
                Ok(self.dentry_locked(parent, name)?.map(|d| d.ino))
            }
        }
    }

    /// Whether `name` leads to another inode than `ino` now; if it still does, its record is missing: damage.
    fn inode_gone_from(&self, parent: Ino, name: &[u8], ino: Ino) -> Result<bool> {
        let _stripe = self.stripes.read(parent);
        Ok(self.dentry_locked(parent, name)?.is_none_or(|d| d.ino != ino))
    }

    /// The record of `ino`, which must be a directory. The caller holds its stripe.
    pub(crate) fn directory_locked(&self, op: &'static str, ino: Ino) -> Result<Inode> {
        let inode = self.inode_locked(ino)?;
        if inode.is_dir() { Ok(inode) } else { Err(Error::new(ErrorKind::NotDirectory, op)) }
    }

    /// The entry `name`, which must be there. The caller holds the stripe of `parent`.
    pub(super) fn existing_locked(&self, op: &'static str, parent: Ino, name: &[u8]) -> Result<Dentry> {
        self.dentry_locked(parent, name)?.ok_or_else(|| Error::new(ErrorKind::NotFound, op))
    }

    /// The inode at `path` (components separated by `/`, symbolic links not followed), with root's eyes.
    pub fn lookup_path(&self, path: &[u8]) -> Result<Inode> {
        let mut ino = ROOT_INO;
        for name in path.split(|b| *b == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            let _stripe = self.stripes.read(ino);
            let directory = self.directory_locked(OP, ino)?;
            ino = match name {
                b".." => directory.parent,
                _ => {
                    check_length(OP, name)?;
                    self.existing_locked(OP, ino, name)?.ino
                }
            };
        }
        self.inode(ino)
    }

    /// The target of a symbolic link.
    pub(crate) fn read_link(&self, ino: Ino) -> Result<bytes::Bytes> {
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Symlink {
            return Err(Error::new(ErrorKind::InvalidArgument, "read symbolic link").entity(ino));
        }
        self.renew_atime(&inode);
        Ok(bytes::Bytes::copy_from_slice(&inode.target))
    }
}
