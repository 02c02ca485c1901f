//! Shards on drives: the shard file format, the [`Drive`] trait, and the drive that is a local directory.
//!
//! A shard is all cells of one index of one blob. Its file carries its identity and a checksum per 64 KiB that is
//! bound to that identity, so a stale, swapped, truncated or misdirected shard is found out like a flipped bit. This
//! crate knows where cells lie in a shard (`stripe`), but nothing of codes, placement or other drives.

#![forbid(unsafe_code)]

mod drive;
mod header;
mod identity;
mod local;
mod name;
mod stripe;
mod uuid;

pub use drive::{Drive, DriveSpace, ShardRead};
pub use header::{HEADER_ALIGN, ShardHeader, ShardIdentity, UNIT_BYTES};
pub use identity::{DRIVE_FORMAT, DriveIdentity, IDENTITY_FILE};
pub use local::LocalDrive;
pub use name::{Generation, ShardName};
pub use stripe::{CELL_BYTES_MAX, CELL_BYTES_MIN, Stripe};
pub use uuid::{DriveUuid, PoolUuid};
