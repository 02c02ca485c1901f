//! What a service manager is told (sd_notify(3)): ready, reloading, stopping, alive. One datagram each, to the socket
//! it names in the environment; without one nothing happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use objstore_env::Env;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Ready,
    Reloading,
    Stopping,
}

/// The service manager, if there is one.
pub(crate) struct Supervisor {
    socket: Option<SocketAddr>,
    /// It wants a sign of life at least this often.
    watchdog: Option<Duration>,
}

impl Supervisor {
    pub(crate) fn from_environment() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let socket = text("NOTIFY_SOCKET").and_then(|name| address(&name));
        let for_us = text("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let period = text("WATCHDOG_USEC").and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0 && for_us);
        Self { socket, watchdog: period.map(Duration::from_micros) }
    }

    pub(crate) fn tell(&self, moment: Moment, status: &str) {
        let word = match moment {
            Moment::Ready => "READY=1",
            Moment::Reloading => "RELOADING=1",
            Moment::Stopping => "STOPPING=1",
        };
        self.send(&format!("{word}\nSTATUS={status}\n"));
    }

    /// Gives signs of life for as long as tasks run, twice in the time that is allowed.
    pub(crate) fn watch(self: &std::sync::Arc<Self>, env: &Env) {
        let Some(period) = self.watchdog.filter(|_| self.socket.is_some()) else { return };
        let (supervisor, clock) = (std::sync::Arc::clone(self), std::sync::Arc::clone(&env.clock));
        let signs = async move {
            loop {
                supervisor.send("WATCHDOG=1\n");
                clock.sleep(period / 2).await;
            }
        };
        drop(env.tasks.spawn("watchdog", Box::pin(signs)));
    }

    fn send(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        // A datagram that does not fit is lost, never waited for.
        let sent = UnixDatagram::unbound()
            .and_then(|sender| sender.set_nonblocking(true).map(|()| sender))
            .and_then(|sender| sender.send_to_addr(text.as_bytes(), socket));
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_arrive_as_datagrams() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        let supervisor = Supervisor { socket: address(&path.display().to_string()), watchdog: None };
        supervisor.tell(Moment::Ready, "serving");
        let mut text = [0; 64];
        let len = manager.recv(&mut text).expect("a datagram");
        assert_eq!(&text[..len], b"READY=1\nSTATUS=serving\n");
        assert!(address("@abstract").is_some_and(|a| a.as_abstract_name() == Some(b"abstract")));
    }
}
