//! [`NlmDoor`]: the lock manager program. Tells procedures apart and sends the answers of the `_MSG` forms back.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fs_api::Vfs;
use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_nfs::Door;
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};
use gateway_sunrpc::{Auth, Body, Call, Hooks, Program, Refusal};
use objstore_base::Result;
use siphasher::sip::SipHasher24;
use tokio::sync::watch;

use crate::callback::{CallBack, Caller};
use crate::client::Clients;
use crate::limits::NlmLimits;
use crate::monitor::{MonitorStore, Monitors};
use crate::protocol::{
    LockArgs, NLM_PROGRAM, NLM_VERSION, Procedure, ShareArgs, Status, decode_name_and_state, result, share_result,
    test_result,
};
use crate::reservations::Reservations;

/// What the daemon hands to the door.
pub struct NlmOptions {
    /// Tells this door's lock owners from those of other doors.
    pub door_number: u32,
    /// 16 secret bytes: nobody can make up a lock owner that is taken for another's.
    pub secret: [u8; 16],
    /// As what clients know this server: the name they mount from.
    pub server_name: Bytes,
    /// How long after a start only locks of before it are given out, where there may have been any.
    pub grace: Duration,
    /// Where clients' portmappers listen: 111, but for tests.
    pub portmapper_port: u16,
    pub limits: NlmLimits,
}

impl NlmOptions {
    pub const GRACE: Duration = Duration::from_secs(45);

    pub fn new(door_number: u32, secret: [u8; 16], server_name: Bytes) -> Self {
        let (grace, limits) = (Self::GRACE, NlmLimits::default());
        Self { door_number, secret, server_name, grace, portmapper_port: 111, limits }
    }
}

pub struct NlmDoor {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) nfs: Arc<Door>,
    pub(crate) options: NlmOptions,
    pub(crate) clients: Clients,
    pub(crate) reservations: Reservations,
    pub(crate) monitors: Monitors,
    pub(crate) caller: Caller,
    pub(crate) hooks: Hooks,
    /// This server's status monitor's, since this start.
    pub(crate) state: i32,
    pub(crate) grace_until: Duration,
    answers: AtomicUsize,
    stopping: watch::Sender<bool>,
    tasks: watch::Sender<usize>,
}

/// Who calls.
pub(crate) struct Peer {
    pub(crate) socket: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) request: u64,
}

impl Peer {
    /// What its locks are filed under: an IPv4 client on a dual-stack socket is an IPv4 client.
    pub(crate) fn address(&self) -> IpAddr {
        self.socket.ip().to_canonical()
    }
}

impl NlmDoor {
    /// Takes a new state number, begins to tell the clients of before this start of it, and gives them `grace` to take
    /// their locks again. Where there are none, nobody has to wait.
    ///
    /// # Errors
    /// The durable list cannot be read or written.
    pub async fn start(
        vfs: Arc<dyn Vfs>,
        nfs: Arc<Door>,
        store: Arc<dyn MonitorStore>,
        options: NlmOptions,
        hooks: Hooks,
    ) -> Result<Arc<Self>> {
        let state = store.next_state().await?;
        let before = store.list().await?;
        let grace = if before.is_empty() { Duration::ZERO } else { options.grace };
        let clock = hooks.clock.clone();
        let door = Arc::new(Self {
            vfs,
            nfs,
            clients: Clients::default(),
            reservations: Reservations::default(),
            monitors: Monitors::new(store, options.limits.clients_max),
            grace_until: clock.monotonic() + grace,
            caller: Caller { clock, portmapper_port: options.portmapper_port, deadline: options.limits.call_deadline },
            hooks,
            state,
            options,
            answers: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            tasks: watch::Sender::new(0),
        });
        if !before.is_empty() {
            tracing::info!(proto = "nlm", clients = before.len(), state, "clients are told of the restart");
            let telling = Arc::clone(&door);
            door.run("nlm notify", async move { telling.tell_restart(before).await }.boxed());
        }
        Ok(door)
    }

    /// Ends all waits and calls to clients; what does not end within `deadline` is told in the log.
    pub async fn stop(&self, deadline: Duration) {
        self.stopping.send_replace(true);
        let mut tasks = self.tasks.subscribe();
        tokio::select! {
            _ = tasks.wait_for(|tasks| *tasks == 0) => {}
            () = self.hooks.clock.sleep(deadline) => tracing::warn!("nlm tasks go on after the deadline"),
        }
    }

    /// Ranges held and calls waiting, over all clients.
    pub fn counts(&self) -> (usize, usize) {
        self.clients.counts()
    }

    /// Waits that are watched and clients that are being called.
    pub fn tasks(&self) -> usize {
        *self.tasks.borrow()
    }

