//! Hearing of the changes that other doors make.
//!
//! A door whose clients cache (the kernel behind a mount) watches. It is told of every change made through another
//! door, after that is visible and before its maker has the answer; the door's own changes it knows already.

use std::ops::Range;

use objstore_base::BoxFuture;

use crate::Ino;

/// Tells the doors of one process apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DoorId(pub u32);

impl DoorId {
    /// A door that does not watch: its changes are told to all that do.
    pub const UNWATCHED: Self = Self(0);
}

/// One change that every reader sees now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Size, times, mode, owner, links, extended attributes.
    Attributes(Ino),
    /// Bytes, and attributes with them. The range may reach beyond the end of the file.
    Content { ino: Ino, range: Range<u64> },
    /// What the name leads to, if anything.
    Name { parent: Ino, name: &'a [u8] },
}

pub trait Watcher: Send + Sync {
    /// Takes note, and returns at once: the filesystem holds locks while it tells.
    fn notice(&self, notice: Notice<'_>);

    /// What a maker of changes waits for before it goes on, where the watcher is far behind.
    fn behind(&self) -> Option<BoxFuture<'static, ()>>;
}

/// Watches until it is dropped.
pub struct Registration(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Registration {
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}
