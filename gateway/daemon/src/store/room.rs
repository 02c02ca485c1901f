//! How much free disk a store needs under its folder. One place, so that making a store, mounting it, `status` and
//! `doctor` say the same.

use std::path::Path;

use cache_writeback::WriteBackConfig;
use objstore_env::real::RealDisk;
use objstore_env::{Disk, DiskSpace};

use crate::exit::Failure;
use crate::host;
use crate::units::show_bytes;

/// Beside what stays free: two segments of the journal (64 MiB each, made at once), the index, and as much again for
/// files. With less a store would be there that takes no file.
const USED_BYTES_MIN: u64 = 256 << 20;

/// What a disk has, and what a store asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    /// Writers wait while less than this is free.
    pub(crate) kept_free: u64,
    /// A new store needs this much.
    pub(crate) needed: u64,
}

impl Room {
    fn of(space: DiskSpace) -> Self {
        let kept_free = WriteBackConfig::new(0).disk_reserve.of(space.total);
        Self { free: space.available, kept_free, needed: kept_free + USED_BYTES_MIN }
    }

    /// The room at `path`, or where it will be made.
    ///
    /// # Errors
    /// Where the filesystem does not tell.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        let space = RealDisk.space(host::nearest_existing(path));
        space.map(Self::of).map_err(|error| Failure::refuse("use data folder", path.display(), error))
    }

    /// What a store that is there has to be told; `None` where there is enough.
    pub(crate) fn complaint(&self) -> Option<String> {
        let (free, kept) = (show_bytes(self.free), show_bytes(self.kept_free));
        if self.free < self.kept_free {
            Some(format!("only {free} are free, and writers wait while it is less than {kept}: free some space"))
        } else if self.free < self.needed {
            Some(format!("only {free} are free; writers will wait when it is less than {kept}: free some space"))
        } else {
            None
        }
    }

    /// # Errors
    /// Where a new store at `data` would have no room for a file.
    pub(crate) fn for_new_store(&self, data: &Path) -> Result<(), Failure> {
        if self.free >= self.needed {
            return Ok(());
        }
        let why = format!(
            "only {} are free there and a store needs {} ({} of them stay free): free some space, or choose another disk",
            show_bytes(self.free),
            show_bytes(self.needed),
            show_bytes(self.kept_free)
        );
        Err(Failure::refuse("use data folder", data.display(), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(total: u64, available: u64) -> Room {
        Room::of(DiskSpace { total, available, filesystem: 1 })
    }

    #[test]
    fn a_disk_where_no_file_would_fit_is_refused_with_both_numbers() {
        let small = room(300 << 20, 280 << 20);
        let why = small.for_new_store(Path::new("/d")).expect_err("too small").message;
        assert!(why.contains("280 MiB") && why.contains("512 MiB") && why.contains("256 MiB"), "{why}");
        assert!(room(600 << 20, 540 << 20).for_new_store(Path::new("/d")).is_ok());
        assert!(room(1 << 40, 20 << 30).for_new_store(Path::new("/d")).is_err(), "2 % of a large disk stay free");
    }

    #[test]
    fn a_store_is_told_before_and_when_writers_wait() {
        assert_eq!(room(10 << 30, 5 << 30).complaint(), None);
        assert!(room(10 << 30, 300 << 20).complaint().is_some_and(|said| said.contains("will wait")));
        assert!(room(10 << 30, 100 << 20).complaint().is_some_and(|said| said.contains("writers wait while")));
    }
}
