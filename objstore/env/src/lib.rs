//! Time, chance, disk, tasks and failpoints, handed down by value.
//!
//! Everything above this crate gets an [`Env`] and touches the machine only through it, so that the real journal,
//! write-back, engine and pool run unchanged in a deterministic simulation. `clippy.toml` holds the rule.

#![deny(unsafe_code)]

mod clock;
mod disk;
mod env;
mod failpoint;
#[allow(clippy::disallowed_methods, reason = "the adapters: everything else goes through them")]
pub mod real;
mod rng;
#[allow(clippy::disallowed_methods, reason = "the adapters: everything else goes through them")]
pub mod sim;
mod tasks;

pub use clock::{Clock, WallTime};
pub use disk::{DirEntry, Disk, DiskFile, DiskLock, DiskMetadata, DiskSpace, OpenMode};
pub use env::Env;
pub use failpoint::{FailAction, Failpoints};
pub use rng::Rng;
pub use tasks::{TaskHandle, Tasks};
