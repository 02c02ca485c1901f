//! Open handles: what an id stands for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fs_api::{DoorId, HandleId, Ino, OpenFlags, Target};
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::Mutex;

const SHARDS: usize = 32;

/// One open of one inode; permission for its flags has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFile {
    pub(crate) ino: Ino,
    pub(crate) flags: OpenFlags,
    pub(crate) door: DoorId,
}

pub(crate) struct Handles {
    next: AtomicU64,
    shards: [Mutex<HashMap<HandleId, OpenFile>>; SHARDS],
}

impl Handles {
    pub(crate) fn new() -> Self {
        Self { next: AtomicU64::new(1), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, id: HandleId) -> &Mutex<HashMap<HandleId, OpenFile>> {
        &self.shards[(id.0 % SHARDS as u64) as usize]
    }

    pub(crate) fn open(&self, file: OpenFile) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        self.shard(id).lock().insert(id, file);
        id
    }

    /// Everything that is open through `door`.
    pub(crate) fn of(&self, door: DoorId) -> Vec<(HandleId, Ino)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            found.extend(shard.iter().filter(|(_, file)| file.door == door).map(|(id, file)| (*id, file.ino)));
        }
        found
    }

    /// What `target` was opened as; `None` where it names an inode only.
    ///
    /// # Errors
    /// `BadHandle` where the handle is not open, or is one of another inode.
    pub(crate) fn get(&self, target: Target) -> Result<Option<OpenFile>> {
        let Some(id) = target.handle else { return Ok(None) };
        let found = self.shard(id).lock().get(&id).copied();
        found.filter(|open| open.ino == target.ino).map(Some).ok_or_else(|| bad_handle(target.ino))
    }

    pub(crate) fn close(&self, ino: Ino, id: HandleId) -> Result<OpenFile> {
        let mut shard = self.shard(id).lock();
        match shard.get(&id) {
            Some(open) if open.ino == ino => shard.remove(&id).ok_or_else(|| bad_handle(ino)),
            _ => Err(bad_handle(ino)),
        }
    }
}

fn bad_handle(ino: Ino) -> Error {
    Error::new(ErrorKind::BadHandle, "use open file").entity(ino)
}

/// A file that the caller may use as it asked to: what `data` is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileUse {
    pub(crate) ino: Ino,
    pub(crate) handle: Option<HandleId>,
    /// Writes go to the end of the file.
    pub(crate) append: bool,
    /// Writes are durable when they return.
    pub(crate) sync: bool,
}
