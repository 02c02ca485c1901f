//! [`Model`]: the state, and what processes hold of it.

use std::collections::BTreeMap;

use fs_access::Node;
use fs_api::{Context, DoorId, Handle, HandleId, Ino, OpenFlags, ROOT_INO, Receipt, Target};
use futures::future::{FutureExt, ready};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::locks::LockTable;
use crate::state::State;

/// A filesystem in memory, to compare others with.
#[derive(Debug)]
pub struct Model {
    pub(crate) inner: Mutex<Inner>,
    pub(crate) locks: LockTable,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) ino: Ino,
    pub(crate) flags: OpenFlags,
    pub(crate) door: DoorId,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) handles: BTreeMap<HandleId, Open>,
    /// By inode and door.
    pub(crate) holds: BTreeMap<(Ino, u32), u64>,
    pub(crate) receipts: BTreeMap<u32, Receipt>,
    next_handle: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty filesystem whose root is root's, with mode 0755.
    pub fn new() -> Self {
        Self::with_root(0, 0, 0o755)
    }

    pub fn with_root(uid: u32, gid: u32, mode: u32) -> Self {
        Self::from_state(State::new(uid, gid, mode))
    }

    /// The filesystem as it was in `state`, as after a crash: nothing is open, locked or held, and what had no name is
    /// gone.
    pub fn from_state(state: State) -> Self {
        let inner = Inner {
            state: state.without_orphans(),
            handles: BTreeMap::new(),
            holds: BTreeMap::new(),
            receipts: BTreeMap::new(),
            next_handle: 1,
        };
        Self { inner: Mutex::new(inner), locks: LockTable::default() }
    }

    /// What a crash at this moment would leave, if everything done so far survived it.
    pub fn snapshot(&self) -> State {
        self.inner.lock().state.clone().without_orphans()
    }

    /// Runs an operation to its end; nothing in the model waits but locks.
    pub(crate) fn run<'a, T: Send + 'a>(
        &self,
        operation: impl FnOnce(&mut Inner) -> Result<T>,
    ) -> BoxFuture<'a, Result<T>> {
        ready(operation(&mut self.inner.lock())).boxed()
    }

    /// As [`Model::run`], for what changes names or attributes: a success leaves the receipt.
    pub(crate) fn change<'a, T: Send + 'a>(
        &self,
        cx: &Context,
        operation: impl FnOnce(&mut Inner) -> Result<T>,
    ) -> BoxFuture<'a, Result<T>> {
        let mut inner = self.inner.lock();
        let done = operation(&mut inner);
        if let (Ok(_), Some(receipt)) = (&done, &cx.receipt) {
            inner.receipts.insert(receipt.slot, Receipt::clone(receipt));
        }
        ready(done).boxed()
    }
}

impl Inner {
    pub(crate) fn open(&mut self, door: DoorId, ino: Ino, flags: OpenFlags) -> Handle {
        let id = HandleId(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(id, Open { ino, flags, door });
        Handle { id, keep_cache: true }
    }

    /// What `target` was opened as, if it names a handle.
    pub(crate) fn handle(&self, target: Target) -> Result<Option<OpenFlags>> {
        let Some(id) = target.handle else { return Ok(None) };
        match self.handles.get(&id) {
            Some(open) if open.ino == target.ino => Ok(Some(open.flags)),
            _ => Err(Error::new(ErrorKind::BadHandle, "use handle").entity(target.ino)),
        }
    }

    /// Gives back what the client of `door` has open and holds.
    pub(crate) fn leave(&mut self, door: DoorId) {
        let opened: Vec<_> = self.handles.iter().filter(|(_, open)| open.door == door).map(|(id, _)| *id).collect();
        let opened = opened.into_iter().filter_map(|id| self.handles.remove(&id)).map(|open| open.ino);
        let mut loose: Vec<Ino> = opened.collect();
        loose.extend(self.holds.keys().filter(|(_, holder)| *holder == door.0).map(|(ino, _)| *ino));
        self.holds.retain(|(_, holder), _| *holder != door.0);
        loose.into_iter().for_each(|ino| self.reap(ino));
    }

    /// Frees the inode if it has neither name, handle nor hold.
    pub(crate) fn reap(&mut self, ino: Ino) {
        let nameless = self.state.inodes.get(&ino).is_some_and(|inode| inode.stored.nlink == 0);
        let held = self.holds.keys().any(|(held, _)| *held == ino);
        let in_use = held || self.handles.values().any(|open| open.ino == ino);
        if nameless && !in_use && ino != ROOT_INO {
            self.state.inodes.remove(&ino);
        }
    }

    pub(crate) fn check(&self, cx: &Context, ino: Ino, mask: fs_api::AccessMask) -> Result<()> {
        let inode = self.state.inode(ino)?;
        fs_access::check(&cx.credentials, &inode.node(), inode.acl().as_ref(), mask)
    }

    pub(crate) fn node(&self, ino: Ino) -> Result<Node> {
        Ok(self.state.inode(ino)?.node())
    }
}
