//! Random histories through random doors.
//!
//! The histories of `tests/sim` on the whole store in its simulated machine, crashes and restarts included; each
//! operation goes straight to the engine's `Vfs`, as a mount calls it, or through the NFS door: encoded as its client
//! encodes it, with handles that the door gave out, some of them before the last restarts. Both answer as the reference
//! model does. What NFS cannot say, or says differently, is in [`meaning`], in one place and with its reason.

#![forbid(unsafe_code)]

mod carry;
mod client;
mod doors;
mod meaning;
mod tally;

pub use doors::{Memory, RandomDoors};
pub use tally::Tally;
