//! Making a node under a free name.

use cache_journal::Lsn;
use fs_api::{Attr, Context, FileKind, Ino, NewNode, SYMLINK_BYTES_MAX, SetAttr};
use objstore_base::{Error, ErrorKind, Result};

use super::check_name;
use super::directory::{add_name, require_alive};
use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;

const OP: &str = "make";

impl Engine {
    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and of setattr")]
    pub(crate) async fn make_node(
        &self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: SetAttr,
    ) -> Result<Attr> {
        check_node(&node)?;
        self.admit_metadata(cx, name.len()).await?;
        let ino = self.new_ino().await?;
        let make = || self.make_now(cx, ino, parent, name, node.clone(), mode, umask, &set);
        let (attr, lsn) = self.within_quota(cx, make).await?;
        self.settle(cx, lsn).await?;
        Ok(attr)
    }

    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and of setattr")]
    fn make_now(
        &self,
        cx: &Context,
        ino: Ino,
        parent: Ino,
        name: &[u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: &SetAttr,
    ) -> Result<(Attr, Lsn)> {
        let _stripes = self.stripes.write([parent, ino]);
        let mut directory = self.directory_locked(OP, parent)?;
        check_name(OP, name, ErrorKind::Exists)?;
        // Who may not search the directory does not learn that the name is taken.
        self.require_search(cx, &directory)?;
        if self.dentry_locked(parent, name)?.is_some() {
            return Err(Error::new(ErrorKind::Exists, OP));
        }
        require_alive(OP, &directory)?;
        self.require_make(cx, &directory, Some(&node))?;
        let mut change = Change::new(cx);
        let mut inode = self.new_node(cx, &directory, ino, node, mode, umask, &mut change)?;
        self.set_first(cx, &mut inode, set)?;
        change.add_inode(&inode);
        add_name(&mut directory, name, ino, inode.kind, &mut change);
        directory.touch_mtime(self.now());
        change.put_inode(&directory);
        Ok((inode.attr(), self.apply(change)?))
    }

    /// A new inode for `node` in `directory`: owner, group, mode and ACLs as they are inherited, these in `change`. The
    /// caller adds its record.
    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and where it goes")]
    pub(super) fn new_node(
        &self,
        cx: &Context,
        directory: &Inode,
        ino: Ino,
        node: NewNode,
        mode: u32,
        umask: u32,
        change: &mut Change,
    ) -> Result<Inode> {
        let kind = kind_of(&node);
        let inherited = self.inherit(cx, directory, kind, mode, umask)?;
        let mut inode = Inode::new(ino, kind, inherited.mode, inherited.uid, inherited.gid, self.now());
        match node {
            NewNode::Directory => inode.parent = directory.ino,
            NewNode::Symlink(target) => inode.target = target.into(),
            NewNode::CharDevice(rdev) | NewNode::BlockDevice(rdev) => inode.rdev = rdev,
            NewNode::Regular | NewNode::Fifo | NewNode::Socket => {}
        }
        inode.project = directory.project;
        Self::put_inherited(&mut inode, &inherited, change);
        Ok(inode)
    }
}

fn check_node(node: &NewNode) -> Result<()> {
    match node {
        NewNode::Symlink(target) if target.is_empty() => Err(Error::new(ErrorKind::NotFound, OP)),
        NewNode::Symlink(target) if target.len() > SYMLINK_BYTES_MAX => Err(Error::new(ErrorKind::NameTooLong, OP)),
        NewNode::Symlink(target) if target.contains(&0) => Err(Error::new(ErrorKind::InvalidArgument, OP)),
        _ => Ok(()),
    }
}

const fn kind_of(node: &NewNode) -> FileKind {
    match node {
        NewNode::Regular => FileKind::Regular,
        NewNode::Directory => FileKind::Directory,
        NewNode::Symlink(_) => FileKind::Symlink,
        NewNode::Fifo => FileKind::Fifo,
        NewNode::Socket => FileKind::Socket,
        NewNode::CharDevice(_) => FileKind::CharDevice,
        NewNode::BlockDevice(_) => FileKind::BlockDevice,
    }
}
