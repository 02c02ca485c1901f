//! One call: whose it is, which share it is in, and what it may conclude about an object it changed.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fs_api::{Attr, Context, Credentials, Durability, FileKind, Ino, Origin, Receipt, Target, Vfs};
use gateway_sunrpc::xdr::Encoder;
use gateway_sunrpc::{Auth, Body};
use objstore_base::ErrorKind;

use crate::door::Door;
use crate::handle::FileHandle;
use crate::opened::{HandleRefusal, Opened};
use crate::protocol::attributes::{Wcc, put_fattr, put_post_op, put_wcc};
use crate::protocol::status::Status;
use crate::shares::{Ack, Share};

/// Most directories that are walked up to find whether one lies in a share.
const DEPTH_MAX: usize = 4096;
/// The longest reply without a payload or a listing: CREATE's, with handle, attributes and both sides of `wcc_data`.
const REPLY_BYTES: usize = 256;

/// What every procedure is called with, before a handle has told the share.
pub(crate) struct Request {
    pub(crate) door: Arc<Door>,
    pub(crate) peer: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) number: u64,
    /// Known from the first handle on; a second one is of the same client.
    pub(crate) origin: OnceLock<Arc<Origin>>,
    /// Stored with what the call changes.
    pub(crate) receipt: Option<Arc<Receipt>>,
}

/// An object of a share that the caller may speak of.
pub(crate) struct Object {
    pub(crate) share: Arc<Share>,
    pub(crate) ino: Ino,
    pub(crate) credentials: Credentials,
    number: u64,
    origin: Arc<Origin>,
    receipt: Option<Arc<Receipt>>,
}

/// Whether a procedure changes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Look,
    Change,
}

impl Request {
    pub(crate) fn vfs(&self) -> &dyn Vfs {
        self.door.vfs()
    }

    /// The object that `handle` names, where it is genuine and its share still admits this client.
    pub(crate) fn object(&self, handle: &[u8], intent: Intent) -> Result<Object, Status> {
        let opened = self.door.open_handle(handle, self.peer, &self.auth);
        let Opened { share, ino, credentials } = opened.map_err(|refusal| match refusal {
            HandleRefusal::Forged => Status::BadHandle,
            HandleRefusal::ShareGone => Status::Stale,
            HandleRefusal::NotAdmitted => Status::Acces,
        })?;
        if intent == Intent::Change && share.read_only {
            return Err(Status::RoFs);
        }
        let origin = self.origin.get_or_init(|| self.door.origins().of(&share, self.peer.ip()));
        let (origin, receipt) = (Arc::clone(origin), self.receipt.clone());
        Ok(Object { share, ino, credentials, number: self.number, origin, receipt })
    }

    /// For what the door itself has to know.
    fn privileged(&self) -> Context {
        Context { origin: self.origin.get().cloned(), ..Context::new(self.number, Credentials::root()) }
    }

    /// Attributes for the reply; `None` where they cannot be had.
    pub(crate) async fn attr(&self, ino: Ino) -> Option<Attr> {
        let cx = self.privileged();
        self.vfs().getattr(&cx, Target::inode(ino)).await.ok()
    }

    /// Attributes of an object named by its handle: one that does not exist any more is stale.
    pub(crate) async fn attr_of(&self, object: &Object) -> Result<Attr, Status> {
        let cx = object.look();
        self.vfs().getattr(&cx, Target::inode(object.ino)).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Stale => Status::Stale,
            _ => Status::from(error),
        })
    }

    /// Attributes of a directory that names are looked up or changed in.
    pub(crate) async fn directory(&self, object: &Object) -> Result<Attr, Status> {
        let attr = self.attr_of(object).await?;
        if attr.kind == FileKind::Directory { Ok(attr) } else { Err(Status::NotDir) }
    }

    /// What to tell of `ino` after a call that changed it `steps` times (0 or 1). The change counter proves that nothing
    /// else came between `before` and now; where something did, `before` is withheld.
    pub(crate) async fn wcc(&self, ino: Ino, before: Option<Attr>, steps: u64) -> Wcc {
        let after = self.attr(ino).await;
        let alone = |before: &Attr| after.is_some_and(|after| after.change.wrapping_sub(before.change) == steps);
        Wcc { before: before.filter(alone), after }
    }

    /// Whether the directory `ino` lies in `share`, by walking up. A directory that another door moved out of the share
    /// does not: from there `..` must not lead on.
    pub(crate) async fn lies_in(&self, share: &Share, mut ino: Ino) -> bool {
        let cx = self.privileged();
        for _ in 0..DEPTH_MAX {
            if ino == share.root {
                return true;
            }
            match self.vfs().lookup(&cx, ino, b"..").await {
                Ok(parent) if parent.ino != ino => ino = parent.ino,
                _ => return false,
            }
        }
        false
    }

    /// A finished reply that says no more than `status` and the weak cache consistency of one object.
    pub(crate) fn with_wcc(share: &Share, status: Status, wcc: &Wcc) -> Body {
        let mut reply = Reply::new(status);
        reply.wcc(share, wcc);
        reply.finish()
    }
}

