//! Sizes and rules of one mount: what the command line says, and what follows from the machine where it says nothing.

use std::path::Path;
use std::time::Duration;

use crate::cli::{Compression, MountArgs};
use crate::exit::Failure;
use crate::host;
use crate::store::StoreFile;

/// Ceilings of the defaults; a small disk gets less.
const DIRTY_BYTES_DEFAULT: u64 = 4 << 30;
const CACHE_BYTES_DEFAULT: u64 = 10 << 30;
/// Less dirty space than this would stop writers at every breath.
const DIRTY_BYTES_MIN: u64 = 16 << 20;
/// What may wait for the pool, and what is kept for reading, as parts of the free space under the store's folder. Both
/// and the drives of a default store share it.
const DIRTY_PART: u64 = 4;
const CACHE_PART: u64 = 4;
/// Loss of the whole machine costs at most this much of the latest writes.
const UPLOAD_DELAY_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) cache_bytes_max: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) upload_delay: Duration,
    pub(crate) compression: Compression,
}

impl Settings {
    pub(crate) fn of(args: &MountArgs, store: &StoreFile, data: &Path) -> Result<Self, Failure> {
        let free = host::space(data).map_err(|error| Failure::refuse("use data folder", data.display(), error))?;
        let dirty_bytes_max = args.max_dirty.unwrap_or_else(|| (free / DIRTY_PART).min(DIRTY_BYTES_DEFAULT));
        Ok(Self {
            cache_bytes_max: args.cache_size.unwrap_or_else(|| (free / CACHE_PART).min(CACHE_BYTES_DEFAULT)),
            dirty_bytes_max: dirty_bytes_max.max(DIRTY_BYTES_MIN),
            upload_delay: args.upload_delay.unwrap_or(UPLOAD_DELAY_DEFAULT),
            compression: args.compression.unwrap_or(store.compression),
        })
    }
}
