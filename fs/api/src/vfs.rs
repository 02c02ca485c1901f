//! [`Vfs`]: the filesystem as every door calls it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use objstore_base::{BoxFuture, Result};

use crate::{
    AccessMask, Attr, Context, Created, DoorId, FallocateMode, Handle, HandleId, Ino, Listing, LockOwner, LockRequest,
    LockSpace, LockWait, NewNode, OpenFlags, Receipt, Registration, RenameMode, SeekFrom, SetAttr, StatFs, Target,
    Watcher, XattrMode,
};

/// Inode-level operations, all of POSIX that a local filesystem offers.
///
/// - Permission is decided inside, on locked state, by `fs/access`, whatever the door checked before.
/// - Names are 1 to 255 bytes without `/` and NUL (`NameTooLong`, `InvalidArgument`); `.` and `..` are answered by
///   `lookup` and refused where a name is made or removed.
/// - A future that needs no waiting is ready at its first poll: a door may poll once on its own thread and hand the
///   rest to a task.
/// - Where the context asks for `Synced`, a change is durable when its future completes.
///
/// # Cancel
/// Dropping a future gives up the wait; the change it announced may have happened.
pub trait Vfs: Send + Sync {
    // Names ------------------------------------------------------------------------------------------------------

    fn lookup<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>>;

