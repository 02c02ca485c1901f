//! The end of a service, whoever wants it: a signal, `tidegate umount`, or umount(8) of its last mount.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_fuse::{Busy, Mount};
use nix::sys::signal::Signal;
use objstore_base::ErrorKind;
use tokio::sync::mpsc;

use super::Service;
use super::doors::Mounts;
use super::leaving::{leave_all, take_away, users, wait_until_gone};
use crate::control::{Stop, Stopped};
use crate::exit::{Exit, Failure};
use crate::reports::Left;
use crate::signals::Signals;
use crate::supervisor::Moment;

/// What `umount --force` waits for the pool at most.
const FORCED_DRAIN_MAX: Duration = Duration::from_secs(30);
/// Telling a command how it went takes no longer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Serves until the last door is gone, then closes the store, also where a mount did not go.
///
/// # Errors
/// The first thing that failed; the rest of the end was tried all the same.
pub(super) async fn until_ended(
    service: &Arc<Service>,
    mut mounts: Mounts,
    mut stops: mpsc::Receiver<Stop>,
    mut signals: Signals,
) -> Result<(), Failure> {
    let LastDoor { asked, drained, gone } = until_last_door(service, &mut mounts, &mut stops, &mut signals).await;
    service.supervisor.tell(Moment::Stopping, "bringing the rest into the pool");
    // What came in between.
    if drained == Drained::Ask {
        drain(service, &mut signals.stop).await;
    }
    let left = service.left();
    let closed = close(service).await;
    let ended = gone.and(closed);
    service.watching.close().await;
    if let Some(stop) = asked {
        let answered = service.answered.notified();
        tell(stop, ended.clone().map(|()| Stopped { left, ended: true }));
        tokio::select! {
            () = answered => {}
            () = service.env.clock.sleep(ANSWER_MAX) => tracing::debug!("whoever asked for the end does not listen"),
        }
    }
    // Last, so that one who asked for the end over it has heard how it went.
    service.close_admin().await;
    ended
}

/// How it came that no door is open any more.
struct LastDoor {
    /// Who wished for the end, if it was a command.
    asked: Option<Stop>,
    drained: Drained,
    /// Whether every mount could be taken away.
    gone: Result<(), Failure>,
}

async fn until_last_door(
    service: &Arc<Service>,
    mounts: &mut Mounts,
    stops: &mut mpsc::Receiver<Stop>,
    signals: &mut Signals,
) -> LastDoor {
    let env = service.env.clone();
    loop {
        tokio::select! {
            (path, ended) = mounts.any_ended() => {
                tracing::info!(mountpoint = %path.display(), "unmounted from outside");
                if let Err(error) = ended {
                    tracing::error!(%error, "the FUSE session broke");
                }
                mounts.forget(service, &path);
                if !service.has_a_door() {
                    return LastDoor { asked: None, drained: Drained::Ask, gone: Ok(()) };
                }
            }
            Some(signal) = signals.stop.recv() => {
                tracing::info!(%signal, "stopping");
                service.supervisor.tell(Moment::Stopping, "bringing everything into the pool");
                service.close_nfs().await;
                let drained = drain(service, &mut signals.stop).await;
                let gone = leave_all(service, mounts).await;
                return LastDoor { asked: None, drained, gone };
            }
            Some(()) = signals.reload.recv() => {
                // Names of clients may take their time; a signal to stop does not wait for them.
                let service = Arc::clone(service);
                let reloading = async move { service.reload_and_tell().await };
                drop(env.tasks.spawn("reload", Box::pin(reloading)));
            }
            Some(stop) = stops.recv() => match wish(service, mounts, stop, stops, &mut signals.stop).await {
                Wish::Dropped => {}
                Wish::Granted(stop, drained) => {
                    mounts.forget(service, &stop.mountpoint);
                    if !service.has_a_door() {
                        return LastDoor { asked: Some(stop), drained, gone: Ok(()) };
                    }
                    tracing::info!(mountpoint = %stop.mountpoint.display(), "unmounted; the other doors stay open");
                    tell(stop, Ok(Stopped { left: service.left(), ended: false }));
                }
                Wish::Overtaken(stop) => {
                    service.close_nfs().await;
                    let gone = leave_all(service, mounts).await;
                    return LastDoor { asked: Some(stop), drained: Drained::GivenUp, gone };
                }
            },
        }
    }
}

