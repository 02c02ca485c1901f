//! The whole store in one deterministic machine, and random histories through it.
//!
//! [`SimStore`] assembles the real pool over six simulated drives, the real journal, write-back and engine over the
//! index in memory. [`History`] runs random operations through it and through the reference model, crashes it, and
//! decides whether what it finds is a state that the promises allow (I3). A seed names a history.

#![forbid(unsafe_code)]

mod commits;
mod drives;
mod execute;
mod generate;
mod history;
mod op;
mod recovery;
mod store;

pub use commits::CommitLog;
pub use drives::DriveFault;
pub use history::{History, Summary};
pub use op::{Action, Actor, Key, Op, Slot};
pub use store::{Settings, SimStore};
