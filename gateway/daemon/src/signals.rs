//! SIGTERM and SIGINT ask for an orderly end.
//!
//! They are blocked in every thread and taken by one that waits for them, so that no handler interrupts anything.

use nix::sys::signal::{SigSet, Signal};
use objstore_base::{Error, Result};
use objstore_env::Env;
use tokio::sync::mpsc;

/// Blocks the signals that end the service, in this thread and in all it starts from now on.
///
/// # Errors
/// Where the mask cannot be set.
pub(crate) fn block() -> Result<()> {
    stop_signals().thread_block().map_err(|error| Error::io("block signals", error.into()))
}

/// Sends each signal that comes; the thread behind it ends with the process.
pub(crate) fn watch(env: &Env) -> mpsc::Receiver<Signal> {
    let (sender, receiver) = mpsc::channel(4);
    let waiting = env.tasks.blocking(Box::new(move || {
        while let Ok(signal) = stop_signals().wait() {
            // A full queue holds an earlier request to stop, which is enough.
            if sender.try_send(signal).is_err_and(|error| matches!(error, mpsc::error::TrySendError::Closed(_))) {
                return;
            }
        }
    }));
    drop(env.tasks.spawn("signals", waiting));
    receiver
}

fn stop_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}
