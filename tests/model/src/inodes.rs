//! Attributes and extended attributes.

use bytes::Bytes;
use fs_access::{ACCESS_ACL_XATTR, Acl, XattrSpace};
use fs_api::{
    AccessMask, Attr, Context, FILE_BYTES_MAX, FileKind, Ino, SetAttr, SetTime, Target, XATTR_VALUE_BYTES_MAX,
    XattrMode,
};
use objstore_base::{Error, ErrorKind, Result};

use crate::model::Inner;
use crate::state::Body;

fn fail<T>(kind: ErrorKind, op: &'static str) -> Result<T> {
    Err(Error::new(kind, op))
}

impl Inner {
    pub(crate) fn getattr(&self, target: Target) -> Result<Attr> {
        self.handle(target)?;
        Ok(self.state.inode(target.ino)?.attr())
    }

    pub(crate) fn readlink(&self, ino: Ino) -> Result<Bytes> {
        match &self.state.inode(ino)?.body {
            Body::Symlink(target) => Ok(Bytes::copy_from_slice(target)),
            _ => fail(ErrorKind::InvalidArgument, "read link"),
        }
    }

    pub(crate) fn access(&self, cx: &Context, ino: Ino, mask: AccessMask) -> Result<()> {
        self.check(cx, ino, mask)
    }

    pub(crate) fn setattr(&mut self, cx: &Context, target: Target, set: SetAttr) -> Result<Attr> {
        const OP: &str = "set attributes";
        let open = self.handle(target)?;
        let inode = self.state.inode(target.ino)?;
        if set == SetAttr::default() {
            return Ok(inode.attr());
        }
        if set.size.is_some() && open.is_some_and(|flags| !flags.write) {
            return fail(ErrorKind::InvalidArgument, OP);
        }
        let writing = open.is_some_and(|flags| flags.write);
        fs_access::may_set(&cx.credentials, &inode.node(), inode.acl().as_ref(), &set, writing)?;
        if set.size.is_some_and(|size| size > FILE_BYTES_MAX) {
            return fail(ErrorKind::FileTooLarge, OP);
        }
        if set.mode.is_some() && inode.node().kind == FileKind::Symlink {
            return fail(ErrorKind::NotSupported, OP);
        }
        let owner = fs_access::owner_after(&cx.credentials, &inode.node(), &set);
        let now = self.state.now();
        if let Some(size) = set.size {
            self.state.content_mut(target.ino)?.truncate(size);
        }
        let inode = self.state.inode_mut(target.ino)?;
        inode.touch_ctime(now);
        if set.size.is_some() {
            inode.stored.mtime = now;
        }
        let resolve = |time| match time {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let stored = &mut inode.stored;
        stored.atime = set.atime.map_or(stored.atime, resolve);
        stored.mtime = set.mtime.map_or(stored.mtime, resolve);
        (stored.uid, stored.gid, stored.mode) = (owner.uid, owner.gid, owner.mode);
        if let (Some(mode), Some(mut acl)) = (set.mode, inode.acl()) {
            acl.chmod(mode);
            inode.put_acl(ACCESS_ACL_XATTR, Some(acl));
        }
        Ok(inode.attr())
    }

    pub(crate) fn getxattr(&self, cx: &Context, ino: Ino, name: &[u8]) -> Result<Bytes> {
        let inode = self.state.inode(ino)?;
        fs_access::may_read_xattr(&cx.credentials, &inode.node(), inode.acl().as_ref(), XattrSpace::of(name)?)?;
        match inode.xattrs.get(name) {
            Some(value) => Ok(Bytes::copy_from_slice(value)),
            None => fail(ErrorKind::NoData, "get extended attribute"),
        }
    }

    pub(crate) fn setxattr(
        &mut self,
        cx: &Context,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        const OP: &str = "set extended attribute";
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return fail(ErrorKind::TooBig, OP);
        }
        let inode = self.state.inode(ino)?;
        let node = inode.node();
        let space = XattrSpace::of(name)?;
        fs_access::may_write_xattr(&cx.credentials, &node, inode.acl().as_ref(), space)?;
        match (mode, inode.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return fail(ErrorKind::Exists, OP),
            (XattrMode::Replace, false) => return fail(ErrorKind::NoData, OP),
            _ => {}
        }
        let acl = match space {
            XattrSpace::AccessAcl | XattrSpace::DefaultAcl => Acl::decode(value)?,
            _ => None,
        };
        let now = self.state.now();
        let inode = self.state.inode_mut(ino)?;
        match (space, acl) {
            (XattrSpace::AccessAcl, Some(acl)) => {
                let (mode, acl) = fs_access::access_acl_to_store(&cx.credentials, &node, acl);
                inode.stored.mode = mode;
                inode.put_acl(name, acl);
            }
            (XattrSpace::AccessAcl | XattrSpace::DefaultAcl, acl) => inode.put_acl(name, acl),
            _ => {
                inode.xattrs.insert(name.to_vec(), value.to_vec());
            }
        }
        inode.touch_ctime(now);
        Ok(())
    }

    pub(crate) fn listxattr(&self, cx: &Context, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let names = self.state.inode(ino)?.xattrs.keys();
        Ok(names.filter(|name| fs_access::lists_xattr(&cx.credentials, name)).cloned().collect())
    }

    pub(crate) fn removexattr(&mut self, cx: &Context, ino: Ino, name: &[u8]) -> Result<()> {
        let inode = self.state.inode(ino)?;
        fs_access::may_write_xattr(&cx.credentials, &inode.node(), inode.acl().as_ref(), XattrSpace::of(name)?)?;
        let now = self.state.now();
        let inode = self.state.inode_mut(ino)?;
        if inode.xattrs.remove(name).is_none() {
            return fail(ErrorKind::NoData, "remove extended attribute");
        }
        inode.touch_ctime(now);
        Ok(())
    }
}
