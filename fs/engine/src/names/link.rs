//! One more name for an inode.

use fs_api::{Attr, Context, Ino, LINKS_MAX};
use objstore_base::{Error, ErrorKind, Result};

use super::check_name;
use super::directory::{add_name, require_alive, require_same_project};
use crate::change::Change;
use crate::engine::Engine;

const OP: &str = "link";

impl Engine {
    pub(crate) async fn link_name(&self, cx: &Context, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.admit_metadata(cx, name.len()).await?;
        let (attr, lsn) = {
            let _stripes = self.stripes.write([ino, parent]);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            let mut directory = self.directory_locked(OP, parent)?;
            check_name(OP, name, ErrorKind::Exists)?;
            // Who may not search the directory does not learn that the name is taken.
            self.require_search(cx, &directory)?;
            if self.dentry_locked(parent, name)?.is_some() {
                return Err(Error::new(ErrorKind::Exists, OP));
            }
            require_alive(OP, &directory)?;
            self.require_link(cx, &inode, &directory)?;
            if inode.nlink == 0 {
                return Err(Error::new(ErrorKind::NotFound, OP).context("the last name is gone"));
            }
            if inode.nlink >= LINKS_MAX {
                return Err(Error::new(ErrorKind::TooManyLinks, OP));
            }
            require_same_project(OP, &inode, &directory)?;
            let now = self.now();
            let mut change = Change::new(cx);
            inode.nlink += 1;
            inode.touch_ctime(now);
            change.put_inode(&inode);
            add_name(&mut directory, name, ino, inode.kind, &mut change);
            directory.touch_mtime(now);
            change.put_inode(&directory);
            (inode.attr(), self.apply(change)?)
        };
        self.settle(cx, lsn).await?;
        Ok(attr)
    }
}
