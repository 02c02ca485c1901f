//! Opening files, and their bytes.

use bytes::Bytes;
use fs_access::{READ, WRITE};
use fs_api::{
    AccessMask, Context, FILE_BYTES_MAX, FallocateMode, FileKind, Handle, HandleId, Ino, OpenFlags, SeekFrom, Target,
};
use objstore_base::{Error, ErrorKind, Result};

use crate::model::Inner;

fn fail<T>(kind: ErrorKind, op: &'static str) -> Result<T> {
    Err(Error::new(kind, op))
}

fn end_of(op: &'static str, offset: u64, len: u64) -> Result<u64> {
    match offset.checked_add(len) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(end),
        _ => fail(ErrorKind::FileTooLarge, op),
    }
}

impl Inner {
    pub(crate) fn open_inode(&mut self, cx: &Context, ino: Ino, flags: OpenFlags) -> Result<Handle> {
        let inode = self.state.inode(ino)?;
        let node = inode.node();
        fs_access::may_open(&cx.credentials, &node, inode.acl().as_ref(), &flags)?;
        if flags.truncate && node.kind == FileKind::Regular {
            self.state.content_mut(ino)?.truncate(0);
            self.touch_content(cx, ino)?;
        }
        Ok(self.open(cx.door, ino, flags))
    }

    /// What every change of content by this caller does to the rest of the inode.
    fn touch_content(&mut self, cx: &Context, ino: Ino) -> Result<()> {
        let now = self.state.now();
        let inode = self.state.inode_mut(ino)?;
        inode.stored.mode = fs_access::mode_after_write(&cx.credentials, &inode.node());
        inode.touch_mtime(now);
        Ok(())
    }

    pub(crate) fn release(&mut self, ino: Ino, handle: HandleId) -> Result<()> {
        self.handle(Target::opened(ino, handle))?;
        self.handles.remove(&handle);
        self.reap(ino);
        Ok(())
    }

    /// Whether `target` may be used as `mask` says: by its handle's flags, or by permission. Gives the handle's flags.
    fn require(&self, cx: &Context, target: Target, mask: AccessMask) -> Result<OpenFlags> {
        let open = self.handle(target)?;
        match open {
            Some(flags) if mask.read && !(flags.read || flags.execute) => {
                return fail(ErrorKind::BadHandle, "use file");
            }
            Some(flags) if mask.write && !flags.write => return fail(ErrorKind::BadHandle, "use file"),
            _ => {}
        }
        self.state.inode(target.ino)?.content()?;
        if open.is_none() {
            self.check(cx, target.ino, mask)?;
        }
        Ok(open.unwrap_or_default())
    }

    pub(crate) fn read(&self, cx: &Context, target: Target, offset: u64, len: u32) -> Result<Bytes> {
        self.require(cx, target, READ)?;
        let content = self.state.inode(target.ino)?.content()?;
        Ok(content.read(offset..offset.saturating_add(len.into())).into())
    }

    pub(crate) fn write(&mut self, cx: &Context, target: Target, offset: u64, data: &[u8]) -> Result<u32> {
        const OP: &str = "write";
        let flags = self.require(cx, target, WRITE)?;
        let Ok(written) = u32::try_from(data.len()) else { return fail(ErrorKind::InvalidArgument, OP) };
        if written == 0 {
            return Ok(0);
        }
        let content = self.state.content_mut(target.ino)?;
        let offset = if flags.append { content.size } else { offset };
        end_of(OP, offset, written.into())?;
        content.write(offset, data);
        self.touch_content(cx, target.ino)?;
        Ok(written)
    }

    pub(crate) fn fallocate(
        &mut self,
        cx: &Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> Result<()> {
        const OP: &str = "fallocate";
        self.require(cx, target, WRITE)?;
        if len == 0 {
            return fail(ErrorKind::InvalidArgument, OP);
        }
        let end = end_of(OP, offset, len)?;
        let content = self.state.content_mut(target.ino)?;
        let keep_size = match mode {
            FallocateMode::Allocate { keep_size } => {
                content.reserve(offset..end);
                keep_size
            }
            FallocateMode::PunchHole => {
                content.punch(offset..end);
                true
            }
            FallocateMode::ZeroRange { keep_size } => {
                content.zero(offset..end);
                keep_size
            }
        };
        if !keep_size {
            content.size = content.size.max(end);
        }
        self.touch_content(cx, target.ino)
    }

    pub(crate) fn seek(&self, cx: &Context, target: Target, from: SeekFrom) -> Result<u64> {
        if self.handle(target)?.is_none() {
            self.require(cx, target, READ)?;
        }
        let content = self.state.inode(target.ino)?.content()?;
        match from {
            SeekFrom::Data(at) | SeekFrom::Hole(at) if at >= content.size => fail(ErrorKind::NoDeviceOrAddress, "seek"),
            SeekFrom::Data(at) => content.seek_data(at).map_or_else(|| fail(ErrorKind::NoDeviceOrAddress, "seek"), Ok),
            SeekFrom::Hole(at) => Ok(content.seek_hole(at)),
        }
    }

    pub(crate) fn copy_range(
        &mut self,
        cx: &Context,
        source: Target,
        source_offset: u64,
        target: Target,
        target_offset: u64,
        len: u64,
    ) -> Result<u64> {
        const OP: &str = "copy file range";
        self.require(cx, source, READ)?;
        if self.require(cx, target, WRITE)?.append {
            return fail(ErrorKind::BadHandle, OP);
        }
        let content = self.state.inode(source.ino)?.content()?.clone();
        let len = len.min(content.size.saturating_sub(source_offset));
        let target_end = end_of(OP, target_offset, len)?;
        if len == 0 {
            return Ok(0);
        }
        let range = source_offset..source_offset + len;
        if source.ino == target.ino && range.start < target_end && target_offset < range.end {
            return fail(ErrorKind::InvalidArgument, OP);
        }
        self.state.content_mut(target.ino)?.copy_from(&content, range, target_offset);
        self.touch_content(cx, target.ino)?;
        Ok(len)
    }
}
