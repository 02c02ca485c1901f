//! [`Kernel`]: what the kernel remembers of one mount, as far as it has to be known here.
//!
//! Every inode that it was told of is held, until it forgets it or its mount is gone: then nobody gives anything back,
//! and what it held, had open and had locked ends with this value.

use std::sync::Arc;
use std::time::Duration;

use fs_api::{Attr, DoorId, FileKind, Ino, ROOT_INO, Time, Vfs};
use fuser::{Errno, ReplyEntry};
use objstore_env::Clock;

use crate::coherence::{Coherence, Moment};
use crate::convert::attributes;
use crate::door::GENERATION;

pub(crate) struct Kernel {
    vfs: Arc<dyn Vfs>,
    door: DoorId,
    coherence: Arc<Coherence>,
    clock: Arc<dyn Clock>,
}

impl Kernel {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, door: DoorId, coherence: Arc<Coherence>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { vfs, door, coherence, clock })
    }

    /// To be taken before attributes are read that [`Kernel::learns`] is then asked about.
    pub(crate) fn moment(&self) -> Moment {
        self.coherence.moment()
    }

    /// The kernel is about to be told of `ino` by a name, with attributes read after `since`; gives how long it may trust
    /// them. It cannot be made to forget what it does not have yet: attributes that another door has changed meanwhile it
    /// must not trust at all. The hold comes first: it may forget as soon as it has the reply.
    pub(crate) fn learns(&self, ino: Ino, since: Moment) -> Duration {
        self.vfs.hold(self.door, ino, 1);
        self.coherence.learned(ino, self.clock.monotonic());
        if self.coherence.is_noted(ino, since) { Duration::ZERO } else { self.vfs.attr_lifetime() }
    }

    pub(crate) fn forgets(&self, ino: Ino, count: u64) {
        self.vfs.unhold(self.door, ino, count);
    }

    /// Whether it knows `ino`, or is about to.
    pub(crate) fn knows(&self, ino: Ino) -> bool {
        // It asked for no name of the root and never forgets it.
        ino == ROOT_INO || self.vfs.holds(self.door, ino)
    }

    /// Everything that it knows.
    pub(crate) fn known(&self) -> Vec<Ino> {
        let mut known = self.vfs.held(self.door);
        known.push(ROOT_INO);
        known
    }

    /// Answers with `attr`, read after `since`, as a directory entry.
    pub(crate) fn reply_entry(&self, reply: ReplyEntry, attr: &Attr, since: Moment) {
        let lifetime = self.learns(attr.ino, since);
        reply.entry(&lifetime, &attributes(attr), GENERATION);
    }

    /// An entry that says "no such name" and may be cached as long as a name may.
    pub(crate) fn reply_no_entry(&self, reply: ReplyEntry) {
        let lifetime = self.vfs.attr_lifetime();
        if lifetime.is_zero() {
            return reply.error(Errno::ENOENT);
        }
        let nothing = Attr {
            ino: Ino(0),
            kind: FileKind::Regular,
            mode: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            btime: Time::default(),
            change: 0,
        };
        reply.entry(&lifetime, &attributes(&nothing), GENERATION);
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.vfs.leave(self.door);
    }
}
