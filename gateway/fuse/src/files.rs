//! Open files: open, read, write, flush, release, sync, allocate, seek, copy.

use std::sync::Arc;

use bytes::Bytes;
use fs_api::{Context, Credentials, FallocateMode, Handle, HandleId, LockOwner, LockSpace, SeekFrom, Target};
use fuser::{
    Errno, FileHandle, FopenFlags, INodeNo, OpenFlags, ReplyData, ReplyEmpty, ReplyLseek, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use nix::libc;
use tokio::sync::OwnedSemaphorePermit;

use crate::attributes::target;
use crate::convert::{ino, open_flags};
use crate::door::{Door, Operation, forget_attributes};
use crate::errno::errno;
use crate::threads::Way;

/// Longest copy answered at once: the reply counts in 32 bits; whole pages, so that the caller goes on aligned.
const COPY_BYTES_MAX: u64 = 0xffff_f000;

/// Where one side of a copy is.
pub(crate) struct Place {
    pub(crate) number: INodeNo,
    pub(crate) handle: FileHandle,
    pub(crate) offset: u64,
}

/// What an open tells the kernel. Direct writes of one file may run in parallel: the filesystem orders them.
pub(crate) fn fopen_flags(handle: Handle) -> FopenFlags {
    let cached = if handle.keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
    cached | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}

impl Door {
    pub(crate) fn open_file(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (cx, operation) = self.enter(request, "open", number);
        let (vfs, flags, notifier) = (Arc::clone(&self.vfs), open_flags(flags.0), Arc::clone(&self.notifier));
        // Truncating takes setuid and setgid away from an unprivileged caller's file; the kernel expects only a
        // change of size.
        let mode_may_change = flags.truncate && !cx.credentials.is_privileged();
        let work = async move { vfs.open(&cx, ino(number), flags).await };
        self.serve(operation, reply, work, move |reply, handle| {
            if mode_may_change {
                forget_attributes(notifier.get(), number);
            }
            reply.opened(FileHandle(handle.id.0), fopen_flags(handle));
        });
    }

    pub(crate) fn read_file(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
        reply: ReplyData,
    ) {
        let (cx, operation) = self.enter(request, "read", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.read(&cx, target(number, Some(handle)), offset, len).await };
        let operation = operation.range(offset, u64::from(len));
        self.serve(operation, reply, work, |reply, bytes| reply.data(&bytes));
    }

    /// A write borrows the session's buffer, so that the bytes are copied once, into the journal; see [`Threads`] for
    /// what becomes of one that has to wait.
    ///
    /// [`Threads`]: crate::threads::Threads
    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn write_file(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        reply: ReplyWrite,
    ) {
        let (mut cx, operation) = self.enter(request, "write", number);
        let operation = operation.range(offset, data.len() as u64);
        let mut target = target(number, Some(handle));
        if flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            // Pages of a shared mapping, written by the kernel through whichever handle it finds: the place is theirs
            // (not the end, as for an append handle), and permission was decided when they were mapped.
            target = Target::inode(ino(number));
            cx.credentials = Credentials::root();
        }
        let mode_may_change = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let _writing = match self.threads.write(data.len()) {
            Some(Way::Here(writing)) => writing,
            Some(Way::Copied(memory)) => {
                let data = Bytes::copy_from_slice(data);
                return self.write_copied(cx, operation, target, (data, memory), mode_may_change, reply);
            }
            // What the others hear at the end of their patience.
            None => return reply.error(Errno::ENOSPC),
        };
        let Some(result) = self.wait(operation, self.vfs.write(&cx, target, offset, data)) else {
            return reply.error(Errno::EIO);
        };
        if mode_may_change {
            self.forget_attributes(number);
        }
        self.log(operation, result.as_ref().err());
        match result {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write_copied(
        &self,
        cx: Context,
        operation: Operation,
        target: Target,
        (data, memory): (Bytes, OwnedSemaphorePermit),
        mode_may_change: bool,
        reply: ReplyWrite,
    ) {
        let (vfs, notifier) = (Arc::clone(&self.vfs), Arc::clone(&self.notifier));
        let work = async move {
            let written = vfs.write(&cx, target, operation.offset, &data).await;
            drop((data, memory));
            written
        };
        self.serve(operation, reply, work, move |reply, written| {
            if mode_may_change {
                forget_attributes(notifier.get(), INodeNo(operation.ino));
            }
            reply.written(written);
        });
    }

    pub(crate) fn flush_file(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        owner: u64,
        reply: ReplyEmpty,
    ) {
        let (cx, operation) = self.enter(request, "flush", number);
        // Before the locks go: whoever takes one after the answer is noted after this.
        self.lock_handles.flushed(ino(number), owner);
        let (vfs, owner) = (Arc::clone(&self.vfs), LockOwner { door: self.number, owner });
        let work = async move { vfs.flush(&cx, target(number, Some(handle)), owner).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn release_handle(
        &self,
        request: &Request,
        op: &'static str,
        number: INodeNo,
        handle: FileHandle,
        reply: ReplyEmpty,
    ) {
        let (cx, operation) = self.enter(request, op, number);
        for (ino, owner) in self.lock_handles.released(HandleId(handle.0)) {
            self.vfs.drop_locks(ino, LockSpace::Posix, LockOwner { door: self.number, owner });
        }
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.release(&cx, ino(number), HandleId(handle.0)).await };
        self.serve(operation, reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn sync_handle(
        &self,
        request: &Request,
        op: &'static str,
        number: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let (cx, operation) = self.enter(request, op, number);
        let target = target(number, Some(handle));
        if self.threads.are_busy() {
            let vfs = Arc::clone(&self.vfs);
            let work = async move { vfs.fsync(&cx, target, data_only).await };
            return self.serve(operation, reply, work, |reply, ()| reply.ok());
        }
        // On this thread: no other has to wake up for the sync.
        let Some(result) = self.wait(operation, self.vfs.fsync(&cx, target, data_only)) else {
            return reply.error(Errno::EIO);
        };
        self.log(operation, result.as_ref().err());
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the request's own fields")]
    pub(crate) fn allocate_range(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let mode = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => FallocateMode::Allocate { keep_size },
            libc::FALLOC_FL_PUNCH_HOLE if keep_size => FallocateMode::PunchHole,
            libc::FALLOC_FL_ZERO_RANGE => FallocateMode::ZeroRange { keep_size },
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        let (cx, operation) = self.enter(request, "fallocate", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.fallocate(&cx, target(number, Some(handle)), offset, len, mode).await };
        self.serve(operation.range(offset, len), reply, work, |reply, ()| reply.ok());
    }

    pub(crate) fn seek_file(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let from = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return reply.error(Errno::EINVAL),
        };
        let (cx, operation) = self.enter(request, "lseek", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.seek(&cx, target(number, Some(handle)), from).await };
        self.serve(operation.range(offset, 0), reply, work, |reply, found| match i64::try_from(found) {
            Ok(found) => reply.offset(found),
            Err(_) => reply.error(Errno::EOVERFLOW),
        });
    }

    pub(crate) fn copy_range(&self, request: &Request, from: Place, to: Place, len: u64, reply: ReplyWrite) {
        let (cx, operation) = self.enter(request, "copy_file_range", to.number);
        let len = len.min(COPY_BYTES_MAX);
        let operation = operation.range(to.offset, len);
        let vfs = Arc::clone(&self.vfs);
        let work = async move {
            let source = target(from.number, Some(from.handle));
            vfs.copy_range(&cx, source, from.offset, target(to.number, Some(to.handle)), to.offset, len).await
        };
        self.serve(operation, reply, work, |reply, copied| match u32::try_from(copied) {
            Ok(copied) => reply.written(copied),
            Err(_) => reply.error(Errno::EOVERFLOW),
        });
    }
}
