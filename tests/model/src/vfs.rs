//! The model as a [`Vfs`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fs_api::{
    AccessMask, Attr, Context, Created, DoorId, FallocateMode, Handle, HandleId, Ino, Listing, LockOwner, LockRequest,
    LockSpace, LockWait, NewNode, OpenFlags, Receipt, Registration, RenameMode, SeekFrom, SetAttr, StatFs, Target, Vfs,
    Watcher, XattrMode,
};
use futures::future::FutureExt;
use objstore_base::{BoxFuture, Result};

use crate::model::Model;

const SPACE_BYTES: u64 = 1 << 40;
const INODES: u64 = 1 << 32;

impl Vfs for Model {
    fn lookup<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        self.run(|m| m.lookup(cx, parent, name))
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
        self.change(cx, |m| m.make(cx, parent, name, node, mode, umask, set))
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
        self.change(cx, |m| m.create(cx, parent, name, mode, umask, flags, exclusive))
    }

    fn link<'a>(&'a self, cx: &'a Context, ino: Ino, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        self.change(cx, |m| m.link(cx, ino, parent, name))
    }

    fn unlink<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.change(cx, |m| m.unlink(cx, parent, name))
    }

    fn rmdir<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.change(cx, |m| m.rmdir(cx, parent, name))
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
        self.change(cx, |m| m.rename(cx, (parent, name), (new_parent, new_name), mode))
    }

    fn readlink<'a>(&'a self, _cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Bytes>> {
        self.run(|m| m.readlink(ino))
    }

    fn readdir<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> BoxFuture<'a, Result<Listing>> {
        self.run(|m| m.readdir(cx, target, cookie, limit, with_attr))
    }

    fn getattr<'a>(&'a self, _cx: &'a Context, target: Target) -> BoxFuture<'a, Result<Attr>> {
        self.run(|m| m.getattr(target))
    }

    fn setattr<'a>(&'a self, cx: &'a Context, target: Target, set: SetAttr) -> BoxFuture<'a, Result<Attr>> {
        self.change(cx, |m| m.setattr(cx, target, set))
    }

    fn access<'a>(&'a self, cx: &'a Context, ino: Ino, mask: AccessMask) -> BoxFuture<'a, Result<()>> {
        self.run(|m| m.access(cx, ino, mask))
    }

    fn getxattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Bytes>> {
        self.run(|m| m.getxattr(cx, ino, name))
    }

    fn setxattr<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        mode: XattrMode,
    ) -> BoxFuture<'a, Result<()>> {
        self.change(cx, |m| m.setxattr(cx, ino, name, value, mode))
    }

    fn listxattr<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        self.run(|m| m.listxattr(cx, ino))
    }

    fn removexattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.change(cx, |m| m.removexattr(cx, ino, name))
    }

    fn hold(&self, door: DoorId, ino: Ino, count: u64) {
        *self.inner.lock().holds.entry((ino, door.0)).or_default() += count;
    }

    fn unhold(&self, door: DoorId, ino: Ino, count: u64) {
        let mut inner = self.inner.lock();
        let left = inner.holds.remove(&(ino, door.0)).unwrap_or_default().saturating_sub(count);
        if left > 0 {
            inner.holds.insert((ino, door.0), left);
        }
        inner.reap(ino);
    }

    fn holds(&self, door: DoorId, ino: Ino) -> bool {
        self.inner.lock().holds.contains_key(&(ino, door.0))
    }

    fn held(&self, door: DoorId) -> Vec<Ino> {
        self.inner.lock().holds.keys().filter(|(_, holder)| *holder == door.0).map(|(ino, _)| *ino).collect()
    }

    fn leave(&self, door: DoorId) {
        self.locks.drop_door(door);
        self.inner.lock().leave(door);
    }

    fn open<'a>(&'a self, cx: &'a Context, ino: Ino, flags: OpenFlags) -> BoxFuture<'a, Result<Handle>> {
        self.run(|m| m.open_inode(cx, ino, flags))
    }

    fn release<'a>(&'a self, _cx: &'a Context, ino: Ino, handle: HandleId) -> BoxFuture<'a, Result<()>> {
        self.run(|m| m.release(ino, handle))
    }

    fn read<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, len: u32) -> BoxFuture<'a, Result<Bytes>> {
        self.run(|m| m.read(cx, target, offset, len))
    }

    fn write<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, data: &'a [u8]) -> BoxFuture<'a, Result<u32>> {
        self.run(|m| m.write(cx, target, offset, data))
    }

    fn flush<'a>(&'a self, _cx: &'a Context, target: Target, owner: LockOwner) -> BoxFuture<'a, Result<()>> {
        self.locks.drop_owner(target.ino, LockSpace::Posix, owner);
        self.run(|m| m.handle(target).map(drop))
    }

    fn fsync<'a>(&'a self, _cx: &'a Context, target: Target, _data_only: bool) -> BoxFuture<'a, Result<()>> {
        self.run(|m| m.handle(target).map(drop))
    }

    fn fallocate<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>> {
        self.run(|m| m.fallocate(cx, target, offset, len, mode))
    }

    fn seek<'a>(&'a self, cx: &'a Context, target: Target, from: SeekFrom) -> BoxFuture<'a, Result<u64>> {
        self.run(|m| m.seek(cx, target, from))
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
        self.run(|m| m.copy_range(cx, source, source_offset, target, target_offset, len))
    }

    fn test_lock<'a>(
        &'a self,
        _cx: &'a Context,
        ino: Ino,
        request: LockRequest,
    ) -> BoxFuture<'a, Result<Option<LockRequest>>> {
        self.run(|m| m.state.inode(ino).map(|_| self.locks.test(ino, request)))
    }

    fn set_lock<'a>(
        &'a self,
        _cx: &'a Context,
        ino: Ino,
        request: LockRequest,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            self.inner.lock().state.inode(ino).map(drop)?;
            self.locks.set(ino, request, wait).await
        }
        .boxed()
    }

    fn drop_locks(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        self.locks.drop_owner(ino, space, owner);
    }

    fn statfs<'a>(&'a self, _cx: &'a Context, _ino: Ino) -> BoxFuture<'a, Result<StatFs>> {
        self.run(|m| {
            let used = m.state.inodes.len() as u64;
            Ok(StatFs {
                bytes_total: SPACE_BYTES,
                bytes_free: SPACE_BYTES,
                inodes_used: used,
                inodes_free: INODES - used,
            })
        })
    }

    fn sync<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        self.run(|_| Ok(()))
    }

    /// Nobody is told: the model has one door.
    fn watch(&self, _door: DoorId, _watcher: Arc<dyn Watcher>) -> Registration {
        Registration::new(|| {})
    }

    fn receipts(&self) -> Result<Vec<Receipt>> {
        Ok(self.inner.lock().receipts.values().cloned().collect())
    }

    fn attr_lifetime(&self) -> Duration {
        Duration::ZERO
    }
}
