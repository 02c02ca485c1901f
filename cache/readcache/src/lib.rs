//! What is kept of the pool: decompressed frames in memory and on the local disk, each under its own limit.
//!
//! A frame is immutable and its id names it for ever, so an entry is never stale; it can be lost at any time, and the
//! pool still has it. One fetch serves everyone who waits for a frame. Bytes from the cache's disk are verified at each
//! use against a checksum that names the frame: a flipped bit costs a fetch. This crate knows nothing of blobs or
//! files; how a frame is fetched is handed in.

#![forbid(unsafe_code)]

mod cache;
mod config;
mod disk;
mod flight;
mod memory;
mod stats;

pub use cache::ReadCache;
pub use config::ReadCacheConfig;
pub use stats::ReadCacheStats;