impl Object {
    /// For a call that changes nothing.
    pub(crate) fn look(&self) -> Context {
        let origin = Some(Arc::clone(&self.origin));
        Context { origin, ..Context::new(self.number, self.credentials.clone()) }
    }

    /// For a change of names or attributes: durable before the reply unless the share relaxes it.
    pub(crate) fn change(&self) -> Context {
        let durability = match self.share.ack {
            Ack::Synced => Durability::Synced,
            Ack::Async => Durability::Buffered,
        };
        Context { durability, receipt: self.receipt.clone(), ..self.look() }
    }

    pub(crate) fn with(&self, durability: Durability) -> Context {
        Context { durability, ..self.look() }
    }

    /// For a step that a later one of the same call makes durable with itself.
    pub(crate) fn privileged(&self, durability: Durability) -> Context {
        Context { credentials: Credentials::root(), ..self.with(durability) }
    }

    pub(crate) fn target(&self) -> Target {
        Target::inode(self.ino)
    }
}

/// A reply being written.
pub(crate) struct Reply(pub(crate) Encoder);

impl Reply {
    pub(crate) fn new(status: Status) -> Self {
        Self::with_capacity(status, REPLY_BYTES)
    }

    /// For a reply of up to `bytes`.
    pub(crate) fn with_capacity(status: Status, bytes: usize) -> Self {
        let mut out = Encoder::with_capacity(bytes);
        out.u32(status as u32);
        Self(out)
    }

    /// A client sees each share as a filesystem of its own, as it sees its mounts.
    fn fsid(share: &Share) -> u64 {
        u64::from(share.id.0)
    }

    pub(crate) fn attr(&mut self, share: &Share, attr: &Attr) {
        put_fattr(&mut self.0, Self::fsid(share), attr);
    }

    pub(crate) fn post_op(&mut self, share: &Share, attr: Option<&Attr>) {
        put_post_op(&mut self.0, Self::fsid(share), attr);
    }

    pub(crate) fn wcc(&mut self, share: &Share, wcc: &Wcc) {
        put_wcc(&mut self.0, Self::fsid(share), wcc);
    }

    /// A failure whose reply carries only attributes, before there are any.
    pub(crate) fn failed_attr(status: Status) -> Body {
        let mut reply = Self::new(status);
        reply.0.bool(false);
        reply.finish()
    }

    /// A failure whose reply carries only `wcc_data`, before there is any.
    pub(crate) fn failed_wcc(status: Status) -> Body {
        let mut reply = Self::new(status);
        put_wcc(&mut reply.0, 0, &Wcc::default());
        reply.finish()
    }

    /// A failure of LINK, before there are any attributes.
    pub(crate) fn failed_link(status: Status) -> Body {
        let mut reply = Self::new(status);
        for _ in 0..3 {
            reply.0.bool(false);
        }
        reply.finish()
    }

    /// `post_op_fh3`.
    pub(crate) fn handle(&mut self, door: &Door, share: &Share, ino: Ino) {
        self.0.bool(true);
        self.bare_handle(door, share, ino);
    }

    pub(crate) fn bare_handle(&mut self, door: &Door, share: &Share, ino: Ino) {
        self.0.opaque(&door.key().seal(FileHandle { share: share.id, ino }));
    }

    pub(crate) fn payload(&mut self, bytes: Bytes) {
        self.0.payload(bytes);
    }

    pub(crate) fn finish(self) -> Body {
        self.0.finish()
    }
}
