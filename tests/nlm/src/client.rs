//! One client machine: what it asks, and what it hears when it is called back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Body, Call, Hooks, Limits, Program, Refusal, Server};
use objstore_base::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::world::World;
use crate::{DEADLINE, GRANTED};

const PORTMAPPER: u32 = 100_000;
const NLM: u32 = 100_021;
const NSM: u32 = 100_024;

/// A lock as a client words it.
#[derive(Clone, Debug)]
pub struct Lock {
    pub handle: Bytes,
    pub offset: u64,
    pub length: u64,
    pub exclusive: bool,
    pub block: bool,
    pub reclaim: bool,
    pub svid: u32,
}

impl Lock {
    pub fn exclusive(handle: &Bytes, offset: u64, length: u64) -> Self {
        let handle = handle.clone();
        Self { handle, offset, length, exclusive: true, block: false, reclaim: false, svid: 1 }
    }

    pub fn shared(handle: &Bytes, offset: u64, length: u64) -> Self {
        Self { exclusive: false, ..Self::exclusive(handle, offset, length) }
    }

    pub fn blocking(self) -> Self {
        Self { block: true, ..self }
    }

    pub fn reclaiming(self) -> Self {
        Self { reclaim: true, ..self }
    }

    pub fn of(self, svid: u32) -> Self {
        Self { svid, ..self }
    }
}

/// Who calls, without anybody to call back.
#[derive(Clone)]
pub struct Peer {
    pub address: IpAddr,
    pub name: &'static [u8],
    pub uid: u32,
}

impl Peer {
    /// `127.0.0.1` for the first; the others have loopback addresses that no other process takes while this one lives, since
    /// their portmappers listen on the port that the first one got.
    pub fn new(host: u8, name: &'static [u8]) -> Self {
        let [_, first, second, third] = std::process::id().to_be_bytes();
        let address = match host {
            1 => Ipv4Addr::LOCALHOST,
            // Room for seven machines of each of 2^21 processes, which are never alive together.
            _ => Ipv4Addr::new(127, (host % 8) * 32 + first % 32, second, third),
        };
        let address = IpAddr::V4(address);
        Self { address, name, uid: 0 }
    }

    pub async fn raw(&self, program: Arc<dyn Program>, procedure: u32, args: Bytes) -> Result<Decoder, Refusal> {
        let peer = SocketAddr::new(self.address, 900);
        let auth = Auth::Sys { machine: Bytes::from_static(self.name), uid: self.uid, gid: self.uid, gids: vec![] };
        let version = *program.versions().end();
        let call = Call { xid: 1, version, procedure, peer, local: peer, auth, args: Decoder::new(args) };
        program.call(call).await.map(|body| Decoder::new(body.to_bytes()))
    }

    pub async fn ask(&self, world: &World, procedure: u32, args: impl FnOnce(&mut Encoder)) -> Decoder {
        let mut out = Encoder::new();
        args(&mut out);
        let nlm = Arc::clone(&world.nlm);
        self.raw(nlm, procedure, out.finish().to_bytes()).await.expect("the call is well formed")
    }

    pub fn words(&self, out: &mut Encoder, lock: &Lock) {
        out.opaque(self.name);
        out.opaque(&lock.handle);
        out.opaque(format!("{}@{}", lock.svid, String::from_utf8_lossy(self.name)).as_bytes());
        out.u32(lock.svid);
        out.u64(lock.offset);
        out.u64(lock.length);
    }

    pub fn lock_args(&self, out: &mut Encoder, lock: &Lock) {
        out.opaque(b"cookie");
        out.bool(lock.block);
        out.bool(lock.exclusive);
        self.words(out, lock);
        out.bool(lock.reclaim);
        out.i32(1);
    }

    pub async fn lock(&self, world: &World, lock: &Lock) -> u32 {
        status(&mut self.ask(world, 2, |out| self.lock_args(out, lock)).await)
    }

    /// Of a kind that is not monitored.
    pub async fn nm_lock(&self, world: &World, lock: &Lock) -> u32 {
        status(&mut self.ask(world, 22, |out| self.lock_args(out, lock)).await)
    }

    pub async fn unlock(&self, world: &World, lock: &Lock) -> u32 {
        let args = |out: &mut Encoder| {
            out.opaque(b"cookie");
            self.words(out, lock);
        };
        status(&mut self.ask(world, 4, args).await)
    }

    pub async fn cancel(&self, world: &World, lock: &Lock) -> u32 {
        let args = |out: &mut Encoder| {
            out.opaque(b"cookie");
            out.bool(lock.block);
            out.bool(lock.exclusive);
            self.words(out, lock);
        };
        status(&mut self.ask(world, 3, args).await)
    }

    pub fn test_args(&self, out: &mut Encoder, lock: &Lock) {
        out.opaque(b"cookie");
        out.bool(lock.exclusive);
        self.words(out, lock);
    }

