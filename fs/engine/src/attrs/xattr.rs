//! Extended attributes: the four namespaces and who may use them.

use std::ops::ControlFlow;

use bytes::Bytes;
use fs_api::{AccessMask, Context, FileKind, Ino, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XattrMode};
use fs_meta::{Column, Direction};
use objstore_base::{Error, ErrorKind, Result};

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

pub(super) const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

const READ: AccessMask = AccessMask { read: true, write: false, execute: false };
const WRITE: AccessMask = AccessMask { read: false, write: true, execute: false };

/// What a name's prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    User,
    Trusted,
    Security,
    AccessAcl,
    DefaultAcl,
}

impl Space {
    fn of(op: &'static str, name: &[u8]) -> Result<Self> {
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::RangeTooSmall, op));
        }
        if name.contains(&0) {
            return Err(Error::new(ErrorKind::InvalidArgument, op));
        }
        match name {
            ACCESS_ACL => Ok(Self::AccessAcl),
            DEFAULT_ACL => Ok(Self::DefaultAcl),
            b"user." | b"trusted." | b"security." => Err(Error::new(ErrorKind::InvalidArgument, op)),
            _ if name.starts_with(b"user.") => Ok(Self::User),
            _ if name.starts_with(b"trusted.") => Ok(Self::Trusted),
            _ if name.starts_with(b"security.") => Ok(Self::Security),
            _ => Err(Error::new(ErrorKind::NotSupported, op)),
        }
    }
}

impl Engine {
    pub(crate) fn get_xattr(&self, cx: &Context, ino: Ino, name: &[u8]) -> Result<Bytes> {
        let space = Space::of(GET, name)?;
        let inode = self.inode(ino)?;
        match space {
            Space::User if !may_have_user_attributes(&inode) => return Err(Error::new(ErrorKind::NoData, GET)),
            Space::User => self.require(cx, &inode, READ)?,
            Space::Trusted if !cx.credentials.is_privileged() => return Err(Error::new(ErrorKind::NoData, GET)),
            _ => {}
        }
        self.stored_xattr(&inode, name)?.map(Bytes::from).ok_or_else(|| Error::new(ErrorKind::NoData, GET))
    }

    pub(crate) async fn set_xattr(
        &self, cx: &Context, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode,
    ) -> Result<()> {
        let space = Space::of(SET, name)?;
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooBig, SET));
        }
        let lsn = {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            self.require_set_xattr(SET, cx, &inode, space)?;
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
                Space::AccessAcl => self.set_access_acl(cx, &mut inode, value, &mut change)?,
                Space::DefaultAcl => self.set_default_acl(&mut inode, value, &mut change)?,
                _ => self.put_xattr(&mut inode, name, value, there, &mut change),
            }
            inode.touch_ctime(self.now());
            change.put_inode(&inode);
            self.apply(change)?
        };
        self.settle(cx, lsn).await
    }

    pub(crate) async fn remove_xattr(&self, cx: &Context, ino: Ino, name: &[u8]) -> Result<()> {
        let space = Space::of(REMOVE, name)?;
        let lsn = {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            self.require_set_xattr(REMOVE, cx, &inode, space)?;
            if self.stored_xattr(&inode, name)?.is_none() {
                return Err(Error::new(ErrorKind::NoData, REMOVE));
            }
            let mut change = Change::new(cx);
            self.take_xattr(&mut inode, name, &mut change);
            match space {
                Space::AccessAcl => inode.has_access_acl = false,
                Space::DefaultAcl => inode.has_default_acl = false,
                _ => {}
            }
            inode.touch_ctime(self.now());
            change.put_inode(&inode);
            self.apply(change)?
        };
        self.settle(cx, lsn).await
    }

    pub(crate) fn list_xattrs(&self, cx: &Context, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let inode = self.inode(ino)?;
        let all = cx.credentials.is_privileged();
        let mut names = self.xattr_names(&inode)?;
        names.retain(|name| all || !name.starts_with(b"trusted."));
        Ok(names)
    }

    /// Removes all of them with the inode.
    pub(crate) fn delete_xattrs_locked(&self, inode: &Inode, change: &mut Change) -> Result<()> {
        for name in self.xattr_names(inode)? {
            change.batch.delete(Column::Xattr, &keys::xattr(inode.ino, &name));
        }
        Ok(())
    }

    fn require_set_xattr(&self, op: &'static str, cx: &Context, inode: &Inode, space: Space) -> Result<()> {
        let privileged = cx.credentials.is_privileged();
        match space {
            Space::User if !may_have_user_attributes(inode) => Err(Error::new(ErrorKind::NotPermitted, op)),
            Space::User => {
                if inode.is_dir() && inode.mode & 0o1000 != 0 {
                    self.require_owner(cx, inode)?;
                }
                self.require(cx, inode, WRITE)
            }
            Space::Trusted | Space::Security if privileged => Ok(()),
            Space::Trusted | Space::Security => Err(Error::new(ErrorKind::NotPermitted, op)),
            Space::AccessAcl | Space::DefaultAcl if inode.kind == FileKind::Symlink => {
                Err(Error::new(ErrorKind::NotSupported, op))
            }
            Space::DefaultAcl if !inode.is_dir() => Err(Error::new(ErrorKind::AccessDenied, op)),
            Space::AccessAcl | Space::DefaultAcl => self.require_owner(cx, inode),
        }
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
    pub(super) fn put_xattr(&self, inode: &mut Inode, name: &[u8], value: &[u8], there: bool, change: &mut Change) {
        let mut record = Vec::with_capacity(1 + value.len());
        record.push(VERSION);
        record.extend_from_slice(value);
        change.batch.put(Column::Xattr, &keys::xattr(inode.ino, name), &record);
        inode.xattrs += u32::from(!there);
    }

    /// Removes one that is there; the caller stores the inode.
    pub(super) fn take_xattr(&self, inode: &mut Inode, name: &[u8], change: &mut Change) {
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

fn may_have_user_attributes(inode: &Inode) -> bool {
    matches!(inode.kind, FileKind::Regular | FileKind::Directory)
}
