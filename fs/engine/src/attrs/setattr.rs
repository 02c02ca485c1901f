//! Changing attributes: all that one call asks for in one change, with Linux's rules for who may.

use cache_journal::Lsn;
use fs_api::{AccessMask, Attr, Context, FILE_BYTES_MAX, FileKind, SetAttr, SetTime, Target, Time};
use objstore_base::{Error, ErrorKind, Result};

use crate::change::Change;
use crate::engine::Engine;
use crate::handles::OpenFile;
use crate::records::Inode;

const OP: &str = "set attributes";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;
const WRITE: AccessMask = AccessMask { read: false, write: true, execute: false };

impl Engine {
    pub(crate) async fn set_attributes(&self, cx: &Context, target: Target, set: SetAttr) -> Result<Attr> {
        if set == SetAttr::default() {
            return self.attributes(target);
        }
        let (attr, lsn) = self.set_attributes_now(cx, target, set)?;
        self.settle(cx, lsn).await?;
        Ok(attr)
    }

    fn set_attributes_now(&self, cx: &Context, target: Target, set: SetAttr) -> Result<(Attr, Lsn)> {
        let open = self.handles.get(target)?;
        let _stripe = self.stripes.write_one(target.ino);
        self.flush_gathered_locked(target.ino)?;
        let mut inode = self.inode_locked(target.ino)?;
        self.require_setattr(cx, &inode, &set, open)?;
        let mut change = Change::new(cx);
        if let Some(size) = set.size {
            self.truncate_locked(cx, &mut inode, size, &mut change)?;
        }
        change_owner(&mut inode, &set);
        if let Some(mode) = set.mode {
            self.change_mode(cx, &mut inode, mode, &mut change)?;
        }
        if set.kill_suid_sgid {
            drop_suid_sgid(&mut inode);
        }
        let now = self.now();
        inode.touch_ctime(now);
        change_times(&mut inode, &set, now);
        change.put_inode(&inode);
        Ok((inode.attr(), self.apply(change)?))
    }

    /// Sets the length of a regular file, whose stripe is held and whose gathered writes are settled: a change of
    /// content by this caller.
    pub(crate) fn truncate_locked(
        &self, cx: &Context, inode: &mut Inode, size: u64, change: &mut Change,
    ) -> Result<()> {
        self.resize_locked(inode, size, change)?;
        if !cx.credentials.is_privileged() {
            drop_suid_sgid(inode);
        }
        inode.touch_mtime(self.now());
        Ok(())
    }

    /// Who may, in the order in which Linux asks.
    fn require_setattr(&self, cx: &Context, inode: &Inode, set: &SetAttr, open: Option<OpenFile>) -> Result<()> {
        if let Some(size) = set.size {
            self.require_truncate(cx, inode, size, open)?;
        }
        self.require_chown(cx, inode, set.uid, set.gid)?;
        if set.mode.is_some_and(|mode| !self.only_drops_suid_sgid(cx, inode, mode)) {
            self.require_owner(cx, inode)?;
        }
        let times = [set.atime, set.mtime];
        if times.iter().flatten().any(|t| matches!(t, SetTime::To(_))) {
            return self.require_owner(cx, inode);
        }
        // With a new length the clock's mtime comes along and needs no more than that.
        if times.iter().any(Option::is_some) && set.size.is_none() && self.require_owner(cx, inode).is_err() {
            return self.require(cx, inode, WRITE);
        }
        Ok(())
    }

    fn require_truncate(&self, cx: &Context, inode: &Inode, size: u64, open: Option<OpenFile>) -> Result<()> {
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Error::new(ErrorKind::IsDirectory, OP)),
            _ => return Err(Error::new(ErrorKind::InvalidArgument, OP)),
        }
        match open {
            Some(open) if open.flags.write => {}
            Some(_) => return Err(Error::new(ErrorKind::InvalidArgument, OP).context("the file is open for reading")),
            None => self.require(cx, inode, WRITE)?,
        }
        if size > FILE_BYTES_MAX { Err(Error::new(ErrorKind::FileTooLarge, OP)) } else { Ok(()) }
    }

    /// Whether `mode` is what the kernel sends for a write by someone who is not the owner: the same bits without
    /// setuid and setgid. Whoever may write could have it by writing.
    fn only_drops_suid_sgid(&self, cx: &Context, inode: &Inode, mode: u32) -> bool {
        let (old, new) = (inode.mode, mode & 0o7777);
        let drops = inode.kind == FileKind::Regular
            && old != new
            && (old & !(SETUID | SETGID)) == (new & !(SETUID | SETGID))
            && new & !old == 0;
        drops && self.require(cx, inode, WRITE).is_ok()
    }

    fn change_mode(&self, cx: &Context, inode: &mut Inode, mode: u32, change: &mut Change) -> Result<()> {
        let mut mode = mode & 0o7777;
        if inode.kind == FileKind::Symlink {
            return Err(Error::new(ErrorKind::NotSupported, OP).context("symbolic links have no mode of their own"));
        }
        if mode & SETGID != 0 && !cx.credentials.is_privileged() && !cx.credentials.in_group(inode.gid) {
            mode &= !SETGID;
        }
        inode.mode = mode;
        self.chmod_acl(inode, change)
    }
}

/// New owner and group; setuid and setgid go with the old ones, root's included, as on Linux.
fn change_owner(inode: &mut Inode, set: &SetAttr) {
    if set.uid.is_none() && set.gid.is_none() {
        return;
    }
    inode.uid = set.uid.unwrap_or(inode.uid);
    inode.gid = set.gid.unwrap_or(inode.gid);
    if !inode.is_dir() {
        drop_suid_sgid(inode);
    }
}

/// What a write by an unprivileged caller does: setuid goes; setgid where it means "run as the group", not where it
/// stands for mandatory locking.
pub(crate) fn drop_suid_sgid(inode: &mut Inode) {
    if inode.is_dir() {
        return;
    }
    inode.mode &= !SETUID;
    if inode.mode & GROUP_EXECUTE != 0 {
        inode.mode &= !SETGID;
    }
}

fn change_times(inode: &mut Inode, set: &SetAttr, now: Time) {
    let resolve = |time: SetTime| match time {
        SetTime::Now => now,
        SetTime::To(time) => time,
    };
    if let Some(time) = set.atime {
        inode.atime = resolve(time);
    }
    match set.mtime {
        // The clock's time, but never before a change that was.
        Some(SetTime::Now) => inode.mtime = inode.ctime,
        Some(SetTime::To(time)) => inode.mtime = time,
        None => {}
    }
}
