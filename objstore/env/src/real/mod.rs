//! The machine itself: the adapters behind [`Env`] in production.
//!
//! The one place that calls the operating system's files, clocks, chance and threads. Nothing here decides anything:
//! an adapter loops over short transfers and EINTR, and hands errors up with their errno.

mod clock;
mod disk;
mod rng;
mod tasks;
mod write_out;

use std::io;
use std::sync::Arc;

use crate::{Env, Failpoints};

pub use clock::RealClock;
pub use disk::RealDisk;
pub use rng::OsRng;
pub use tasks::TokioTasks;

/// The production environment: tasks and blocking work run on `handle`'s runtime, no failpoint is armed.
///
/// # Errors
/// The random device of the system cannot be read.
pub fn env(handle: tokio::runtime::Handle) -> io::Result<Env> {
    Ok(Env {
        disk: Arc::new(RealDisk),
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(OsRng::new()?),
        tasks: Arc::new(TokioTasks::new(handle)),
        failpoints: Failpoints::none(),
    })
}
