//! [`RocksStore`]: the metadata index on RocksDB, without a log of its own.
//!
//! The journal is the log; RocksDB holds what was applied in memory until the engine asks for a flush, and a crash
//! gives back exactly the last finished one. Everything here serves that rule: no WAL, one atomic flush over all
//! columns, and no flush that nobody asked for. Only this crate links RocksDB.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod config;
mod counter;
mod error;
mod options;
mod stamp;
mod store;

pub use config::RocksConfig;
pub use store::RocksStore;
