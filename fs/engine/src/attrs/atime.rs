//! Access times: written as seldom as `relatime` allows.

use fs_api::Time;
use objstore_base::Result;

use crate::change::Change;
use crate::config::Atime;
use crate::engine::Engine;
use crate::records::Inode;

/// An access time this old is renewed by any read.
const DAY_SECS: i64 = 24 * 60 * 60;

impl Engine {
    /// As [`Engine::note_access`], for a read that succeeds whatever becomes of the access time.
    pub(crate) fn renew_atime(&self, inode: &Inode) {
        if let Err(error) = self.note_access(inode) {
            tracing::debug!(%error, ino = inode.ino.0, "the access time stays as it was");
        }
    }

    /// Notes that `inode` was read, where its access time does not say so yet. The caller holds no stripe.
    pub(crate) fn note_access(&self, inode: &Inode) -> Result<()> {
        let now = self.now();
        if self.config.atime == Atime::Never || !is_due(inode, now) {
            return Ok(());
        }
        let _stripe = self.stripes.write_one(inode.ino);
        self.flush_gathered_locked(inode.ino)?;
        let mut inode = match self.inode_locked(inode.ino) {
            Ok(inode) if is_due(&inode, now) => inode,
            // Somebody was faster, or the inode is gone.
            _ => return Ok(()),
        };
        inode.atime = now;
        let mut change = Change::background();
        change.put_inode(&inode);
        self.apply(change).map(drop)
    }
}

fn is_due(inode: &Inode, now: Time) -> bool {
    let a = inode.atime;
    a < now && (a <= inode.mtime || a <= inode.ctime || now.secs - a.secs >= DAY_SECS)
}
