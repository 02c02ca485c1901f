//! Extended attributes, POSIX ACLs among them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fs_api::XattrMode;
use fuser::{Errno, INodeNo, ReplyEmpty, ReplyXattr, Request};
use nix::libc;

use crate::convert::ino;
use crate::door::Door;

impl Door {
    pub(crate) fn get_xattr(&self, request: &Request, number: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        let (cx, operation) = self.enter(request, "getxattr", number);
        let (vfs, name) = (Arc::clone(&self.vfs), name.as_bytes().to_vec());
        let work = async move { vfs.getxattr(&cx, ino(number), &name).await };
        self.serve(operation, reply, work, move |reply, value| reply_value(reply, &value, room));
    }

    pub(crate) fn list_xattrs(&self, request: &Request, number: INodeNo, room: u32, reply: ReplyXattr) {
        let (cx, operation) = self.enter(request, "listxattr", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.listxattr(&cx, ino(number)).await };
        self.serve(operation, reply, work, move |reply, names| {
            let joined: Vec<u8> = names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect();
            reply_value(reply, &joined, room);
        });
    }

    pub(crate) fn set_xattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            0 => XattrMode::Set,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (cx, operation) = self.enter(request, "setxattr", number);
        let (vfs, name, value) = (Arc::clone(&self.vfs), name.as_bytes().to_vec(), value.to_vec());
        let work = async move { vfs.setxattr(&cx, ino(number), &name, &value, mode).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn remove_xattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cx, operation) = self.enter(request, "removexattr", number);
        let (vfs, name) = (Arc::clone(&self.vfs), name.as_bytes().to_vec());
        let work = async move { vfs.removexattr(&cx, ino(number), &name).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }
}

/// A caller without room asks for the size.
fn reply_value(reply: ReplyXattr, value: &[u8], room: u32) {
    match u32::try_from(value.len()) {
        Ok(len) if room == 0 => reply.size(len),
        Ok(len) if len <= room => reply.data(value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}
