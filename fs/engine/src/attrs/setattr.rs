//! Changing attributes: all that one call asks for in one change. Who may, and what becomes of setuid and setgid, is
//! decided by `fs_access`.

use cache_journal::Lsn;
use fs_api::{Attr, Context, FILE_BYTES_MAX, FileKind, SetAttr, SetTime, Target, Time};
use objstore_base::{Error, ErrorKind, Result};

use super::permission::node;
use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;

const OP: &str = "set attributes";

impl Engine {
    pub(crate) async fn set_attributes(&self, cx: &Context, target: Target, set: SetAttr) -> Result<Attr> {
        if set == SetAttr::default() {
            return self.attributes(target);
        }
        let (attr, lsn) = self.set_attributes_now(cx, target, set)?;
        self.settle(cx, lsn).await?;
        Ok(attr)
    }

    fn set_attributes_now(&self, cx: &Context, target: Target, set: SetAttr) -> Result<(Attr, Lsn)> {
        let open = self.handles.get(target)?;
        let _stripe = self.stripes.write_one(target.ino);
        self.flush_gathered_locked(target.ino)?;
        let mut inode = self.inode_locked(target.ino)?;
        if open.is_some_and(|open| !open.flags.write) && set.size.is_some() {
            return Err(Error::new(ErrorKind::InvalidArgument, OP).context("the file is not open for writing"));
        }
        self.require_set(cx, &inode, &set, open.is_some_and(|open| open.flags.write))?;
        let mut change = Change::new(cx);
        let owner = fs_access::owner_after(&cx.credentials, &node(&inode), &set);
        (inode.uid, inode.gid, inode.mode) = (owner.uid, owner.gid, owner.mode);
        if set.mode.is_some() {
            self.chmod_acl(&mut inode, &mut change)?;
        }
        let now = self.now();
        inode.touch_ctime(now);
        if let Some(size) = set.size {
            self.resize_locked(&mut inode, size, &mut change)?;
            inode.mtime = inode.ctime;
        }
        change_times(&mut inode, &set, now);
        change.put_inode(&inode);
        Ok((inode.attr(), self.apply(change)?))
    }

    fn require_set(&self, cx: &Context, inode: &Inode, set: &SetAttr, open_for_writing: bool) -> Result<()> {
        let acl = self.deciding_acl(cx, inode)?;
        fs_access::may_set(&cx.credentials, &node(inode), acl.as_ref(), set, open_for_writing)?;
        require_size(set)?;
        if set.mode.is_some() && inode.kind == FileKind::Symlink {
            return Err(Error::new(ErrorKind::NotSupported, OP).context("symbolic links have no mode of their own"));
        }
        Ok(())
    }

    /// Sets attributes of an inode that its caller makes and that nobody knows yet: its first record has them.
    pub(crate) fn set_first(&self, cx: &Context, inode: &mut Inode, set: &SetAttr) -> Result<()> {
        if set.mode.is_some() {
            return Err(Error::new(ErrorKind::InvalidArgument, OP).context("a new node gets its mode when it is made"));
        }
        // No ACL decides for the owner of an inode, and its maker may write it.
        fs_access::may_set(&cx.credentials, &node(inode), None, set, true)?;
        require_size(set)?;
        let owner = fs_access::owner_after(&cx.credentials, &node(inode), set);
        (inode.uid, inode.gid, inode.mode) = (owner.uid, owner.gid, owner.mode);
        // There are no bytes: all of it is a hole.
        inode.size = set.size.unwrap_or(inode.size);
        change_times(inode, set, inode.ctime);
        Ok(())
    }

    /// Empties a regular file that is being opened: a change of content by this caller, who may write it. Its stripe is
    /// held and its gathered writes are settled.
    pub(super) fn empty_locked(&self, cx: &Context, inode: &mut Inode, change: &mut Change) -> Result<()> {
        self.resize_locked(inode, 0, change)?;
        inode.mode = fs_access::mode_after_write(&cx.credentials, &node(inode));
        inode.touch_mtime(self.now());
        change.put_inode(inode);
        Ok(())
    }
}

fn require_size(set: &SetAttr) -> Result<()> {
    if set.size.is_some_and(|size| size > FILE_BYTES_MAX) {
        return Err(Error::new(ErrorKind::FileTooLarge, OP));
    }
    Ok(())
}

fn change_times(inode: &mut Inode, set: &SetAttr, now: Time) {
    match set.atime {
        Some(SetTime::Now) => inode.atime = now,
        Some(SetTime::To(time)) => inode.atime = time,
        None => {}
    }
    match set.mtime {
        // The clock's time, but never before a change that was.
        Some(SetTime::Now) => inode.mtime = inode.ctime,
        Some(SetTime::To(time)) => inode.mtime = time,
        None => {}
    }
}
