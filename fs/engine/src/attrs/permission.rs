//! Who may do what: hands the engine's state to `fs_access`, which decides.

use fs_api::{AccessMask, Context, FileKind};
use objstore_base::{Error, ErrorKind, Result};

use crate::engine::Engine;
use crate::records::Inode;

/// Owner, group and mode of a new inode.
pub(crate) struct NewOwner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Engine {
    /// # Errors
    /// `AccessDenied` where any permission of `mask` is missing.
    pub(crate) fn require(&self, cx: &Context, inode: &Inode, mask: AccessMask) -> Result<()> {
        let c = &cx.credentials;
        let want = u32::from(mask.read) << 2 | u32::from(mask.write) << 1 | u32::from(mask.execute);
        let granted = if c.is_privileged() {
            if inode.is_dir() || inode.mode & 0o111 != 0 { 7 } else { 6 }
        } else if c.uid == inode.uid {
            inode.mode >> 6 & 7
        } else if c.in_group(inode.gid) {
            inode.mode >> 3 & 7
        } else {
            inode.mode & 7
        };
        if want & !granted == 0 { Ok(()) } else { Err(Error::new(ErrorKind::AccessDenied, "check permission")) }
    }

    /// Permission to look for a name in `directory`.
    pub(crate) fn require_search(&self, cx: &Context, directory: &Inode) -> Result<()> {
        self.require(cx, directory, AccessMask { execute: true, ..AccessMask::default() })
    }

    /// # Errors
    /// `NotPermitted` where the caller neither owns `inode` nor is root.
    pub(crate) fn require_owner(&self, cx: &Context, inode: &Inode) -> Result<()> {
        if cx.credentials.is_privileged() || cx.credentials.uid == inode.uid {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::NotPermitted, "check ownership"))
        }
    }

    /// In a sticky directory only the owner of the victim or of the directory removes a name.
    pub(crate) fn require_sticky(&self, cx: &Context, directory: &Inode, victim: &Inode) -> Result<()> {
        if directory.mode & 0o1000 == 0 || cx.credentials.uid == directory.uid {
            return Ok(());
        }
        self.require_owner(cx, victim)
    }

    pub(crate) fn require_chown(&self, cx: &Context, inode: &Inode, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let c = &cx.credentials;
        let owner = c.uid == inode.uid;
        let uid_ok = uid.is_none_or(|uid| owner && uid == inode.uid);
        let gid_ok = gid.is_none_or(|gid| owner && (gid == inode.gid || c.in_group(gid)));
        if c.is_privileged() || (uid_ok && gid_ok) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::NotPermitted, "change owner"))
        }
    }

    pub(crate) fn inherit(&self, cx: &Context, directory: &Inode, kind: FileKind, mode: u32) -> NewOwner {
        let c = &cx.credentials;
        let mut mode = mode & 0o7777;
        let mut gid = c.gid;
        if directory.mode & 0o2000 != 0 {
            gid = directory.gid;
            if kind == FileKind::Directory {
                mode |= 0o2000;
            } else if mode & 0o2010 == 0o2010 && !c.is_privileged() && !c.in_group(gid) {
                mode &= !0o2000;
            }
        }
        NewOwner { uid: c.uid, gid, mode }
    }
}
