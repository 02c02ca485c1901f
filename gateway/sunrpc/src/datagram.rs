//! Programs over UDP, for the few calls that clients send no other way (the status monitor's NOTIFY).
//!
//! The sender of a datagram is whoever it says it is, so what is answered must be worth nothing to those who forge it: a
//! reply is never longer than its call, calls beyond a bound are dropped, and nothing is kept about a sender. A lost
//! call or reply is the client's to send again.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use objstore_env::TaskHandle;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};

use crate::limits::Hooks;
use crate::message::{Answer, NotACall, take_call};
use crate::program::{Call, Program, Refusal};
use crate::server::find;
use crate::xdr::{Body, Decoder};

/// The largest datagram there is; a longer one cannot come.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// The head of a reply as a stream carries it.
const MARK_BYTES: usize = 4;
/// Calls that are being served; those beyond are dropped.
const INFLIGHT_MAX: u32 = 64;
/// A socket that fails to receive is left alone for this long.
const RECEIVE_BACKOFF: Duration = Duration::from_millis(50);

/// Serves programs on one socket until it is drained.
pub struct DatagramServer {
    stopping: watch::Sender<bool>,
    inflight: Arc<Semaphore>,
    clock: Arc<dyn objstore_env::Clock>,
    receiver: Box<dyn TaskHandle>,
}

struct Door {
    socket: UdpSocket,
    local: SocketAddr,
    programs: Vec<Arc<dyn Program>>,
    hooks: Hooks,
    inflight: Arc<Semaphore>,
}

impl DatagramServer {
    /// # Errors
    /// The socket has no local address.
    pub fn start(socket: UdpSocket, programs: Vec<Arc<dyn Program>>, hooks: Hooks) -> std::io::Result<Self> {
        let inflight = Arc::new(Semaphore::new(INFLIGHT_MAX as usize));
        let stopping = watch::Sender::new(false);
        let (clock, tasks) = (hooks.clock.clone(), hooks.tasks.clone());
        let door = Arc::new(Door { local: socket.local_addr()?, socket, programs, hooks, inflight: inflight.clone() });
        let receiver = tasks.spawn("rpc datagrams", receive(door, stopping.subscribe()).boxed());
        Ok(Self { stopping, inflight, clock, receiver })
    }

    /// Takes no more calls and waits, at most until `deadline`, for those in flight.
    pub async fn drain(self, deadline: Duration) {
        self.stopping.send_replace(true);
        self.receiver.join().await;
        tokio::select! {
            _ = self.inflight.acquire_many(INFLIGHT_MAX) => {}
            () = self.clock.sleep(deadline) => tracing::warn!("rpc datagram calls go on after the drain's deadline"),
        }
    }
}

async fn receive(door: Arc<Door>, mut stopping: watch::Receiver<bool>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = tokio::select! {
            received = door.socket.recv_from(&mut buffer) => received,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match received {
            Ok((length, peer)) => {
                let Some(datagram) = buffer.get(..length) else { continue };
                serve(&door, Bytes::copy_from_slice(datagram), peer);
            }
            Err(_) => door.hooks.clock.sleep(RECEIVE_BACKOFF).await,
        }
    }
}

/// Answers in a task of its own, so that a call which waits holds up no other.
fn serve(door: &Arc<Door>, datagram: Bytes, peer: SocketAddr) {
    let Ok(permit) = door.inflight.clone().try_acquire_owned() else { return };
    let door_after = door.clone();
    let task = async move {
        let reply = answer(&door_after, datagram, peer).await;
        if let Some(reply) = reply
            && let Err(error) = door_after.socket.send_to(&reply, peer).await
        {
            tracing::debug!(%peer, %error, "rpc datagram reply not sent");
        }
        drop(permit);
    };
    drop(door.hooks.tasks.spawn("rpc datagram call", task.boxed()));
}

async fn answer(door: &Door, datagram: Bytes, peer: SocketAddr) -> Option<BytesMut> {
    let call_bytes = datagram.len();
    let mut args = Decoder::new(datagram);
    let (xid, answer, body) = match take_call(&mut args) {
        // Not answered: a reply to what is no call could go back and forth between two servers for ever.
        Err(NotACall::Garbage) => return None,
        Err(NotACall::Refused(xid, answer)) => (xid, answer, None),
        Ok(head) => match find(&door.programs, head.program, head.version) {
            Err(answer) => (head.xid, answer, None),
            Ok(program) => {
                let (xid, version, procedure) = (head.xid, head.version, head.procedure);
                let call = Call { xid, version, procedure, peer, local: door.local, auth: head.auth, args };
                let (answer, body) = outcome(program, call).await?;
                (xid, answer, body)
            }
        },
    };
    let mut reply = BytesMut::new();
    answer.put(xid, body.as_ref().map_or(0, Body::len), &mut reply);
    for chunk in body.iter().flat_map(Body::chunks) {
        reply.extend_from_slice(chunk);
    }
    // A datagram has no record mark.
    let reply = reply.split_off(MARK_BYTES.min(reply.len()));
    (reply.len() <= call_bytes).then_some(reply)
}

async fn outcome(program: Arc<dyn Program>, call: Call) -> Option<(Answer, Option<Body>)> {
    let outcome = AssertUnwindSafe(async move { program.call(call).await }).catch_unwind().await;
    match outcome.unwrap_or(Err(Refusal::SystemError)) {
        Ok(body) => Some((Answer::Success, Some(body))),
        Err(refusal) => Answer::of(refusal).map(|answer| (answer, None)),
    }
}
