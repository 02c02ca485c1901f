//! The end of a service, whoever wants it: a signal, `tidegate umount`, or umount(8).

use std::sync::Arc;
use std::time::Duration;

use gateway_fuse::{Busy, Mount, unmount, users_of};
use nix::sys::signal::Signal;
use objstore_base::{ErrorKind, Result};
use tokio::sync::mpsc;

use super::Service;
use crate::control::Stop;
use crate::exit::{Exit, Failure};
use crate::reports::Left;

/// What a signal waits for the pool at most. What is not there by then is safe in the journal and goes up after the
/// next start; whoever sends signals wants an end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// A detached mount that programs still use is served this long.
const DETACHED_MAX: Duration = Duration::from_secs(10);
/// Telling a command how it went takes no longer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Serves until the mount is gone, then closes the store.
pub(crate) async fn until_ended(
    service: &Arc<Service>,
    mut mount: Mount,
    mut stops: mpsc::Receiver<Stop>,
    mut signals: mpsc::Receiver<Signal>,
) -> Result<(), Failure> {
    let (asked, drained) = loop {
        tokio::select! {
            ended = mount.ended() => {
                tracing::info!("unmounted from outside");
                if let Err(error) = ended {
                    tracing::error!(%error, "the FUSE session broke");
                }
                break (None, Drained::Ask);
            }
            Some(signal) = signals.recv() => {
                tracing::info!(%signal, "stopping");
                let drained = drain(service, &mut signals).await;
                leave(service, &mut mount).await?;
                break (None, drained);
            }
            Some(stop) = stops.recv() => {
                if let Some((stop, drained)) = wish(service, &mut mount, stop, &mut stops, &mut signals).await? {
                    break (Some(stop), drained);
                }
            }
        }
    };
    // What came in between.
    if drained == Drained::Ask {
        drain(service, &mut signals).await;
    }
    let left = service.left();
    let closed = close(service).await.map(|()| left);
    if let Some(stop) = asked {
        let answered = service.answered.notified();
        tell(stop, closed.clone());
        tokio::select! {
            () = answered => {}
            () = service.env.clock.sleep(ANSWER_MAX) => tracing::debug!("whoever asked for the end does not listen"),
        }
    }
    closed.map(|_| ())
}

/// Whether the pool is to be asked for what came in since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    Ask,
    /// It did not take data a moment ago: it is not waited for again.
    GivenUp,
}