    /// Status, and the holder beside `DENIED`: exclusive, svid, offset, length.
    pub async fn test(&self, world: &World, lock: &Lock) -> (u32, Option<(bool, u32, u64, u64)>) {
        let mut reply = self.ask(world, 1, |out| self.test_args(out, lock)).await;
        let status = status(&mut reply);
        let held = holder(&mut reply);
        (status, held)
    }

    pub async fn notify(&self, world: &World, state: i32) {
        let mut out = Encoder::new();
        out.opaque(self.name);
        out.i32(state);
        let monitor = Arc::clone(&world.monitor);
        self.raw(monitor, 6, out.finish().to_bytes()).await.expect("the call is well formed");
    }

    pub async fn free_all(&self, world: &World) {
        let args = |out: &mut Encoder| {
            out.opaque(self.name);
            out.i32(1);
        };
        self.ask(world, 23, args).await;
    }

    pub async fn share(&self, world: &World, procedure: u32, handle: &Bytes, access: u32, deny: u32) -> u32 {
        let args = |out: &mut Encoder| {
            out.opaque(b"cookie");
            out.opaque(self.name);
            out.opaque(handle);
            out.opaque(b"owner");
            out.u32(deny);
            out.u32(access);
            out.bool(false);
        };
        status(&mut self.ask(world, procedure, args).await)
    }
}

/// The status after the cookie, which must be the call's.
pub fn status(reply: &mut Decoder) -> u32 {
    assert_eq!(reply.opaque(1024).expect("a cookie"), b"cookie"[..]);
    reply.u32().expect("a status")
}

pub fn holder(reply: &mut Decoder) -> Option<(bool, u32, u64, u64)> {
    if reply.remaining() == 0 {
        return None;
    }
    let (exclusive, svid) = (reply.bool().expect("exclusive"), reply.u32().expect("svid"));
    reply.opaque(1024).expect("owner");
    Some((exclusive, svid, reply.u64().expect("offset"), reply.u64().expect("length")))
}

/// What a client was called with: program, procedure, arguments.
pub type Heard = (u32, u32, Bytes);

#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<Heard>>,
    /// Status of the answer to GRANTED.
    answer: AtomicU32,
    port: AtomicU16,
}

struct Served(u32, u32, Arc<Ears>);

impl Program for Served {
    fn number(&self) -> u32 {
        self.0
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.1..=self.1
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        async move {
            let (mut args, ears, mut out) = (call.args, &self.2, Encoder::new());
            if self.0 == PORTMAPPER {
                out.u32(u32::from(ears.port.load(Ordering::Acquire)));
                return Ok(out.finish());
            }
            let all = args.clone().fixed_rest();
            if self.0 == NLM && call.procedure == 5 {
                out.opaque(&args.opaque(1024).map_err(|_| Refusal::GarbageArguments)?);
                out.u32(ears.answer.load(Ordering::Acquire));
            }
            ears.heard.lock().push((self.0, call.procedure, all));
            Ok(out.finish())
        }
        .boxed()
    }
}

/// The bytes that are left.
trait Rest {
    fn fixed_rest(self) -> Bytes;
}

impl Rest for Decoder {
    fn fixed_rest(mut self) -> Bytes {
        let words = self.remaining() / 4;
        (0..words).flat_map(|_| self.u32().expect("whole words").to_be_bytes()).collect()
    }
}

/// A machine that can be called back.
pub struct Client {
    pub peer: Peer,
    pub portmapper_port: u16,
    ears: Arc<Ears>,
    server: Server,
}

impl Client {
    /// On the address of `host`; its portmapper listens on `portmapper_port`, or on any port where that is 0.
    pub async fn new(host: u8, name: &'static [u8], portmapper_port: u16) -> Self {
        let peer = Peer::new(host, name);
        let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
        let portmapper = TcpListener::bind((peer.address, portmapper_port)).await.expect("a port");
        let programs = TcpListener::bind((peer.address, 0)).await.expect("a port");
        let ears = Arc::new(Ears::default());
        ears.answer.store(GRANTED, Ordering::Release);
        ears.port.store(programs.local_addr().expect("an address").port(), Ordering::Release);
        let portmapper_port = portmapper.local_addr().expect("an address").port();
        let served = |(number, version)| Arc::new(Served(number, version, Arc::clone(&ears))) as Arc<dyn Program>;
        let all = [(PORTMAPPER, 2), (NLM, 4), (NSM, 1)].map(served).to_vec();
        let server = Server::start(vec![portmapper, programs], all, Limits::default(), Hooks::from(&env));
        Self { peer, portmapper_port, ears, server }
    }

    /// What it answers to GRANTED from now on.
    pub fn answers(&self, status: u32) {
        self.ears.answer.store(status, Ordering::Release);
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.ears.heard.lock().clone()
    }

    pub fn heard_of(&self, procedure: u32) -> usize {
        self.ears.heard.lock().iter().filter(|(_, heard, _)| *heard == procedure).count()
    }

    pub async fn gone(self) {
        self.server.drain(DEADLINE).await;
    }
}
