//! SIGTERM and SIGINT ask for an orderly end, SIGHUP for another look at the configuration.
//!
//! They are blocked in every thread and taken by one that waits for them, so that no handler interrupts anything.

use nix::sys::signal::{SigSet, Signal};
use objstore_base::{Error, Result};
use objstore_env::Env;
use tokio::sync::mpsc;

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// As to any program: its terminal is gone, and it ends.
    Ends,
    Reloads,
}

/// Signals that came, each kind apart.
pub(crate) struct Signals {
    pub(crate) stop: mpsc::Receiver<Signal>,
    pub(crate) reload: mpsc::Receiver<()>,
}

/// Blocks the signals that are waited for, in this thread and in all it starts from now on.
///
/// # Errors
/// Where the mask cannot be set.
pub(crate) fn block(hangup: Hangup) -> Result<()> {
    awaited(hangup).thread_block().map_err(|error| Error::io("block signals", error.into()))
}

/// Sends each signal that comes; the thread behind it ends with the process.
pub(crate) fn watch(env: &Env, hangup: Hangup) -> Signals {
    let ((stops, stop), (reloads, reload)) = (mpsc::channel(4), mpsc::channel(1));
    let waiting = env.tasks.blocking(Box::new(move || {
        while let Ok(signal) = awaited(hangup).wait() {
            // A full queue holds an earlier request of the same kind, which is enough.
            let closed = match signal {
                Signal::SIGHUP => is_closed(reloads.try_send(())),
                _ => is_closed(stops.try_send(signal)),
            };
            if closed {
                return;
            }
        }
    }));
    drop(env.tasks.spawn("signals", waiting));
    Signals { stop, reload }
}

fn is_closed<T>(sent: std::result::Result<(), mpsc::error::TrySendError<T>>) -> bool {
    sent.is_err_and(|error| matches!(error, mpsc::error::TrySendError::Closed(_)))
}

fn awaited(hangup: Hangup) -> SigSet {
    let reload = (hangup == Hangup::Reloads).then_some(Signal::SIGHUP);
    [Signal::SIGTERM, Signal::SIGINT].into_iter().chain(reload).collect()
}
