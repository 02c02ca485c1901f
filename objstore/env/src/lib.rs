//! Time, chance, disk, tasks and failpoints, handed down by value.
//!
//! Everything above this crate gets an [`Env`] and touches the machine only through it, so that the real journal,
//! write-back, engine and pool run unchanged in a deterministic simulation. `clippy.toml` holds the rule.

#![forbid(unsafe_code)]

mod clock;
mod disk;
mod env;
mod failpoint;
mod rng;
mod tasks;

pub use clock::{Clock, WallTime};
pub use disk::{Disk, DiskFile, DiskLock, DiskMetadata, DiskSpace, DirEntry, OpenMode};
pub use env::Env;
pub use failpoint::{FailAction, Failpoints};
pub use rng::Rng;
pub use tasks::{TaskHandle, Tasks};