    /// A task that ends with the door: `stop` waits for it.
    pub(crate) fn run(&self, name: &'static str, work: BoxFuture<'static, ()>) {
        let (counted, mut stopping) = (OneTask::new(&self.tasks), self.stopping.subscribe());
        let task = async move {
            tokio::select! {
                () = work => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            drop(counted);
        };
        // Joined by count.
        drop(self.hooks.tasks.spawn(name, task.boxed()));
    }

    /// The lock owner that a client's words stand for. Under a secret, and with the client's address: it can name no
    /// other's.
    pub(crate) fn owner(&self, client: IpAddr, name: &[u8], svid: u32, owner: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.options.secret);
        match client {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        for part in [name, owner] {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.write_u32(svid);
        hasher.finish()
    }

    async fn answer(self: Arc<Self>, call: Call) -> Result<Body, Refusal> {
        let procedure = Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
        let request = self.nfs.next_request();
        let Call { peer, auth, args, .. } = call;
        let peer = Peer { socket: peer, auth, request };
        self.perform(&peer, procedure, args).await.map_err(|Garbage| Refusal::GarbageArguments)
    }

    async fn perform(self: &Arc<Self>, peer: &Peer, procedure: Procedure, args: Decoder) -> Result<Body, Garbage> {
        let nothing = Encoder::new().finish();
        Ok(match procedure {
            Procedure::Null => nothing,
            Procedure::Test => self.tested(peer, LockArgs::decode_test(args)?).await,
            Procedure::Lock => self.locked(peer, LockArgs::decode_lock(args)?).await,
            Procedure::Cancel => self.cancelled(peer, LockArgs::decode_cancel(args)?).await,
            Procedure::Unlock => self.unlocked(peer, LockArgs::decode_unlock(args)?).await,
            // This server waits for no lock of another.
            Procedure::Granted => result(&LockArgs::decode_test(args)?.cookie, Status::Denied),
            Procedure::TestMsg => {
                let body = self.tested(peer, LockArgs::decode_test(args)?).await;
                self.send_back(peer, Procedure::TestRes, body)
            }
            Procedure::LockMsg => {
                let body = self.locked(peer, LockArgs::decode_lock(args)?).await;
                self.send_back(peer, Procedure::LockRes, body)
            }
            Procedure::CancelMsg => {
                let body = self.cancelled(peer, LockArgs::decode_cancel(args)?).await;
                self.send_back(peer, Procedure::CancelRes, body)
            }
            Procedure::UnlockMsg => {
                let body = self.unlocked(peer, LockArgs::decode_unlock(args)?).await;
                self.send_back(peer, Procedure::UnlockRes, body)
            }
            Procedure::GrantedMsg => {
                let body = result(&LockArgs::decode_test(args)?.cookie, Status::Denied);
                self.send_back(peer, Procedure::GrantedRes, body)
            }
            // Answers to `_MSG` calls, of which this server makes none.
            Procedure::TestRes
            | Procedure::LockRes
            | Procedure::CancelRes
            | Procedure::UnlockRes
            | Procedure::GrantedRes => nothing,
            Procedure::Share => {
                let args = ShareArgs::decode(args)?;
                share_result(&args.cookie, self.reserve(peer, &args).await)
            }
            Procedure::Unshare => {
                let args = ShareArgs::decode(args)?;
                share_result(&args.cookie, self.unreserve(peer, &args))
            }
            Procedure::NmLock => {
                let args = LockArgs::decode_lock(args)?;
                result(&args.cookie, self.lock(peer, &args, Watch::No).await)
            }
            Procedure::FreeAll => {
                let (_name, _state) = decode_name_and_state(args)?;
                self.free_all(peer.address()).await;
                nothing
            }
        })
    }

    async fn tested(&self, peer: &Peer, args: LockArgs) -> Body {
        test_result(&args.cookie, self.test(peer, &args).await)
    }

    async fn locked(self: &Arc<Self>, peer: &Peer, args: LockArgs) -> Body {
        result(&args.cookie, self.lock(peer, &args, Watch::Yes).await)
    }

    async fn cancelled(&self, peer: &Peer, args: LockArgs) -> Body {
        result(&args.cookie, self.cancel(peer, &args).await)
    }

    async fn unlocked(&self, peer: &Peer, args: LockArgs) -> Body {
        result(&args.cookie, self.unlock(peer, &args).await)
    }

    /// Answers a `_MSG` call by a call of its own; the reply to the call itself says nothing.
    fn send_back(self: &Arc<Self>, peer: &Peer, procedure: Procedure, args: Body) -> Body {
        if self.answers.fetch_add(1, Ordering::Relaxed) >= self.options.limits.answers_max {
            self.answers.fetch_sub(1, Ordering::Relaxed);
            return Encoder::new().finish();
        }
        let (door, client) = (Arc::clone(self), peer.address());
        let work = async move {
            let what = CallBack { program: NLM_PROGRAM, version: NLM_VERSION, procedure: procedure as u32, args };
            if let Err(error) = door.caller.call(client, what).await {
                tracing::debug!(proto = "nlm", %client, %error, "an answer was not taken");
            }
            door.answers.fetch_sub(1, Ordering::Relaxed);
        };
        self.run("nlm answer", work.boxed());
        Encoder::new().finish()
    }
}

/// Whether the client is to be told when this server restarts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    Yes,
    No,
}

struct OneTask(watch::Sender<usize>);

impl OneTask {
    fn new(tasks: &watch::Sender<usize>) -> Self {
        tasks.send_modify(|tasks| *tasks += 1);
        Self(tasks.clone())
    }
}

impl Drop for OneTask {
    fn drop(&mut self) {
        self.0.send_modify(|tasks| *tasks -= 1);
    }
}

impl Program for NlmDoor {
    fn number(&self) -> u32 {
        NLM_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        NLM_VERSION..=NLM_VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        self.answer(call).boxed()
    }
}
