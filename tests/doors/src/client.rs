//! A client of the NFS door: encodes, calls, decodes, and keeps the handles that it was given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use fs_api::{FileKind, Ino, ROOT_INO};
use gateway_nfs::Door;
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::ReadDirArgs;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use gateway_sunrpc::{Auth, Call, Program};
use parking_lot::Mutex;
use tests_nfs::{Fattr, OK, fattr, flag, number, opaque, place, post_op};
use tests_sim::{Actor, USER};

use crate::tally::Tally;

/// Of the calls that the door remembers, one in so many is sent twice.
const REPEATED: u32 = 5;
const STALE: u32 = 70;
const WALK_BYTES: u32 = 8192;

/// A status that is not `OK`.
pub(crate) type Answer<T> = Result<T, u32>;

/// A handle, and the start of the service that gave it out.
#[derive(Clone, Debug)]
struct Given {
    handle: Bytes,
    start: u64,
}

/// What the client has kept over all starts of the service.
#[derive(Default)]
pub(crate) struct Kept {
    handles: BTreeMap<Ino, Given>,
    /// Of files that are gone; each has to lead nowhere for ever.
    pub(crate) dead: Vec<Bytes>,
    pub(crate) tally: Tally,
    /// The write verifier of this start.
    pub(crate) verifier: Option<[u8; 8]>,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) door: Arc<Door>,
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) xid: Arc<AtomicU32>,
    pub(crate) start: u64,
    /// What the door numbers its next request with.
    pub(crate) requests: Arc<AtomicU64>,
    /// The operation that is carried out, by which the history knows its requests in the order of commits.
    pub(crate) operation: u64,
}

/// A name in a listing.
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) fileid: Ino,
    pub(crate) attr: Option<Fattr>,
}

impl Kept {
    pub(crate) fn knows(&self, ino: Ino) -> bool {
        self.handles.contains_key(&ino)
    }

    pub(crate) fn inos(&self) -> Vec<Ino> {
        self.handles.keys().copied().collect()
    }

    pub(crate) fn handle(&self, ino: Ino) -> Option<Bytes> {
        self.handles.get(&ino).map(|given| given.handle.clone())
    }

    /// `ino` is gone: its handle is kept to be asked for.
    pub(crate) fn bury(&mut self, ino: Ino) {
        self.dead.extend(self.handles.remove(&ino).map(|given| given.handle));
    }
}

impl Client {
    /// The reply to one call, after its status. Some calls are sent again, with the same xid: the second reply has to be
    /// the first, and what it did is compared by everything that follows.
    pub(crate) async fn call(
        &self,
        actor: Actor,
        procedure: Procedure,
        args: impl FnOnce(&mut Encoder),
    ) -> Answer<Decoder> {
        let mut out = Encoder::new();
        args(&mut out);
        let (args, xid) = (out.finish().to_bytes(), self.xid.fetch_add(1, Ordering::Relaxed));
        *self.kept.lock().tally.procedures.entry(format!("{procedure:?}")).or_default() += 1;
        let reply = self.send(actor, xid, procedure, args.clone()).await;
        if xid.is_multiple_of(REPEATED) && is_remembered(procedure) {
            self.kept.lock().tally.repeats += 1;
            let again = self.send(actor, xid, procedure, args).await;
            assert!(reply == again, "{procedure:?} sent again is answered differently: {reply:?}, then {again:?}");
        }
        let mut reply = Decoder::new(reply);
        match number(&mut reply) {
            OK => Ok(reply),
            status => Err(status),
        }
    }

    async fn send(&self, actor: Actor, xid: u32, procedure: Procedure, args: Bytes) -> Bytes {
        let uid = if actor == Actor::Root { 0 } else { USER };
        let auth = Auth::Sys { machine: Bytes::from_static(b"history"), uid, gid: uid, gids: vec![] };
        let peer = SocketAddr::from(([127, 0, 0, 1], 901));
        let args = Decoder::new(args);
        let call = Call { xid, version: 3, procedure: procedure as u32, peer, local: peer, auth, args };
        self.requests.store(self.operation, Ordering::Relaxed);
        let body = Arc::clone(&self.door).call(call).await;
        body.unwrap_or_else(|refusal| panic!("{procedure:?} is well formed, and refused: {refusal:?}")).to_bytes()
    }

    /// The handle of `ino`: one that was given out before, or else found by walking down from the root of the share.
    pub(crate) async fn handle(&self, ino: Ino) -> Answer<Bytes> {
        if let Some(handle) = self.known(ino) {
            return Ok(handle);
        }
        self.walk(ino).await?;
        self.known(ino).ok_or(STALE)
    }

