//! [`Tagged`]: the engine's `Vfs` as the NFS door has it in a history. The door numbers its requests itself; here they
//! get the number of the operation that they are made for, by which the history knows them in the order of commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fs_api::{
    AccessMask, Attr, Context, Created, DoorId, FallocateMode, Handle, HandleId, Ino, Listing, LockOwner, LockRequest,
    LockSpace, LockWait, NewNode, OpenFlags, Receipt, Registration, RenameMode, SeekFrom, SetAttr, StatFs, Target, Vfs,
    Watcher, XattrMode,
};
use fs_engine::Engine;
use futures::FutureExt;
use objstore_base::{BoxFuture, Result};

pub(crate) struct Tagged {
    pub(crate) engine: Arc<Engine>,
    /// The operation under way.
    pub(crate) request: Arc<AtomicU64>,
}

/// The same call with the number of the operation.
macro_rules! passed {
    ($self:ident, $cx:ident, $method:ident($($argument:expr),*)) => {{
        let cx = Context { request: $self.request.load(Ordering::Relaxed), ..$cx.clone() };
        async move { Vfs::$method(&*$self.engine, &cx, $($argument),*).await }.boxed()
    }};
}

impl Vfs for Tagged {
    fn lookup<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        passed!(self, cx, lookup(parent, name))
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
        passed!(self, cx, make_with(parent, name, node, mode, umask, set))
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
        passed!(self, cx, create(parent, name, mode, umask, flags, exclusive))
    }

    fn link<'a>(&'a self, cx: &'a Context, ino: Ino, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        passed!(self, cx, link(ino, parent, name))
    }

    fn unlink<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, unlink(parent, name))
    }

    fn rmdir<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, rmdir(parent, name))
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
        passed!(self, cx, rename(parent, name, new_parent, new_name, mode))
    }

    fn readlink<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Bytes>> {
        passed!(self, cx, readlink(ino))
    }

    fn readdir<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> BoxFuture<'a, Result<Listing>> {
        passed!(self, cx, readdir(target, cookie, limit, with_attr))
    }

    fn getattr<'a>(&'a self, cx: &'a Context, target: Target) -> BoxFuture<'a, Result<Attr>> {
        passed!(self, cx, getattr(target))
    }

    fn setattr<'a>(&'a self, cx: &'a Context, target: Target, set: SetAttr) -> BoxFuture<'a, Result<Attr>> {
        passed!(self, cx, setattr(target, set))
    }

    fn access<'a>(&'a self, cx: &'a Context, ino: Ino, mask: AccessMask) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, access(ino, mask))
    }

    fn getxattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Bytes>> {
        passed!(self, cx, getxattr(ino, name))
    }

    fn setxattr<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        mode: XattrMode,
    ) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, setxattr(ino, name, value, mode))
    }

    fn listxattr<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        passed!(self, cx, listxattr(ino))
    }

    fn removexattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, removexattr(ino, name))
    }

    fn hold(&self, ino: Ino, count: u64) {
        self.engine.hold(ino, count);
    }

    fn unhold(&self, ino: Ino, count: u64) {
        self.engine.unhold(ino, count);
    }

    fn open<'a>(&'a self, cx: &'a Context, ino: Ino, flags: OpenFlags) -> BoxFuture<'a, Result<Handle>> {
        passed!(self, cx, open(ino, flags))
    }

    fn release<'a>(&'a self, cx: &'a Context, ino: Ino, handle: HandleId) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, release(ino, handle))
    }

    fn read<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, len: u32) -> BoxFuture<'a, Result<Bytes>> {
        passed!(self, cx, read(target, offset, len))
    }

    fn write<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, data: &'a [u8]) -> BoxFuture<'a, Result<u32>> {
        passed!(self, cx, write(target, offset, data))
    }

    fn flush<'a>(&'a self, cx: &'a Context, target: Target, owner: LockOwner) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, flush(target, owner))
    }

    fn fsync<'a>(&'a self, cx: &'a Context, target: Target, data_only: bool) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, fsync(target, data_only))
    }

    fn fallocate<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, fallocate(target, offset, len, mode))
    }

    fn seek<'a>(&'a self, cx: &'a Context, target: Target, from: SeekFrom) -> BoxFuture<'a, Result<u64>> {
        passed!(self, cx, seek(target, from))
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
        passed!(self, cx, copy_range(source, source_offset, target, target_offset, len))
    }

    fn test_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
    ) -> BoxFuture<'a, Result<Option<LockRequest>>> {
        passed!(self, cx, test_lock(ino, request))
    }

    fn set_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, set_lock(ino, request, wait))
    }

    fn drop_locks(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        self.engine.drop_locks(ino, space, owner);
    }

    fn statfs<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<StatFs>> {
        passed!(self, cx, statfs(ino))
    }

    fn sync<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        passed!(self, cx, sync())
    }

    fn watch(&self, door: DoorId, watcher: Arc<dyn Watcher>) -> Registration {
        self.engine.watch(door, watcher)
    }

    fn receipts(&self) -> Result<Vec<Receipt>> {
        self.engine.receipts()
    }

    fn attr_lifetime(&self) -> Duration {
        self.engine.attr_lifetime()
    }
}
