//! Which open file a lock was taken through, so that what is left of it goes with that file.
//!
//! The kernel names an owner with every lock but says too little of when one ends. For locks of a process the owner is
//! its table of files, and FLUSH names it at each close: all its locks on the inode go. For locks of an open file
//! description (`F_OFD_SETLK`) the owner is that description, no FLUSH ever names it, and only the RELEASE of its
//! handle says that it is gone. A request does not say which of the two an owner is.
//!
//! So an owner belongs to the handle it last took a lock through, and a FLUSH that names it takes it away: a process
//! that closes a file and locks it again through another handle is not harmed by the RELEASE of the first, which comes
//! later and from elsewhere.

use std::collections::HashMap;

use fs_api::{HandleId, Ino};
use parking_lot::Mutex;

/// An owner as the kernel numbers it, on one inode.
type Owner = (Ino, u64);

#[derive(Default)]
struct State {
    handle_of: HashMap<Owner, HandleId>,
    /// The same, by handle. Each owner is in one list at most.
    owners_of: HashMap<HandleId, Vec<Owner>>,
}

/// Bounded by the files that are open: an owner is forgotten with its handle at the latest.
#[derive(Default)]
pub(crate) struct LockHandles(Mutex<State>);

impl LockHandles {
    /// `owner` asks for a lock on `ino` through `handle`.
    pub(crate) fn taken(&self, ino: Ino, owner: u64, handle: HandleId) {
        let mut state = self.0.lock();
        match state.handle_of.insert((ino, owner), handle) {
            Some(before) if before == handle => return,
            Some(before) => state.leave(before, (ino, owner)),
            None => {}
        }
        state.owners_of.entry(handle).or_default().push((ino, owner));
    }

    /// All locks of `owner` on `ino` are dropped.
    pub(crate) fn flushed(&self, ino: Ino, owner: u64) {
        let mut state = self.0.lock();
        if let Some(handle) = state.handle_of.remove(&(ino, owner)) {
            state.leave(handle, (ino, owner));
        }
    }

    /// The owners whose locks go with `handle`.
    pub(crate) fn released(&self, handle: HandleId) -> Vec<Owner> {
        let mut state = self.0.lock();
        let owners = state.owners_of.remove(&handle).unwrap_or_default();
        for owner in &owners {
            state.handle_of.remove(owner);
        }
        owners
    }
}

impl State {
    fn leave(&mut self, handle: HandleId, owner: Owner) {
        if let Some(owners) = self.owners_of.get_mut(&handle) {
            owners.retain(|held| *held != owner);
            if owners.is_empty() {
                self.owners_of.remove(&handle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INO: Ino = Ino(7);
    const A: HandleId = HandleId(1);
    const B: HandleId = HandleId(2);

    #[test]
    fn a_description_that_is_closed_takes_its_locks_along() {
        let handles = LockHandles::default();
        handles.taken(INO, 10, A);
        handles.taken(INO, 11, B);
        handles.taken(INO, 10, A);
        handles.flushed(INO, 99);
        assert_eq!(handles.released(A), [(INO, 10)]);
        assert!(handles.released(A).is_empty());
        assert_eq!(handles.released(B), [(INO, 11)]);
    }

    #[test]
    fn a_process_that_locks_again_is_not_harmed_by_the_late_release_of_its_first_handle() {
        let handles = LockHandles::default();
        handles.taken(INO, 10, A);
        handles.flushed(INO, 10);
        handles.taken(INO, 10, B);
        assert!(handles.released(A).is_empty());
        assert_eq!(handles.released(B), [(INO, 10)]);
    }

    #[test]
    fn a_lock_through_another_handle_moves_its_owner_there() {
        let handles = LockHandles::default();
        handles.taken(INO, 10, A);
        handles.taken(INO, 10, B);
        assert!(handles.released(A).is_empty());
        assert_eq!(handles.released(B), [(INO, 10)]);
    }

    #[test]
    fn nothing_is_kept_of_what_is_over() {
        let handles = LockHandles::default();
        for n in 0..100 {
            handles.taken(INO, n, HandleId(n));
            handles.taken(INO, 1000 + n, HandleId(n));
            handles.flushed(INO, n);
            handles.released(HandleId(n));
        }
        let state = handles.0.lock();
        assert!(state.handle_of.is_empty() && state.owners_of.is_empty());
    }
}
