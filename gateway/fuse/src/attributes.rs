//! Attributes, access checks and the filesystem's own numbers.

use std::sync::Arc;

use fs_api::{AccessMask, HandleId, SetAttr, StatFs, Target};
use fuser::{AccessFlags, FileHandle, INodeNo, ReplyAttr, ReplyEmpty, ReplyStatfs, Request, TimeOrNow};

use crate::convert::{attributes, ino, set_time};
use crate::door::Door;

/// Unit in which statfs counts space.
const STATFS_BLOCK_BYTES: u32 = 4096;

/// The changes of one SETATTR, as the kernel names them. Its ctime is left out: the filesystem sets that one.
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
}

pub(crate) fn target(number: INodeNo, handle: Option<FileHandle>) -> Target {
    Target { ino: ino(number), handle: handle.map(|handle| HandleId(handle.0)) }
}

impl Door {
    pub(crate) fn get_attributes(
        &self,
        request: &Request,
        number: INodeNo,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let (cx, operation) = self.enter(request, "getattr", number);
        let (vfs, lifetime) = (Arc::clone(&self.vfs), self.vfs.attr_lifetime());
        let work = async move { vfs.getattr(&cx, target(number, handle)).await };
        self.serve(operation, reply, work, move |reply, attr| reply.attr(&lifetime, &attributes(&attr)));
    }

    pub(crate) fn set_attributes(
        &self,
        request: &Request,
        number: INodeNo,
        changes: Changes,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let (cx, operation) = self.enter(request, "setattr", number);
        let set = SetAttr {
            mode: changes.mode.map(|mode| mode & 0o7777),
            uid: changes.uid,
            gid: changes.gid,
            size: changes.size,
            atime: changes.atime.map(set_time),
            mtime: changes.mtime.map(set_time),
            // The kernel leaves this to the filesystem (HANDLE_KILLPRIV_V2).
            kill_suid_sgid: changes.size.is_some() && request.uid() != 0,
        };
        let (vfs, lifetime) = (Arc::clone(&self.vfs), self.vfs.attr_lifetime());
        let work = async move { vfs.setattr(&cx, target(number, handle), set).await };
        self.serve(operation, reply, work, move |reply, attr| reply.attr(&lifetime, &attributes(&attr)));
    }

    pub(crate) fn check_access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (cx, operation) = self.enter(request, "access", number);
        let mask = AccessMask {
            read: mask.contains(AccessFlags::R_OK),
            write: mask.contains(AccessFlags::W_OK),
            execute: mask.contains(AccessFlags::X_OK),
        };
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.access(&cx, ino(number), mask).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn space(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        let (cx, operation) = self.enter(request, "statfs", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.statfs(&cx, ino(number)).await };
        self.serve(operation, reply, work, |reply, space| reply_space(reply, &space));
    }
}

fn reply_space(reply: ReplyStatfs, space: &StatFs) {
    let unit = u64::from(STATFS_BLOCK_BYTES);
    let free = space.bytes_free / unit;
    reply.statfs(
        space.bytes_total / unit,
        free,
        free,
        space.inodes_used.saturating_add(space.inodes_free),
        space.inodes_free,
        STATFS_BLOCK_BYTES,
        fs_api::NAME_BYTES_MAX as u32,
        STATFS_BLOCK_BYTES,
    );
}
