//! Opening and closing, `getattr`, `access`.

use fs_api::{AccessMask, Attr, Context, DoorId, FileKind, Handle, HandleId, Ino, OpenFlags, Target};
use objstore_base::{Error, ErrorKind, Result};

use super::permission::node;
use crate::change::Change;
use crate::engine::Engine;
use crate::handles::OpenFile;
use crate::records::Inode;

const OP: &str = "open";

impl Engine {
    pub(crate) fn attributes(&self, target: Target) -> Result<Attr> {
        self.handles.get(target)?;
        Ok(self.inode(target.ino)?.attr())
    }

    pub(crate) fn check_access(&self, cx: &Context, ino: Ino, mask: AccessMask) -> Result<()> {
        self.require(cx, &self.inode(ino)?, mask)
    }

    pub(crate) async fn open_inode(&self, cx: &Context, ino: Ino, flags: OpenFlags) -> Result<Handle> {
        // Also where it is not opened for writing, as on Linux; permission to write is asked for either way.
        if !flags.truncate {
            let _stripe = self.stripes.read(ino);
            let inode = self.inode_locked(ino)?;
            self.require_open(cx, &inode, flags)?;
            return Ok(self.new_handle_locked(cx, &inode, flags));
        }
        let (handle, lsn) = {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
            let mut inode = self.inode_locked(ino)?;
            self.require_open(cx, &inode, flags)?;
            let lsn = match inode.kind {
                FileKind::Regular => {
                    let mut change = Change::new(cx);
                    self.empty_locked(cx, &mut inode, &mut change)?;
                    Some(self.apply(change)?)
                }
                // Truncating what has no length of its own does nothing, as on Linux.
                _ => None,
            };
            (self.new_handle_locked(cx, &inode, flags), lsn)
        };
        if let Some(lsn) = lsn {
            self.settle(cx, lsn).await.inspect_err(|_| drop(self.close_handle(ino, handle.id)))?;
        }
        Ok(handle)
    }

    fn require_open(&self, cx: &Context, inode: &Inode, flags: OpenFlags) -> Result<()> {
        let acl = self.deciding_acl(cx, inode)?;
        fs_access::may_open(&cx.credentials, &node(inode), acl.as_ref(), &flags)?;
        match inode.kind {
            FileKind::Socket => Err(Error::new(ErrorKind::NoDeviceOrAddress, OP)),
            _ => Ok(()),
        }
    }

    /// A handle on `inode`, whose stripe the caller holds; permission has been given.
    pub(crate) fn new_handle_locked(&self, cx: &Context, inode: &Inode, flags: OpenFlags) -> Handle {
        self.orphans.tie_handle(inode.ino);
        Handle { id: self.handles.open(OpenFile { ino: inode.ino, flags, door: cx.door }), keep_cache: true }
    }

    /// Forgets a handle. The inode may be freed with it, in the background.
    pub(crate) fn close_handle(&self, ino: Ino, id: HandleId) -> Result<()> {
        let open = self.handles.close(ino, id)?;
        self.forget_handle(id);
        let settled = if open.flags.write { self.settle_gathered(ino) } else { Ok(()) };
        self.orphans.untie_handle(ino);
        settled
    }

    /// Forgets everything that `door` has open, holds or has locked.
    pub(crate) fn forget_door(&self, door: DoorId) {
        self.locks.drop_door(door);
        for (id, ino) in self.handles.of(door) {
            // What cannot be stored now stays gathered and is tried again.
            if let Err(error) = self.close_handle(ino, id) {
                tracing::warn!(%error, ino = ino.0, "what was written through a mount that is gone is not stored yet");
            }
        }
        self.orphans.leave(door);
    }

    /// Makes frames of what was gathered for `ino`.
    pub(crate) fn settle_gathered(&self, ino: Ino) -> Result<()> {
        let _stripe = self.stripes.write_one(ino);
        self.flush_gathered_locked(ino)
    }
}
