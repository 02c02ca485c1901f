//! Removing names: `unlink` and `rmdir`.

use fs_access::Victim;
use fs_api::{Context, Ino, Time};
use objstore_base::{Error, ErrorKind, Result};

use super::check_name;
use super::directory::remove_name;
use crate::change::Change;
use crate::engine::Engine;
use crate::orphans::Fate;
use crate::records::{Dentry, Inode};
use crate::stripes::StripeGuards;

/// Which of the two calls it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    Unlink,
    Rmdir,
}

impl Removal {
    const fn op(self) -> &'static str {
        match self {
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
        }
    }

    const fn victim(self) -> Victim {
        match self {
            Self::Unlink => Victim::NotDirectory,
            Self::Rmdir => Victim::Directory,
        }
    }

    fn check(self, name: &[u8]) -> Result<()> {
        let special = match (self, name) {
            (Self::Unlink, _) => ErrorKind::IsDirectory,
            (Self::Rmdir, b".") => ErrorKind::InvalidArgument,
            (Self::Rmdir, _) => ErrorKind::NotEmpty,
        };
        check_name(self.op(), name, special)
    }
}

impl Engine {
    pub(crate) async fn remove_entry(&self, cx: &Context, parent: Ino, name: &[u8], removal: Removal) -> Result<()> {
        let op = removal.op();
        let lsn = {
            let (_stripes, dentry) = self.lock_entry(removal, cx, parent, name)?;
            let mut directory = self.directory_locked(op, parent)?;
            let victim = self.inode_locked(dentry.ino)?;
            self.require_delete(cx, &directory, &victim, removal.victim())?;
            if victim.entries > 0 {
                return Err(Error::new(ErrorKind::NotEmpty, op));
            }
            let now = self.now();
            let mut change = Change::new(cx);
            remove_name(&mut directory, name, dentry, &mut change);
            directory.touch_mtime(now);
            change.put_inode(&directory);
            self.lose_name_locked(victim, now, &mut change)?;
            self.apply(change)?
        };
        self.settle(cx, lsn).await
    }

    /// `inode` has lost one name; a directory, its only one. The caller holds its stripe exclusively.
    pub(super) fn lose_name_locked(&self, mut inode: Inode, now: Time, change: &mut Change) -> Result<()> {
        let last = inode.is_dir() || inode.nlink <= 1;
        // Asked once: a door may tie the inode at any moment, and what is decided about its gathered writes and about
        // its record has to be the same.
        let fate = if last { self.orphans.fate(inode.ino) } else { Fate::Kept };
        if fate == Fate::Kept {
            self.flush_gathered_locked(inode.ino)?;
            inode = self.inode_locked(inode.ino)?;
        }
        inode.nlink = if last { 0 } else { inode.nlink - 1 };
        inode.touch_ctime(now);
        if last {
            return self.bury_locked(&inode, fate, change);
        }
        change.put_inode(&inode);
        Ok(())
    }

    /// The stripes of `parent` and of what `name` leads to, exclusively, with the entry.
    fn lock_entry(
        &self,
        removal: Removal,
        cx: &Context,
        parent: Ino,
        name: &[u8],
    ) -> Result<(StripeGuards<'_>, Dentry)> {
        let op = removal.op();
        loop {
            let seen = {
                let _stripe = self.stripes.read(parent);
                let directory = self.directory_locked(op, parent)?;
                self.require_search(cx, &directory)?;
                removal.check(name)?;
                self.existing_locked(op, parent, name)?
            };
            let stripes = self.stripes.write([parent, seen.ino]);
            // Between the two the name may have gone or led elsewhere; then the stripes are the wrong ones.
            if self.dentry_locked(parent, name)? == Some(seen) {
                return Ok((stripes, seen));
            }
        }
    }
}
