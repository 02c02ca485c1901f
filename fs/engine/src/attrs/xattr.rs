//! Extended attributes: reading, setting, listing and removing them. Who may is decided by `fs_access`.

use std::ops::ControlFlow;

use bytes::Bytes;
use fs_access::XattrSpace;
use fs_api::{Context, Ino, XATTR_VALUE_BYTES_MAX, XattrMode};
use fs_meta::{Column, Direction};
use objstore_base::{Error, ErrorKind, Result};

use super::permission::node;
use crate::change::Change;
use crate::engine::Engine;
use crate::keys;
use crate::records::Inode;

const GET: &str = "get extended attribute";
const SET: &str = "set extended attribute";
const REMOVE: &str = "remove extended attribute";
/// Bytes of all names of one inode, each with its NUL (`XATTR_LIST_MAX`): more could not be listed.
const LIST_BYTES_MAX: usize = 65_536;
const VERSION: u8 = 1;

impl Engine {
    pub(crate) fn get_xattr(&self, cx: &Context, ino: Ino, name: &[u8]) -> Result<Bytes> {
        let space = XattrSpace::of(name)?;
        let inode = self.inode(ino)?;
        let acl = self.deciding_acl(cx, &inode)?;
        fs_access::may_read_xattr(&cx.credentials, &node(&inode), acl.as_ref(), space)?;
        self.stored_xattr(&inode, name)?.map(Bytes::from).ok_or_else(|| Error::new(ErrorKind::NoData, GET))
    }

    pub(crate) async fn set_xattr(
        &self,
        cx: &Context,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let space = XattrSpace::of(name)?;
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooBig, SET));
        }
        self.admit_metadata(cx, name.len() + value.len()).await?;
        let lsn = {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            self.require_set_xattr(cx, &inode, space)?;
            let there = self.stored_xattr(&inode, name)?.is_some();
            match mode {
                XattrMode::Create if there => return Err(Error::new(ErrorKind::Exists, SET)),
                XattrMode::Replace if !there => return Err(Error::new(ErrorKind::NoData, SET)),
                _ => {}
            }
            if !there {
                self.require_room(&inode, name)?;
            }
            let mut change = Change::new(cx);
            match space {
                XattrSpace::AccessAcl => Self::set_access_acl(cx, &mut inode, value, &mut change)?,
                XattrSpace::DefaultAcl => Self::set_default_acl(&mut inode, value, &mut change)?,
                _ => Self::put_xattr(&mut inode, name, value, there, &mut change),
            }
            inode.touch_ctime(self.now());
            change.put_inode(&inode);
            self.apply(change)?
        };
        self.settle(cx, lsn).await
    }

    pub(crate) async fn remove_xattr(&self, cx: &Context, ino: Ino, name: &[u8]) -> Result<()> {
        let space = XattrSpace::of(name)?;
        let lsn = {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            self.require_set_xattr(cx, &inode, space)?;
            if self.stored_xattr(&inode, name)?.is_none() {
                return Err(Error::new(ErrorKind::NoData, REMOVE));
            }
            let mut change = Change::new(cx);
            match space {
                XattrSpace::AccessAcl | XattrSpace::DefaultAcl => Self::drop_acl(&mut inode, name, &mut change),
                _ => Self::take_xattr(&mut inode, name, &mut change),
            }
            inode.touch_ctime(self.now());
            change.put_inode(&inode);
            self.apply(change)?
        };
        self.settle(cx, lsn).await
    }

    pub(crate) fn list_xattrs(&self, cx: &Context, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let inode = self.inode(ino)?;
        let mut names = self.xattr_names(&inode)?;
        names.retain(|name| fs_access::lists_xattr(&cx.credentials, name));
        Ok(names)
    }

    /// Removes all of them with the inode.
    pub(crate) fn delete_xattrs_locked(&self, inode: &Inode, change: &mut Change) -> Result<()> {
        for name in self.xattr_names(inode)? {
            change.batch.delete(Column::Xattr, &keys::xattr(inode.ino, &name));
        }
        Ok(())
    }

    fn require_set_xattr(&self, cx: &Context, inode: &Inode, space: XattrSpace) -> Result<()> {
        let acl = self.deciding_acl(cx, inode)?;
        fs_access::may_write_xattr(&cx.credentials, &node(inode), acl.as_ref(), space)
    }

    pub(super) fn stored_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if inode.xattrs == 0 {
            return Ok(None);
        }
        let Some(mut value) = self.meta.get(Column::Xattr, &keys::xattr(inode.ino, name))? else { return Ok(None) };
        match value.first() {
            Some(&VERSION) => Ok(Some(value.split_off(1))),
            Some(&version) if version > VERSION => {
                Err(Error::new(ErrorKind::NewerFormat, "decode extended attribute").entity(inode.ino))
            }
            _ => Err(Error::corrupt("decode extended attribute", "it has no version").entity(inode.ino)),
        }
    }

    /// Stores one; the caller stores the inode and knows whether it was `there`.
    pub(super) fn put_xattr(inode: &mut Inode, name: &[u8], value: &[u8], there: bool, change: &mut Change) {
        let mut record = Vec::with_capacity(1 + value.len());
        record.push(VERSION);
        record.extend_from_slice(value);
        change.batch.put(Column::Xattr, &keys::xattr(inode.ino, name), &record);
        inode.xattrs += u32::from(!there);
    }

    /// Removes one that is there; the caller stores the inode.
    pub(super) fn take_xattr(inode: &mut Inode, name: &[u8], change: &mut Change) {
        change.batch.delete(Column::Xattr, &keys::xattr(inode.ino, name));
        inode.xattrs = inode.xattrs.saturating_sub(1);
    }

    fn xattr_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if inode.xattrs == 0 {
            return Ok(names);
        }
        let (from, to) = (keys::inode(inode.ino), keys::inode(Ino(inode.ino.0.saturating_add(1))));
        let mut failed = None;
        self.meta.scan(Column::Xattr, &from..&to, Direction::Forward, &mut |key, _| match keys::name_of(key) {
            Ok(name) => {
                names.push(name.to_vec());
                ControlFlow::Continue(())
            }
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(names), |e| Err(e.entity(inode.ino)))
    }

    fn require_room(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        let taken: usize = self.xattr_names(inode)?.iter().map(|n| n.len() + 1).sum();
        if taken + name.len() + 1 > LIST_BYTES_MAX {
            return Err(Error::new(ErrorKind::NoSpace, SET).context("the names of all attributes take 64 KiB at most"));
        }
        Ok(())
    }
}
