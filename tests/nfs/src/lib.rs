//! The NFS door in front of the reference filesystem, called as its clients call it.
//!
//! [`World`] is one store with its door; [`Client`] one caller. Calls go through the program's own entry, so that a test
//! sees refusals, dropped repeats and the bytes of every reply.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use fs_api::{Ino, ROOT_INO, SetAttr, Vfs};
use futures::FutureExt;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{CreateHow, Place};
use gateway_nfs::protocol::attributes::NewAttributes;
use gateway_nfs::{Door, DoorOptions, FileHandle, HandleKey, Share, ShareId, Shares, Squash};
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Body, Call, Program, Refusal};
use tests_model::Model;

pub const SECRET: [u8; 16] = *b"a store's secret";
pub const OK: u32 = 0;

pub struct World {
    pub vfs: Arc<Model>,
    pub shares: Arc<Shares>,
    pub door: Arc<Door>,
}

impl World {
    /// One share, `/all`, of the whole filesystem, in which everyone may do everything and root is root.
    pub fn new() -> Self {
        Self::with(vec![Share { squash: Squash::None, ..Share::local(ShareId(1), b"/all", ROOT_INO) }])
    }

    pub fn with(shares: Vec<Share>) -> Self {
        let vfs = Arc::new(Model::with_root(0, 0, 0o777));
        let shares = Arc::new(Shares::new(shares));
        let door = door(&vfs, &shares, 1);
        Self { vfs, shares, door }
    }

    /// The service stopped and started again; the store is as it was.
    pub fn restarted(self) -> Self {
        let door = door(&self.vfs, &self.shares, 2);
        Self { door, ..self }
    }

    pub fn client(&self, uid: u32) -> Client {
        let auth = Auth::Sys { machine: Bytes::from_static(b"test"), uid, gid: uid, gids: vec![] };
        let peer = SocketAddr::from(([127, 0, 0, 1], 901));
        Client { door: Arc::clone(&self.door), auth, peer, xid: AtomicU32::new(uid.wrapping_mul(1 << 16)) }
    }

    pub fn handle(&self, share: u32, ino: Ino) -> Bytes {
        handle(share, ino)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn door(vfs: &Arc<Model>, shares: &Arc<Shares>, start: u64) -> Arc<Door> {
    let options = DoorOptions { secret: SECRET, start, manage_gids: None, requests: Arc::new(AtomicU64::new(1)) };
    Door::new(Arc::clone(vfs) as Arc<dyn Vfs>, Arc::clone(shares), options).expect("the model keeps receipts")
}

pub fn handle(share: u32, ino: Ino) -> Bytes {
    Bytes::copy_from_slice(&HandleKey::new(SECRET).seal(FileHandle { share: ShareId(share), ino }))
}

pub fn root() -> Bytes {
    handle(1, ROOT_INO)
}

pub struct Client {
    pub door: Arc<Door>,
    pub auth: Auth,
    pub peer: SocketAddr,
    xid: AtomicU32,
}

impl Client {
    /// The reply to a call with an xid of its own.
    pub fn call(&self, procedure: Procedure, args: impl FnOnce(&mut Encoder)) -> Decoder {
        let xid = self.xid.fetch_add(1, Ordering::Relaxed);
        let mut out = Encoder::new();
        args(&mut out);
        self.send(xid, procedure, joined(&out.finish())).expect("the call is well formed")
    }

    pub fn send(&self, xid: u32, procedure: Procedure, args: Bytes) -> Result<Decoder, Refusal> {
        let (peer, auth, args) = (self.peer, self.auth.clone(), Decoder::new(args));
        let call = Call { xid, version: 3, procedure: procedure as u32, peer, local: peer, auth, args };
        now(Arc::clone(&self.door).call(call)).map(|body| Decoder::new(joined(&body)))
    }

    /// Status, and the handle where it is `OK`.
    pub fn lookup(&self, dir: &Bytes, name: &[u8]) -> (u32, Bytes) {
        let mut reply = self.call(Procedure::Lookup, |out| place(dir, name).encode(out));
        let status = number(&mut reply);
        (status, if status == OK { opaque(&mut reply) } else { Bytes::new() })
    }

    pub fn create(&self, dir: &Bytes, name: &[u8], how: CreateHow) -> (u32, Bytes) {
        let reply = self.call(Procedure::Create, |out| {
            place(dir, name).encode(out);
            how.encode(out);
        });
        created(reply)
    }

    pub fn mkdir(&self, dir: &Bytes, name: &[u8]) -> (u32, Bytes) {
        let reply = self.call(Procedure::MkDir, |out| {
            place(dir, name).encode(out);
            mode(0o777).encode(out);
        });
        created(reply)
    }

    pub fn write(&self, file: &Bytes, offset: u64, data: &'static [u8], stable: u32) -> Decoder {
        self.call(Procedure::Write, |out| {
            out.opaque(file);
            out.u64(offset);
            out.u32(data.len() as u32);
            out.u32(stable);
            out.opaque(data);
        })
    }

    pub fn read(&self, file: &Bytes, offset: u64, count: u32) -> Decoder {
        self.call(Procedure::Read, |out| {
            out.opaque(file);
            out.u64(offset);
            out.u32(count);
        })
    }
}

pub fn created(mut reply: Decoder) -> (u32, Bytes) {
    let status = number(&mut reply);
    if status != OK {
        return (status, Bytes::new());
    }
    assert!(flag(&mut reply), "a handle comes with it");
    (status, opaque(&mut reply))
}

pub fn mode(mode: u32) -> NewAttributes {
    NewAttributes { set: SetAttr { mode: Some(mode), ..SetAttr::default() }, times_valid: true }
}

pub fn place(dir: &Bytes, name: &[u8]) -> Place {
    Place { dir: dir.clone(), name: Bytes::copy_from_slice(name) }
}

pub fn joined(body: &Body) -> Bytes {
    body.to_bytes()
}

pub fn number(input: &mut Decoder) -> u32 {
    input.u32().expect("the reply goes on")
}

pub fn flag(input: &mut Decoder) -> bool {
    input.bool().expect("the reply goes on")
}

pub fn opaque(input: &mut Decoder) -> Bytes {
    input.opaque(1 << 21).expect("the reply goes on")
}

/// What tests look at of `fattr3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fattr {
    pub kind: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub fileid: u64,
    pub ctime: (u32, u32),
}

pub fn fattr(input: &mut Decoder) -> Fattr {
    let mut word = || number(input);
    let (kind, mode, nlink, uid, gid) = (word(), word(), word(), word(), word());
    let size = input.u64().expect("size");
    input.fixed::<24>().expect("used, rdev, fsid");
    let fileid = input.u64().expect("fileid");
    input.fixed::<16>().expect("atime, mtime");
    Fattr { kind, mode, nlink, uid, gid, size, fileid, ctime: (number(input), number(input)) }
}

pub fn post_op(input: &mut Decoder) -> Option<Fattr> {
    flag(input).then(|| fattr(input))
}

/// Whether pre-operation attributes are there, and the attributes after.
pub fn wcc(input: &mut Decoder) -> (bool, Option<Fattr>) {
    let before = flag(input);
    if before {
        input.fixed::<24>().expect("size, mtime, ctime");
    }
    (before, post_op(input))
}

/// The answer of a future that waits for nobody: it may step aside once, but nothing waits in front of the reference
/// filesystem.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let first = future.as_mut().now_or_never();
    first.or_else(|| future.now_or_never()).expect("the reference filesystem never waits")
}