    fn known(&self, ino: Ino) -> Option<Bytes> {
        let mut kept = self.kept.lock();
        let given = kept.handles.get(&ino)?.clone();
        kept.tally.old_handles += u64::from(given.start < self.start);
        Some(given.handle)
    }

    pub(crate) fn learn(&self, ino: Ino, handle: Bytes) {
        let mut kept = self.kept.lock();
        let given = kept.handles.entry(ino).or_insert_with(|| Given { handle: handle.clone(), start: self.start });
        assert_eq!(given.handle, handle, "a file has one handle, over all starts");
    }

    async fn walk(&self, wanted: Ino) -> Answer<()> {
        let mut pending = vec![ROOT_INO];
        while let Some(dir) = pending.pop() {
            let Some(handle) = self.known(dir) else { continue };
            for entry in self.list(Actor::Root, &handle, WALK_BYTES, true).await? {
                if entry.name == b"." || entry.name == b".." {
                    continue;
                }
                if entry.attr.is_some_and(|attr| kind(attr) == FileKind::Directory) {
                    pending.push(entry.fileid);
                }
            }
            if self.kept.lock().knows(wanted) {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(crate) async fn lookup(&self, actor: Actor, dir: &Bytes, name: &[u8]) -> Answer<Fattr> {
        let mut reply = self.call(actor, Procedure::Lookup, |out| place(dir, name).encode(out)).await?;
        let handle = opaque(&mut reply);
        let attr = post_op(&mut reply).expect("LOOKUP tells attributes");
        self.learn(Ino(attr.fileid), handle);
        Ok(attr)
    }

    pub(crate) async fn getattr(&self, handle: &Bytes) -> Answer<Fattr> {
        let mut reply = self.call(Actor::Root, Procedure::GetAttr, |out| out.opaque(handle)).await?;
        Ok(fattr(&mut reply))
    }

    /// The whole directory, in replies of at most `bytes`.
    pub(crate) async fn list(&self, actor: Actor, dir: &Bytes, bytes: u32, plus: bool) -> Answer<Vec<Listed>> {
        let procedure = if plus { Procedure::ReadDirPlus } else { Procedure::ReadDir };
        let (mut entries, mut cookie, mut end) = (Vec::new(), 0, false);
        while !end {
            let args = ReadDirArgs { dir: dir.clone(), cookie, verifier: [0; 8], dircount: bytes, maxcount: bytes };
            let mut reply = self.call(actor, procedure, |out| args.encode(out, plus)).await?;
            assert!(reply.remaining() <= bytes as usize, "{} bytes in a listing of {bytes}", reply.remaining());
            post_op(&mut reply).expect("a listing tells attributes");
            reply.fixed::<8>().expect("the verifier");
            let before = cookie;
            while flag(&mut reply) {
                let fileid = Ino(reply.u64().expect("a number"));
                let name = opaque(&mut reply).to_vec();
                let next = reply.u64().expect("a cookie");
                assert!(next > cookie, "cookies ascend: {next} after {cookie}");
                cookie = next;
                let attr = if plus { self.extras(&mut reply, fileid) } else { None };
                entries.push(Listed { name, fileid, attr });
            }
            end = flag(&mut reply);
            assert!(end || cookie > before, "a listing that is not at its end goes on");
        }
        Ok(entries)
    }

    fn extras(&self, reply: &mut Decoder, fileid: Ino) -> Option<Fattr> {
        let attr = post_op(reply);
        assert!(attr.is_none_or(|attr| attr.fileid == fileid.0), "one number in one entry");
        if flag(reply) {
            self.learn(fileid, opaque(reply));
        }
        attr
    }

    /// What every WRITE and COMMIT of one start tells is the same.
    pub(crate) fn check_verifier(&self, verifier: [u8; 8]) {
        let first = *self.kept.lock().verifier.get_or_insert(verifier);
        assert_eq!(first, verifier, "the verifier changed, and nothing was lost");
    }
}

pub(crate) fn kind(attr: Fattr) -> FileKind {
    match attr.kind {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        3 => FileKind::BlockDevice,
        4 => FileKind::CharDevice,
        5 => FileKind::Symlink,
        6 => FileKind::Socket,
        7 => FileKind::Fifo,
        other => panic!("{other} is no ftype3"),
    }
}

const fn is_remembered(procedure: Procedure) -> bool {
    !matches!(
        procedure,
        Procedure::Null
            | Procedure::GetAttr
            | Procedure::Lookup
            | Procedure::Access
            | Procedure::ReadLink
            | Procedure::Read
            | Procedure::ReadDir
            | Procedure::ReadDirPlus
            | Procedure::FsStat
            | Procedure::FsInfo
            | Procedure::PathConf
            | Procedure::Commit
    )
}
