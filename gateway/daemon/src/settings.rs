//! Sizes and rules of one service: what the command line or the configuration says, and what follows from the machine where it says nothing.

use std::path::Path;
use std::time::Duration;

use crate::cli::{Compression, StoreOptions};
use crate::exit::Failure;
use crate::store::{Room, StoreFile};
use crate::units::{parse_bytes, show_bytes};

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

/// `--max-dirty`: a size that writers can work with.
pub(crate) fn parse_dirty_bytes(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes < DIRTY_BYTES_MIN => Err(format!(
            "{} is too little, writers would wait at every breath: give at least {}",
            show_bytes(bytes),
            show_bytes(DIRTY_BYTES_MIN)
        )),
        bytes => Ok(bytes),
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) cache_bytes_max: u64,
    pub(crate) dirty_bytes_max: u64,
    pub(crate) upload_delay: Duration,
    pub(crate) compression: Compression,
}

impl Settings {
    pub(crate) fn of(args: &StoreOptions, store: &StoreFile, data: &Path) -> Result<Self, Failure> {
        let free = Room::at(data)?.free;
        // What was asked for is kept to; only the default is raised.
        let dirty_bytes_default = (free / DIRTY_PART).clamp(DIRTY_BYTES_MIN, DIRTY_BYTES_DEFAULT);
        Ok(Self {
            cache_bytes_max: args.cache_size.unwrap_or_else(|| (free / CACHE_PART).min(CACHE_BYTES_DEFAULT)),
            dirty_bytes_max: args.max_dirty.unwrap_or(dirty_bytes_default),
            upload_delay: args.upload_delay.unwrap_or(UPLOAD_DELAY_DEFAULT),
            compression: args.compression.unwrap_or(store.compression),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_dirty_space_is_refused_and_not_raised_in_silence() {
        let why = parse_dirty_bytes("1").expect_err("too little");
        assert!(why.contains("1 B") && why.contains("16.0 MiB"), "{why}");
        assert_eq!(parse_dirty_bytes("16MiB"), Ok(16 << 20));
    }
}
