//! Operations on names: lookup, make, link, remove, rename.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use fs_api::{HandleId, NewNode, RenameMode};
use fuser::{
    Errno, FileHandle, FopenFlags, INodeNo, RenameFlags, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, Request,
};
use nix::libc;
use objstore_base::ErrorKind;

use crate::convert::{attributes, ino, node, open_flags};
use crate::door::{Door, GENERATION};
use crate::files::fopen_flags;

impl Door {
    pub(crate) fn lookup_name(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (cx, operation) = self.enter(request, "lookup", parent);
        let (vfs, kernel, name) = (Arc::clone(&self.vfs), Arc::clone(&self.kernel), name.as_bytes().to_vec());
        let since = kernel.moment();
        let work = async move {
            match vfs.lookup(&cx, ino(parent), &name).await {
                Ok(attr) => Ok(Some(attr)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.serve(operation, reply, work, move |reply, found| match found {
            Some(attr) => kernel.reply_entry(reply, &attr, since),
            None => kernel.reply_no_entry(reply),
        });
    }

    /// The one request without a reply; batches of it come one by one.
    pub(crate) fn forget_inode(&self, request: &Request, number: INodeNo, count: u64) {
        let (_, operation) = self.enter(request, "forget", number);
        let kernel = Arc::clone(&self.kernel);
        self.run(operation, async move {
            kernel.forgets(ino(number), count);
            Ok(())
        });
    }

    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn make_device(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        match node(mode, rdev) {
            Some(node) => self.make_node(request, "mknod", parent, name, node, mode, umask, reply),
            None => reply.error(Errno::EINVAL),
        }
    }

    pub(crate) fn make_symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let node = NewNode::Symlink(target.as_os_str().as_bytes().to_vec());
        self.make_node(request, "symlink", parent, name, node, 0o777, 0, reply);
    }

    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn make_node(
        &self,
        request: &Request,
        op: &'static str,
        parent: INodeNo,
        name: &OsStr,
        node: NewNode,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (cx, operation) = self.enter(request, op, parent);
        let (vfs, kernel, name) = (Arc::clone(&self.vfs), Arc::clone(&self.kernel), name.as_bytes().to_vec());
        let since = kernel.moment();
        let work = async move { vfs.make(&cx, ino(parent), &name, node, mode & 0o7777, umask).await };
        self.serve(operation, reply, work, move |reply, attr| kernel.reply_entry(reply, &attr, since));
    }

    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn create_file(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (cx, operation) = self.enter(request, "create", parent);
        let (vfs, kernel, name) = (Arc::clone(&self.vfs), Arc::clone(&self.kernel), name.as_bytes().to_vec());
        let since = kernel.moment();
        let exclusive = flags & libc::O_EXCL != 0;
        let work = async move {
            vfs.create(&cx, ino(parent), &name, mode & 0o7777, umask, open_flags(flags), exclusive).await
        };
        self.serve(operation, reply, work, move |reply, made| {
            let lifetime = kernel.learns(made.attr.ino, since);
            let HandleId(handle) = made.handle.id;
            let flags: FopenFlags = fopen_flags(made.handle);
            reply.created(&lifetime, &attributes(&made.attr), GENERATION, FileHandle(handle), flags);
        });
    }

    pub(crate) fn link_name(
        &self,
        request: &Request,
        number: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (cx, operation) = self.enter(request, "link", number);
        let (vfs, kernel, name) = (Arc::clone(&self.vfs), Arc::clone(&self.kernel), name.as_bytes().to_vec());
        let since = kernel.moment();
        let work = async move { vfs.link(&cx, ino(number), ino(parent), &name).await };
        self.serve(operation, reply, work, move |reply, attr| kernel.reply_entry(reply, &attr, since));
    }

    pub(crate) fn unlink_name(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cx, operation) = self.enter(request, "unlink", parent);
        let (vfs, name) = (Arc::clone(&self.vfs), name.as_bytes().to_vec());
        let work = async move { vfs.unlink(&cx, ino(parent), &name).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn remove_directory(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (cx, operation) = self.enter(request, "rmdir", parent);
        let (vfs, name) = (Arc::clone(&self.vfs), name.as_bytes().to_vec());
        let work = async move { vfs.rmdir(&cx, ino(parent), &name).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn rename_name(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            flags if flags.is_empty() => RenameMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (cx, operation) = self.enter(request, "rename", parent);
        let (name, new_name) = (name.as_bytes().to_vec(), new_name.as_bytes().to_vec());
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.rename(&cx, ino(parent), &name, ino(new_parent), &new_name, mode).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn read_symlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let (cx, operation) = self.enter(request, "readlink", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.readlink(&cx, ino(number)).await };
        self.serve(operation, reply, work, |reply, target| reply.data(&target));
    }
}
