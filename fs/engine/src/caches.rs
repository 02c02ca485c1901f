//! Decoded inodes and names in memory.
//!
//! An entry is filled with the stripe of its inode (for a name: of the directory) held, and changed with it held
//! exclusively, so what is found is always the newest. That holds for names that are not there as well.

use std::hash::{Hash, Hasher};

use fs_api::Ino;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::records::{Dentry, Inode};

#[derive(Clone, Debug, PartialEq, Eq)]
struct NameOwned {
    parent: Ino,
    name: Box<[u8]>,
}

/// A name by reference, hashed as the owned one.
struct NameRef<'a> {
    parent: Ino,
    name: &'a [u8],
}

impl Hash for NameOwned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NameRef { parent: self.parent, name: &self.name }.hash(state);
    }
}

impl Hash for NameRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.parent.0);
        state.write(self.name);
    }
}

impl Equivalent<NameOwned> for NameRef<'_> {
    fn equivalent(&self, key: &NameOwned) -> bool {
        self.parent == key.parent && *self.name == *key.name
    }
}

pub(crate) struct Caches {
    inodes: Cache<Ino, Inode>,
    names: Cache<NameOwned, Option<Dentry>>,
}

impl Caches {
    pub(crate) fn new(inodes: usize, names: usize) -> Self {
        Self { inodes: Cache::new(inodes), names: Cache::new(names) }
    }

    pub(crate) fn inode(&self, ino: Ino) -> Option<Inode> {
        self.inodes.get(&ino)
    }

    pub(crate) fn put_inode(&self, inode: Inode) {
        self.inodes.insert(inode.ino, inode);
    }

    pub(crate) fn drop_inode(&self, ino: Ino) {
        self.inodes.remove(&ino);
    }

    /// `Some(None)` where the name is known not to be there.
    pub(crate) fn name(&self, parent: Ino, name: &[u8]) -> Option<Option<Dentry>> {
        self.names.get(&NameRef { parent, name })
    }

    pub(crate) fn put_name(&self, parent: Ino, name: &[u8], dentry: Option<Dentry>) {
        self.names.insert(NameOwned { parent, name: name.into() }, dentry);
    }
}
