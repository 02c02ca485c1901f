//! Locks of inodes, striped: a fixed number of them, shared by the inodes that fall on the same one.

use std::array;

use fs_api::Ino;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Many more than threads, so that two busy inodes rarely share one.
const STRIPES: usize = 1024;
/// The inodes of a rename: two directories, what moves and what is replaced.
const FEW: usize = 4;

pub(crate) struct Stripes {
    locks: Box<[RwLock<()>]>,
}

/// Stripes held exclusively until dropped. Never across an await.
pub(crate) struct StripeGuards<'a> {
    #[expect(dead_code, reason = "held for their drop")]
    few: [Option<RwLockWriteGuard<'a, ()>>; FEW],
    #[expect(dead_code, reason = "held for their drop")]
    more: Vec<RwLockWriteGuard<'a, ()>>,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self { locks: (0..STRIPES).map(|_| RwLock::new(())).collect() }
    }

    fn index(ino: Ino) -> usize {
        // Below STRIPES, so it fits.
        (ino.0 % STRIPES as u64) as usize
    }

    /// Shared: what `ino` is now cannot change.
    pub(crate) fn read(&self, ino: Ino) -> RwLockReadGuard<'_, ()> {
        self.locks[Self::index(ino)].read()
    }

    /// Exclusive, for one inode.
    pub(crate) fn write_one(&self, ino: Ino) -> RwLockWriteGuard<'_, ()> {
        self.locks[Self::index(ino)].write()
    }

    /// Exclusive, for up to four inodes: ascending by stripe, each stripe once, so that two callers never wait for
    /// each other.
    pub(crate) fn write<const N: usize>(&self, inos: [Ino; N]) -> StripeGuards<'_> {
        const { assert!(N <= FEW) };
        let mut indexes = inos.map(Self::index);
        indexes.sort_unstable();
        let few = array::from_fn(|i| {
            let index = *indexes.get(i)?;
            let repeated = i > 0 && indexes[i - 1] == index;
            (!repeated).then(|| self.locks[index].write())
        });
        StripeGuards { few, more: Vec::new() }
    }

    /// Exclusive, for any number of inodes.
    pub(crate) fn write_many(&self, inos: &[Ino]) -> StripeGuards<'_> {
        let mut indexes: Vec<_> = inos.iter().copied().map(Self::index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let more = indexes.into_iter().map(|index| self.locks[index].write()).collect();
        StripeGuards { few: [const { None }; FEW], more }
    }
}
