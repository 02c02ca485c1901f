//! Opening a regular file by name, creating it where it is missing.

use cache_journal::Lsn;
use fs_api::{Context, Created, Ino, NewNode, OpenFlags};
use objstore_base::{Error, ErrorKind, Result};

use super::check_name;
use super::directory::{add_name, require_alive};
use crate::change::Change;
use crate::engine::Engine;

const OP: &str = "create";

/// What the first try under the directory's stripe came to.
enum Step {
    Made(Created, Lsn),
    Existing(Ino),
}

impl Engine {
    #[expect(clippy::too_many_arguments, reason = "all of open(2) with O_CREAT")]
    pub(crate) async fn create_file(
        &self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> Result<Created> {
        self.admit_metadata(cx, name.len()).await?;
        loop {
            let ino = self.new_ino().await?;
            let create = || self.create_or_find(cx, ino, parent, name, mode, umask, flags, exclusive);
            match self.within_quota(cx, create).await? {
                Step::Made(created, lsn) => {
                    self.settle(cx, lsn).await?;
                    return Ok(created);
                }
                Step::Existing(ino) => match self.open_existing(cx, ino, flags).await {
                    // Removed between the two: then it is missing, and made.
                    Err(e) if e.kind() == ErrorKind::Stale => {}
                    opened => return opened,
                },
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of open(2) with O_CREAT")]
    fn create_or_find(
        &self,
        cx: &Context,
        ino: Ino,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> Result<Step> {
        let _stripes = self.stripes.write([parent, ino]);
        let mut directory = self.directory_locked(OP, parent)?;
        self.require_search(cx, &directory)?;
        check_name(OP, name, if exclusive { ErrorKind::Exists } else { ErrorKind::IsDirectory })?;
        if let Some(found) = self.dentry_locked(parent, name)? {
            return if exclusive { Err(Error::new(ErrorKind::Exists, OP)) } else { Ok(Step::Existing(found.ino)) };
        }
        require_alive(OP, &directory)?;
        self.require_make(cx, &directory, None)?;
        let mut change = Change::new(cx);
        let inode = self.new_node(cx, &directory, ino, NewNode::Regular, mode, umask, &mut change)?;
        change.add_inode(&inode);
        add_name(&mut directory, name, ino, inode.kind, &mut change);
        directory.touch_mtime(self.now());
        change.put_inode(&directory);
        let lsn = self.apply(change)?;
        // The creator may do what it asked for, whatever mode it gave the file.
        let handle = self.new_handle_locked(cx, &inode, flags);
        Ok(Step::Made(Created { attr: inode.attr(), handle, created: true }, lsn))
    }

    async fn open_existing(&self, cx: &Context, ino: Ino, flags: OpenFlags) -> Result<Created> {
        let inode = self.inode(ino)?;
        match inode.kind {
            fs_api::FileKind::Directory => return Err(Error::new(ErrorKind::IsDirectory, OP)),
            fs_api::FileKind::Symlink => return Err(Error::new(ErrorKind::Loop, OP)),
            _ => {}
        }
        let handle = self.open_inode(cx, ino, flags).await?;
        Ok(Created { attr: self.inode(ino)?.attr(), handle, created: false })
    }
}
