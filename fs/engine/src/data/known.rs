//! [`KnownExtents`]: extents that were put lately. What is written again block by block, as databases do, replaces
//! exactly one of them, and then the index need not be searched for what lies there.
//!
//! Every change of extents passes through here with the stripe of its inode held exclusively, so what is found under a
//! stripe is what the index holds.

use std::ops::Range;

use cache_journal::FrameId;
use fs_meta::MetaRead;
use objstore_base::Result;
use quick_cache::sync::Cache;

use super::extents::{Edit, overlapping};
use super::records::{Extent, Placed};

/// About 100 bytes each.
const EXTENTS_MAX: usize = 32_768;

pub(crate) struct KnownExtents(Cache<(u64, u64), Extent>);

impl Default for KnownExtents {
    fn default() -> Self {
        Self(Cache::new(EXTENTS_MAX))
    }
}

impl KnownExtents {
    /// As [`overlapping`]. The caller holds the stripe, shared at least.
    pub(crate) fn overlapping(&self, read: &dyn MetaRead, ino: u64, range: Range<u64>) -> Result<Vec<Placed>> {
        let known = self.0.get(&(ino, range.start)).map(|extent| Placed { offset: range.start, extent });
        match known.filter(|placed| placed.end() >= range.end) {
            // Extents never overlap: there is no other.
            Some(placed) if !range.is_empty() => Ok(vec![placed]),
            _ => overlapping(read, ino, range),
        }
    }

    /// `edits` are in the index, with `ids` for the frames that they were filled with.
    pub(crate) fn follow(&self, edits: &[Edit], ids: &[FrameId]) {
        let mut ids = ids.iter();
        for edit in edits {
            for offset in edit.removed() {
                self.0.remove(&(edit.ino(), offset));
            }
            for Placed { offset, extent } in edit.put(&mut ids) {
                self.0.insert((edit.ino(), offset), extent);
            }
        }
    }
}