    /// Makes a new node under a free name and gives its attributes. `mode` has the caller's umask already applied
    /// unless the parent has a default ACL. The owner is the caller; the group too, or the parent's where that is
    /// setgid.
    fn make<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        node: NewNode,
        mode: u32,
        umask: u32,
    ) -> BoxFuture<'a, Result<Attr>> {
        self.make_with(cx, parent, name, node, mode, umask, SetAttr::default())
    }

    /// As `make`, and in the same change sets `set` as the maker may by `setattr`: nobody sees the one without the
    /// other, nor does a crash leave it. Who makes a file may size it whatever its mode.
    ///
    /// # Errors
    /// `InvalidArgument` where `set` has a mode: that is `mode`. Whatever is refused, no name is left.
    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and of setattr")]
    fn make_with<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: SetAttr,
    ) -> BoxFuture<'a, Result<Attr>>;

    /// Opens the regular file `name`, creating it where it is missing; with `exclusive`, `Exists` where it is there.
    #[expect(clippy::too_many_arguments, reason = "all of open(2) with O_CREAT")]
    fn create<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Created>>;

    /// Makes `name` one more name of `ino` (not of a directory).
    fn link<'a>(&'a self, cx: &'a Context, ino: Ino, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>>;

    /// Removes the name of anything but a directory. The inode lives on while it has names, handles or holds.
    fn unlink<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Removes an empty directory.
    fn rmdir<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// One atomic change, whatever the size of the directory; a replaced target never misses in between.
    fn rename<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        new_parent: Ino,
        new_name: &'a [u8],
        mode: RenameMode,
    ) -> BoxFuture<'a, Result<()>>;

    fn readlink<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Bytes>>;

    /// Up to `limit` entries after `cookie` (0 starts, with `.` and `..`), with attributes if asked.
    fn readdir<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> BoxFuture<'a, Result<Listing>>;

    // Inodes -----------------------------------------------------------------------------------------------------

    fn getattr<'a>(&'a self, cx: &'a Context, target: Target) -> BoxFuture<'a, Result<Attr>>;

    fn setattr<'a>(&'a self, cx: &'a Context, target: Target, set: SetAttr) -> BoxFuture<'a, Result<Attr>>;

    /// # Errors
    /// `AccessDenied` where any permission of `mask` is missing.
    fn access<'a>(&'a self, cx: &'a Context, ino: Ino, mask: AccessMask) -> BoxFuture<'a, Result<()>>;

    fn getxattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Bytes>>;

    fn setxattr<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        mode: XattrMode,
    ) -> BoxFuture<'a, Result<()>>;

    fn listxattr<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Vec<Vec<u8>>>>;

    fn removexattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// The client of `door` remembers `ino` `count` times more: it stays reachable by number after its last name went.
    fn hold(&self, door: DoorId, ino: Ino, count: u64);

    /// Gives back `count` holds.
    fn unhold(&self, door: DoorId, ino: Ino, count: u64);

    /// Whether the client of `door` remembers `ino`.
    fn holds(&self, door: DoorId, ino: Ino) -> bool;

    /// Everything that the client of `door` remembers, in no order.
    fn held(&self, door: DoorId) -> Vec<Ino>;

    /// Gives back all holds, handles and locks of `door`, whose client is gone without having done so; who waits there for
    /// a lock is interrupted.
    fn leave(&self, door: DoorId);

    // Files ------------------------------------------------------------------------------------------------------

    /// Opens a file or directory; permission for the flags is decided here.
    fn open<'a>(&'a self, cx: &'a Context, ino: Ino, flags: OpenFlags) -> BoxFuture<'a, Result<Handle>>;

    /// Closes a handle; its gathered bytes become frames, the inode goes if this was its last tie.
    fn release<'a>(&'a self, cx: &'a Context, ino: Ino, handle: HandleId) -> BoxFuture<'a, Result<()>>;

    /// Up to `len` bytes at `offset`; shorter only at the end of the file.
    fn read<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, len: u32) -> BoxFuture<'a, Result<Bytes>>;

    /// Writes all of `data` at `offset` (at the end for an append handle) and gives the bytes written.
    fn write<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, data: &'a [u8]) -> BoxFuture<'a, Result<u32>>;

    /// The last moment to tell the caller of `close` that its bytes cannot be kept. Drops the POSIX locks of `owner`.
    fn flush<'a>(&'a self, cx: &'a Context, target: Target, owner: LockOwner) -> BoxFuture<'a, Result<()>>;

    /// # Durability
    /// D2 for every write and attribute of `target` completed before the call; also for a directory's names.
    fn fsync<'a>(&'a self, cx: &'a Context, target: Target, data_only: bool) -> BoxFuture<'a, Result<()>>;

    fn fallocate<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>>;

    /// # Errors
    /// `NoDeviceOrAddress` past the end of the file.
    fn seek<'a>(&'a self, cx: &'a Context, target: Target, from: SeekFrom) -> BoxFuture<'a, Result<u64>>;

    /// Copies extents, not bytes; gives the bytes covered, shorter at the end of the source.
    fn copy_range<'a>(
        &'a self,
        cx: &'a Context,
        source: Target,
        source_offset: u64,
        target: Target,
        target_offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<u64>>;

    // Locks ------------------------------------------------------------------------------------------------------

    /// A lock that stands in the way of `request`, if there is one.
    fn test_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
    ) -> BoxFuture<'a, Result<Option<LockRequest>>>;

    /// Takes, changes or drops a lock. `Deadlock` where waiting could never end; `NoSpace` where there are too many, also
    /// for freeing the middle of one.
    fn set_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<()>>;

    /// Drops everything `owner` holds on `ino` in `space`.
    fn drop_locks(&self, ino: Ino, space: LockSpace, owner: LockOwner);

    // The whole --------------------------------------------------------------------------------------------------

    /// The space of the whole; where `ino` lies under a quota, what that leaves of it.
    fn statfs<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<StatFs>>;

    /// # Durability
    /// D2 for everything completed before the call (`syncfs`).
    fn sync<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<()>>;

    /// Tells `watcher` of every change made through a door other than `door`, until the registration is dropped.
    fn watch(&self, door: DoorId, watcher: Arc<dyn Watcher>) -> Registration;

    /// The receipts of all slots, in no order. Reads the index: for a start, not for a request.
    fn receipts(&self) -> Result<Vec<Receipt>>;

    /// How long a client may trust attributes and entries without asking again.
    fn attr_lifetime(&self) -> Duration;
}
