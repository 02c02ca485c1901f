//! The [`Vfs`] of the engine: each method hands on to the module of its operation.
//!
//! For file I/O the handle is looked up and permission decided here; `data` gets a [`FileUse`] and does the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fs_api::{
    AccessMask, Attr, Context, Created, DoorId, Durability, FallocateMode, FileKind, Handle, HandleId, Ino, Listing,
    LockOwner, LockRequest, LockSpace, LockWait, NewNode, OpenFlags, Receipt, Registration, RenameMode, SeekFrom,
    SetAttr, StatFs, Target, Vfs, Watcher, XattrMode,
};
use futures::future::{FutureExt, ready};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use crate::engine::Engine;
use crate::handles::FileUse;
use crate::names::Removal;

/// Changes by other doors are announced to those who watch, so this bounds only what an announcement that was lost (a
/// client that did not take it for longer than its maker was patient) may cost.
const ATTR_LIFETIME: Duration = Duration::from_secs(60);

const READ: AccessMask = AccessMask { read: true, write: false, execute: false };
const WRITE: AccessMask = AccessMask { read: false, write: true, execute: false };

impl Vfs for Engine {
    fn lookup<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        ready(self.lookup_name(cx, parent, name)).boxed()
    }

    fn make_with<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: SetAttr,
    ) -> BoxFuture<'a, Result<Attr>> {
        self.make_node(cx, parent, name, node, mode, umask, set).boxed()
    }

    fn create<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Created>> {
        self.create_file(cx, parent, name, mode, umask, flags, exclusive).boxed()
    }

    fn link<'a>(&'a self, cx: &'a Context, ino: Ino, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        self.link_name(cx, ino, parent, name).boxed()
    }

    fn unlink<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.remove_entry(cx, parent, name, Removal::Unlink).boxed()
    }

    fn rmdir<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.remove_entry(cx, parent, name, Removal::Rmdir).boxed()
    }

    fn rename<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        new_parent: Ino,
        new_name: &'a [u8],
        mode: RenameMode,
    ) -> BoxFuture<'a, Result<()>> {
        self.rename_entry(cx, parent, name, new_parent, new_name, mode).boxed()
    }

    fn readlink<'a>(&'a self, _cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Bytes>> {
        ready(self.read_link(ino)).boxed()
    }

    fn readdir<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> BoxFuture<'a, Result<Listing>> {
        ready(self.list(cx, target, cookie, limit, with_attr)).boxed()
    }

    fn getattr<'a>(&'a self, _cx: &'a Context, target: Target) -> BoxFuture<'a, Result<Attr>> {
        ready(self.attributes(target)).boxed()
    }

    fn setattr<'a>(&'a self, cx: &'a Context, target: Target, set: SetAttr) -> BoxFuture<'a, Result<Attr>> {
        self.set_attributes(cx, target, set).boxed()
    }

    fn access<'a>(&'a self, cx: &'a Context, ino: Ino, mask: AccessMask) -> BoxFuture<'a, Result<()>> {
        ready(self.check_access(cx, ino, mask)).boxed()
    }

    fn getxattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Bytes>> {
        ready(self.get_xattr(cx, ino, name)).boxed()
    }

    fn setxattr<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        mode: XattrMode,
    ) -> BoxFuture<'a, Result<()>> {
        self.set_xattr(cx, ino, name, value, mode).boxed()
    }

    fn listxattr<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        ready(self.list_xattrs(cx, ino)).boxed()
    }

    fn removexattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.remove_xattr(cx, ino, name).boxed()
    }

    fn hold(&self, door: DoorId, ino: Ino, count: u64) {
        self.orphans.hold(door, ino, count);
    }

    fn unhold(&self, door: DoorId, ino: Ino, count: u64) {
        self.orphans.unhold(door, ino, count);
    }

    fn holds(&self, door: DoorId, ino: Ino) -> bool {
        self.orphans.holds(door, ino)
    }

    fn held(&self, door: DoorId) -> Vec<Ino> {
        self.orphans.held(door)
    }

    fn leave(&self, door: DoorId) {
        self.forget_door(door);
    }

    fn open<'a>(&'a self, cx: &'a Context, ino: Ino, flags: OpenFlags) -> BoxFuture<'a, Result<Handle>> {
        self.open_inode(cx, ino, flags).boxed()
    }

    fn release<'a>(&'a self, _cx: &'a Context, ino: Ino, handle: HandleId) -> BoxFuture<'a, Result<()>> {
        ready(self.close_handle(ino, handle)).boxed()
    }

    fn read<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, len: u32) -> BoxFuture<'a, Result<Bytes>> {
        match self.for_reading(cx, target) {
            Ok(file) => self.read_file(cx, file, offset, len),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn write<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, data: &'a [u8]) -> BoxFuture<'a, Result<u32>> {
        match self.for_writing(cx, target) {
            Ok(file) => self.write_file(cx, file, offset, data),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn flush<'a>(&'a self, _cx: &'a Context, target: Target, owner: LockOwner) -> BoxFuture<'a, Result<()>> {
        self.locks.drop_owner(target.ino, LockSpace::Posix, owner);
        let done = self.handles.get(target).and_then(|_| self.settle_gathered(target.ino));
        ready(done).boxed()
    }

    fn fsync<'a>(&'a self, _cx: &'a Context, target: Target, _data_only: bool) -> BoxFuture<'a, Result<()>> {
        match self.handles.get(target).and_then(|_| self.settle_gathered(target.ino)) {
            // Everything done to the inode so far has an LSN up to the last one.
            Ok(()) => self.journal.commit_async(self.journal.last()),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn fallocate<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>> {
        match self.for_writing(cx, target) {
            Ok(file) => self.fallocate_file(cx, file, offset, len, mode),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn seek<'a>(&'a self, cx: &'a Context, target: Target, from: SeekFrom) -> BoxFuture<'a, Result<u64>> {
        match self.for_seeking(cx, target) {
            Ok(file) => self.seek_file(cx, file, from),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn copy_range<'a>(
        &'a self,
        cx: &'a Context,
        source: Target,
        source_offset: u64,
        target: Target,
        target_offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<u64>> {
        let files = self.for_reading(cx, source).and_then(|s| Ok((s, self.for_writing(cx, target)?)));
        match files {
            Ok((source, target)) => self.copy_file_range(cx, source, source_offset, target, target_offset, len),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn test_lock<'a>(
        &'a self,
        _cx: &'a Context,
        ino: Ino,
        request: LockRequest,
    ) -> BoxFuture<'a, Result<Option<LockRequest>>> {
        ready(self.find_lock(ino, request)).boxed()
    }

    fn set_lock<'a>(
        &'a self,
        _cx: &'a Context,
        ino: Ino,
        request: LockRequest,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<()>> {
        self.change_lock(ino, request, wait).boxed()
    }

    fn drop_locks(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        self.locks.drop_owner(ino, space, owner);
    }

    fn statfs<'a>(&'a self, _cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<StatFs>> {
        self.stat_at(ino).boxed()
    }

    fn sync<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        match self.flush_gathered_all() {
            Ok(()) => self.journal.commit_async(self.journal.last()),
            Err(e) => ready(Err(e)).boxed(),
        }
    }

    fn watch(&self, door: DoorId, watcher: Arc<dyn Watcher>) -> Registration {
        self.hub.watch(door, watcher)
    }

    fn receipts(&self) -> Result<Vec<Receipt>> {
        self.stored_receipts()
    }

    fn attr_lifetime(&self) -> Duration {
        ATTR_LIFETIME
    }
}

impl Engine {
    fn for_reading(&self, cx: &Context, target: Target) -> Result<FileUse> {
        match self.handles.get(target)? {
            Some(open) if open.flags.read || open.flags.execute => self.regular(cx, target, None),
            Some(_) => Err(bad_mode("read", target.ino)),
            None => self.regular(cx, target, Some(READ)),
        }
    }

    fn for_writing(&self, cx: &Context, target: Target) -> Result<FileUse> {
        match self.handles.get(target)? {
            Some(open) if open.flags.write => {
                let file = self.regular(cx, target, None)?;
                Ok(FileUse { append: open.flags.append, sync: file.sync || open.flags.sync, ..file })
            }
            Some(_) => Err(bad_mode("write", target.ino)),
            None => self.regular(cx, target, Some(WRITE)),
        }
    }

    fn for_seeking(&self, cx: &Context, target: Target) -> Result<FileUse> {
        let mask = if self.handles.get(target)?.is_some() { None } else { Some(READ) };
        self.regular(cx, target, mask)
    }

    /// The regular file of `target`, with the permission in `mask` where no handle has given it.
    fn regular(&self, cx: &Context, target: Target, mask: Option<AccessMask>) -> Result<FileUse> {
        let inode = self.inode(target.ino)?;
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Error::new(ErrorKind::IsDirectory, "use file").entity(target.ino)),
            _ => return Err(Error::new(ErrorKind::InvalidArgument, "use file").entity(target.ino)),
        }
        if let Some(mask) = mask {
            self.require(cx, &inode, mask)?;
        }
        let sync = cx.durability == Durability::Synced;
        Ok(FileUse { ino: target.ino, handle: target.handle, append: false, sync })
    }
}

fn bad_mode(op: &'static str, ino: Ino) -> Error {
    Error::new(ErrorKind::BadHandle, op).entity(ino).context("it is not open for this")
}