/// Whether the pool is to be asked for what came in since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    Ask,
    /// It did not take data a moment ago: it is not waited for again.
    GivenUp,
}

/// What became of a wish to unmount.
enum Wish {
    /// Refused, or whoever wished gave up; everything is as it was.
    Dropped,
    Granted(Stop, Drained),
    /// A signal came: everything is to end now.
    Overtaken(Stop),
}

/// Grants a wish to unmount, unless it is refused, or whoever wished gives up. A later wish takes an earlier one's place,
/// so that `umount --force` ends a wait that is going on.
async fn wish(
    service: &Arc<Service>,
    mounts: &mut Mounts,
    mut stop: Stop,
    stops: &mut mpsc::Receiver<Stop>,
    signals: &mut mpsc::Receiver<Signal>,
) -> Wish {
    loop {
        let Some(mount) = mounts.at(&stop.mountpoint) else {
            let gone =
                Failure::refuse("unmount", stop.mountpoint.display(), "this service has no mount there (any more)");
            tell(stop, Err(gone.with_exit(Exit::NotRunning)));
            return Wish::Dropped;
        };
        tokio::select! {
            outcome = stop_asked(service, mount, &stop) => {
                return match outcome {
                    Ok(drained) => Wish::Granted(stop, drained),
                    Err(failure) => {
                        tell(stop, Err(failure));
                        Wish::Dropped
                    }
                };
            }
            // Whoever sends signals does not wait for a drain that may take long.
            Some(_) = signals.recv() => return Wish::Overtaken(stop),
            Some(later) = stops.recv() => {
                let (place, why) = (stop.mountpoint.clone(), "another `tidegate umount` took over");
                tell(std::mem::replace(&mut stop, later), Err(Failure::refuse("unmount", place.display(), why)));
            }
            () = stop.progress.closed() => {
                tracing::info!("whoever asked for the end gave up waiting; the service goes on");
                return Wish::Dropped;
            }
        }
    }
}

/// `tidegate umount`: refused early where the mount is in use, so that nobody waits for a drain in vain.
async fn stop_asked(service: &Arc<Service>, mount: &mut Mount, stop: &Stop) -> Result<Drained, Failure> {
    let path = mount.path().to_path_buf();
    if !stop.force {
        let users = users(service, &path).await;
        if !users.is_empty() {
            return Err(in_use(&path, &users));
        }
    }
    // Without --force the wait is the caller's to end; with it, the mount goes although the pool takes nothing.
    let limit = if stop.force { FORCED_DRAIN_MAX } else { Duration::MAX };
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
    match take_away(service, &path, busy).await {
        Ok(()) => {
            wait_until_gone(service, mount).await;
            Ok(drained)
        }
        Err(error) if error.kind() == ErrorKind::Busy => Err(in_use(&path, &users(service, &path).await)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(drained),
        Err(error) => Err(error.into()),
    }
}

fn in_use(mountpoint: &Path, users: &[String]) -> Failure {
    let who = if users.is_empty() { "a program".to_owned() } else { users.join(", ") };
    Failure::refuse("unmount", mountpoint.display(), format!("in use by {who}: end it, or use --force"))
        .with_exit(Exit::InUse)
}

fn tell(stop: Stop, outcome: Result<Stopped, Failure>) {
    if stop.outcome.send(outcome).is_err() {
        tracing::debug!("whoever asked for the end is gone");
    }
}

/// Brings what is dirty into the pool, within limits; a second signal ends the wait.
async fn drain(service: &Service, signals: &mut mpsc::Receiver<Signal>) -> Drained {
    let limit = service.running.lock().stop_limit;
    let drained = tokio::select! {
        drained = service.engine.flush() => Some(drained),
        () = service.env.clock.sleep(limit) => None,
        Some(_) = signals.recv() => None,
    };
    match drained {
        Some(Ok(())) => return Drained::Ask,
        Some(Err(error)) => tracing::warn!(%error, "not everything is in the pool; the journal keeps it"),
        None => service.warn_of_rest(),
    }
    Drained::GivenUp
}

/// Stops the workers, commits the journal, makes the index durable.
async fn close(service: &Service) -> Result<(), Failure> {
    let closed = service.engine.stop().await;
    service.pool.stop().await;
    closed?;
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
