//! Listeners, the table of programs, and what all connections share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use objstore_env::TaskHandle;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

use crate::connection::{Connection, End};
use crate::limits::{Hooks, Limits};
use crate::memory::{self, Budget};
use crate::message::Answer;
use crate::program::Program;

/// Without descriptors, accept() fails at once each time: this long between two attempts.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// For tasks to notice that they are to end, after the deadline of a drain.
const KILL_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// No new calls; those in flight are answered.
    Draining,
    Killed,
}

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) hooks: Hooks,
    budget: Arc<Semaphore>,
    pub(crate) phase: watch::Sender<Phase>,
    programs: Vec<Arc<dyn Program>>,
    clients: Mutex<Clients>,
    /// Connections and calls that are tasks.
    open: AtomicUsize,
    closed: Notify,
    /// Second of the last complaint, and complaints kept back since.
    complained_at: AtomicU64,
    kept_back: AtomicU64,
}

#[derive(Default)]
struct Clients {
    total: usize,
    by_address: BTreeMap<IpAddr, OneClient>,
}

struct OneClient {
    connections: usize,
    /// Its part of the memory for long records.
    budget: Arc<Semaphore>,
}

/// One open task; the count falls when this does, panics included.
pub(crate) struct Open(Arc<Shared>);

impl Open {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_one();
        }
    }
}

/// A connection's place under the caps.
struct Seat(Arc<Shared>, IpAddr);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = self.0.clients.lock();
        clients.total -= 1;
        if let Some(client) = clients.by_address.get_mut(&self.1) {
            client.connections -= 1;
            if client.connections == 0 {
                clients.by_address.remove(&self.1);
            }
        }
    }
}

impl Shared {
    pub(crate) fn find(&self, number: u32, version: u32) -> Result<Arc<dyn Program>, Answer> {
        find(&self.programs, number, version)
    }

    /// One line a second at most: clients must not fill the log.
    fn complain(&self, peer: SocketAddr, what: &str) {
        let second = self.hooks.clock.monotonic().as_secs() + 1;
        if self.complained_at.swap(second, Ordering::Relaxed) == second {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let kept_back = self.kept_back.swap(0, Ordering::Relaxed);
        tracing::warn!(%peer, what, kept_back, "rpc client refused");
    }

    /// A place for a connection, and what it shares with the others of its client.
    fn seat(self: &Arc<Self>, peer: SocketAddr) -> Result<(Seat, Budget), &'static str> {
        let address = peer.ip().to_canonical();
        let mut clients = self.clients.lock();
        if clients.total >= self.limits.connections_max {
            return Err("too many connections");
        }
        let connections = clients.by_address.get(&address).map_or(0, |client| client.connections);
        if connections >= self.limits.connections_per_client_max {
            return Err("too many connections of this client");
        }
        clients.total += 1;
        let new = || OneClient { connections: 0, budget: memory::bytes(self.limits.inflight_bytes_per_client) };
        let client = clients.by_address.entry(address).or_insert_with(new);
        client.connections += 1;
        let budget = Budget::new(Arc::clone(&client.budget), Arc::clone(&self.budget));
        drop(clients);
        Ok((Seat(self.clone(), address), budget))
    }
}

/// Serves programs until it is drained.
pub struct Server {
    shared: Arc<Shared>,
    acceptors: Vec<Box<dyn TaskHandle>>,
}

impl Server {
    /// Serves on all of `listeners`: one for IPv4, one for IPv6, or both.
    pub fn start(listeners: Vec<TcpListener>, programs: Vec<Arc<dyn Program>>, limits: Limits, hooks: Hooks) -> Self {
        let shared = Arc::new(Shared {
            budget: memory::bytes(limits.inflight_bytes_total),
            limits,
            hooks,
            phase: watch::Sender::new(Phase::Running),
            programs,
            clients: Mutex::default(),
            open: AtomicUsize::new(0),
            closed: Notify::new(),
            complained_at: AtomicU64::new(0),
            kept_back: AtomicU64::new(0),
        });
        let acceptors = listeners
            .into_iter()
            .map(|listener| shared.hooks.tasks.spawn("rpc accept", accept(listener, shared.clone()).boxed()))
            .collect();
        Self { shared, acceptors }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.clients.lock().total
    }

    /// Stops accepting and reading, answers what is in flight, and ends what is left after `deadline`.
    pub async fn drain(self, deadline: Duration) {
        self.shared.phase.send_replace(Phase::Draining);
        for acceptor in self.acceptors {
            acceptor.join().await;
        }
        if !all_closed(&self.shared, deadline).await {
            self.shared.phase.send_replace(Phase::Killed);
            if !all_closed(&self.shared, KILL_GRACE).await {
                tracing::warn!("rpc calls go on after the drain's deadline");
            }
        }
    }
}

/// The program of this number and version, or what the caller is told.
pub(crate) fn find(programs: &[Arc<dyn Program>], number: u32, version: u32) -> Result<Arc<dyn Program>, Answer> {
    let (mut low, mut high) = (u32::MAX, 0);
    for program in programs.iter().filter(|program| program.number() == number) {
        let versions = program.versions();
        if versions.contains(&version) {
            return Ok(program.clone());
        }
        low = low.min(*versions.start());
        high = high.max(*versions.end());
    }
    Err(if low > high { Answer::ProgramUnavailable } else { Answer::ProgramMismatch { low, high } })
}

async fn all_closed(shared: &Shared, deadline: Duration) -> bool {
    let mut timer = shared.hooks.clock.sleep(deadline);
    while shared.open.load(Ordering::Acquire) > 0 {
        tokio::select! {
            () = shared.closed.notified() => {}
            () = &mut timer => return shared.open.load(Ordering::Acquire) == 0,
        }
    }
    true
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut phase = shared.phase.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        match accepted {
            Ok((stream, peer)) => open(stream, peer, &shared),
            // A client that has gone again is no reason to pause.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors or memory: the backlog keeps the clients until there are some again.
                if let Ok(local) = listener.local_addr() {
                    shared.complain(local, &error.to_string());
                }
                shared.hooks.clock.sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn open(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    let (seat, budget) = match shared.seat(peer) {
        Ok(seated) => seated,
        Err(why) => return shared.complain(peer, why),
    };
    // Without it, small replies wait for the client's delayed acknowledgement.
    let Ok(local) = stream.set_nodelay(true).and_then(|()| stream.local_addr()) else { return };
    let (connection, open) = (Connection::new(stream, [peer, local], budget, shared.clone()), Open::new(shared));
    let shared_after = shared.clone();
    let task = async move {
        match connection.serve().await {
            End::Quiet => {}
            End::NotRpc => shared_after.complain(peer, "sent what is no RPC call"),
            End::Broken(how) => shared_after.complain(peer, &format!("broke the record marking: {how:?}")),
            End::Slow(how) => shared_after.complain(peer, how),
        }
        drop((seat, open));
    };
    drop(shared.hooks.tasks.spawn("rpc connection", task.boxed()));
}
