//! The whole store in one deterministic machine, and random histories through it.
//!
//! [`SimStore`] assembles the real pool over six simulated drives, the real journal, write-back and engine over the
//! index in memory. [`History`] runs random operations through it and through the reference model, crashes it, and
//! decides whether what it finds is a state that the promises allow (I3). A seed names a history. The operations reach the
//! store straight, or as [`Doors`] carry them.

#![forbid(unsafe_code)]

mod commits;
mod doors;
mod drives;
mod execute;
mod generate;
mod history;
mod op;
mod recovery;
mod store;

pub use commits::CommitLog;
pub use doors::{Doors, Straight, Worded};
pub use drives::DriveFault;
pub use execute::{Nodes, Outcome, Seen, USER, bytes_of, context, execute};
pub use history::{History, Summary};
pub use op::{Action, Actor, Fill, Key, Make, Op, Slot, Via};
pub use store::{Loss, Settings, SimStore};