/// Grants a wish to end, unless it is refused, or whoever wished gives up: then `None`, and the service goes on. A
/// later wish takes an earlier one's place, so that `umount --force` ends a wait that is going on.
async fn wish(
    service: &Arc<Service>,
    mount: &mut Mount,
    mut stop: Stop,
    stops: &mut mpsc::Receiver<Stop>,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<Option<(Stop, Drained)>, Failure> {
    loop {
        tokio::select! {
            outcome = stop_asked(service, mount, &stop) => {
                return match outcome {
                    Ok(drained) => Ok(Some((stop, drained))),
                    Err(failure) => {
                        tell(stop, Err(failure));
                        Ok(None)
                    }
                };
            }
            // Whoever sends signals does not wait for a drain that may take long.
            Some(_) = signals.recv() => {
                leave(service, mount).await?;
                return Ok(Some((stop, Drained::GivenUp)));
            }
            Some(later) = stops.recv() => {
                let why = "another `tidegate umount` took over";
                tell(std::mem::replace(&mut stop, later), Err(Failure::refuse("unmount", service.mountpoint.display(), why)));
            }
            () = stop.progress.closed() => {
                tracing::info!("whoever asked for the end gave up waiting; the service goes on");
                return Ok(None);
            }
        }
    }
}

/// `tidegate umount`: refused early where the mount is in use, so that nobody waits for a drain in vain.
async fn stop_asked(service: &Arc<Service>, mount: &mut Mount, stop: &Stop) -> Result<Drained, Failure> {
    if !stop.force {
        let users = users(service).await;
        if !users.is_empty() {
            return Err(in_use(service, &users));
        }
    }
    // Without --force the wait is the caller's to end; with it, the mount goes although the pool takes nothing.
    let limit = if stop.force { DRAIN_MAX } else { Duration::MAX };
    let drained = tokio::select! {
        flushed = service.flush_with_progress(&stop.progress) => match flushed {
            Err(failure) if !stop.force => return Err(failure),
            Err(failure) => {
                tracing::warn!(failure.message, "not everything is in the pool; the journal keeps it");
                Drained::GivenUp
            }
            Ok(()) => Drained::Ask,
        },
        () = service.env.clock.sleep(limit) => {
            service.warn_of_rest();
            Drained::GivenUp
        }
    };
    let busy = if stop.force { Busy::Detach } else { Busy::Fail };
    match take_away(service, busy).await {
        Ok(()) => {
            wait_until_gone(service, mount).await;
            Ok(drained)
        }
        Err(error) if error.kind() == ErrorKind::Busy => Err(in_use(service, &users(service).await)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(drained),
        Err(error) => Err(error.into()),
    }
}

fn in_use(service: &Service, users: &[String]) -> Failure {
    let who = if users.is_empty() { "a program".to_owned() } else { users.join(", ") };
    Failure::refuse("unmount", service.mountpoint.display(), format!("in use by {who}: end it, or use --force"))
        .with_exit(Exit::InUse)
}

fn tell(stop: Stop, outcome: Result<Left, Failure>) {
    if stop.outcome.send(outcome).is_err() {
        tracing::debug!("whoever asked for the end is gone");
    }
}

/// Brings what is dirty into the pool, within limits; a second signal ends the wait.
async fn drain(service: &Service, signals: &mut mpsc::Receiver<Signal>) -> Drained {
    let drained = tokio::select! {
        drained = service.engine.flush() => Some(drained),
        () = service.env.clock.sleep(DRAIN_MAX) => None,
        Some(_) = signals.recv() => None,
    };
    match drained {
        Some(Ok(())) => return Drained::Ask,
        Some(Err(error)) => tracing::warn!(%error, "not everything is in the pool; the journal keeps it"),
        None => service.warn_of_rest(),
    }
    Drained::GivenUp
}

/// Unmounts although it may be in use: the process ends anyway.
async fn leave(service: &Arc<Service>, mount: &mut Mount) -> Result<(), Failure> {
    let gone = match take_away(service, Busy::Fail).await {
        Err(error) if error.kind() == ErrorKind::Busy => {
            tracing::warn!(users = ?users(service).await, "the mount is in use; it is detached");
            take_away(service, Busy::Detach).await
        }
        other => other,
    };
    match gone {
        Ok(()) => wait_until_gone(service, mount).await,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn wait_until_gone(service: &Service, mount: &mut Mount) {
    tokio::select! {
        ended = mount.ended() => {
            if let Err(error) = ended {
                tracing::warn!(%error, "the FUSE session broke at its end");
            }
        }
        () = service.env.clock.sleep(DETACHED_MAX) => tracing::warn!("programs still use the detached mount; they get errors now"),
    }
}

async fn take_away(service: &Arc<Service>, busy: Busy) -> Result<()> {
    let path = service.mountpoint.clone();
    service.env.blocking(move || unmount(&path, busy)).await
}

async fn users(service: &Arc<Service>) -> Vec<String> {
    let path = service.mountpoint.clone();
    service.env.blocking(move || users_of(&path)).await
}

/// Stops the workers, commits the journal, makes the index durable.
async fn close(service: &Service) -> Result<(), Failure> {
    service.engine.stop().await?;
    service.pool.stop().await;
    tracing::info!("stopped");
    Ok(())
}

impl Service {
    /// What the pool does not have yet.
    fn left(&self) -> Left {
        let status = self.engine.write_back().status();
        Left { dirty_bytes: status.dirty_bytes, complete: status.in_pool >= status.last }
    }

    /// Records without bytes of files (names, attributes) are not counted as dirty, but they wait as well.
    fn warn_of_rest(&self) {
        match self.left() {
            Left { complete: true, .. } => {}
            Left { dirty_bytes: 0, .. } => {
                tracing::warn!(
                    "stopping before the last changes of names and attributes are in the pool; the journal keeps them"
                )
            }
            Left { dirty_bytes, .. } => {
                tracing::warn!(dirty_bytes, "stopping before everything is in the pool; the journal keeps it")
            }
        }
    }
}
