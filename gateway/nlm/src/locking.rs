//! TEST, LOCK and SHARE: what gives a client something, or tells what it could have.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fs_api::{
    AccessMask, Context, Credentials, FileKind, Ino, LockKind, LockOwner, LockRequest, LockSpace, LockWait, Target,
};
use futures::FutureExt;
use gateway_nfs::{HandleRefusal, Opened};
use objstore_base::{BoxFuture, ErrorKind, Result as HouseResult};

use crate::client::{Client, Record};
use crate::door::{NlmDoor, Peer, Watch};
use crate::monitor::Monitored;
use crate::protocol::{Holder, LockArgs, ShareArgs, Status};
use crate::range::{from_wire, to_wire};
use crate::reservations::Reservation;
use crate::waiter::{Outcome, WaitKey, Waiter};

/// What a call means by its lock.
struct Wanted {
    opened: Opened,
    key: WaitKey,
    svid: u32,
}

impl NlmDoor {
    /// Who is in the way of a lock.
    pub(crate) async fn test(&self, peer: &Peer, args: &LockArgs) -> Result<Option<Holder>, Status> {
        let wanted = self.wanted(peer, args)?;
        if self.in_grace() {
            return Err(Status::DeniedGracePeriod);
        }
        self.may_lock(peer, &wanted.opened, wanted.key.kind).await?;
        let cx = Context::new(peer.request, wanted.opened.credentials.clone());
        let request = self.request(&wanted.key, Some(wanted.key.kind), wanted.svid);
        let found = self.vfs.test_lock(&cx, wanted.key.ino, request).await.map_err(|e| refused(e.kind()))?;
        Ok(found.map(|found| {
            let (offset, length) = to_wire(found.range);
            let exclusive = found.kind == Some(LockKind::Exclusive);
            Holder { exclusive, svid: found.pid, owner: found.owner.owner.to_be_bytes(), offset, length }
        }))
    }

    pub(crate) async fn lock(self: &Arc<Self>, peer: &Peer, args: &LockArgs, watch: Watch) -> Status {
        match self.try_lock(peer, args, watch).await {
            Ok(()) => Status::Granted,
            Err(status) => status,
        }
    }

    async fn try_lock(self: &Arc<Self>, peer: &Peer, args: &LockArgs, watch: Watch) -> Result<(), Status> {
        let wanted = self.wanted(peer, args)?;
        // A reclaim that comes too late could take what others have locked and given back since.
        if self.in_grace() != args.mode.reclaim {
            return Err(Status::DeniedGracePeriod);
        }
        self.may_lock(peer, &wanted.opened, wanted.key.kind).await?;
        let limits = &self.options.limits;
        let client = self.clients.record(peer.address(), limits.clients_max).ok_or(Status::DeniedNoLocks)?;
        let mut record = client.record.lock().await;
        if let Some(waiter) = record.waiter(&wanted.key) {
            return repeated(&mut record, &waiter, args);
        }
        if watch == Watch::Yes {
            let host = Monitored { address: peer.address(), name: Bytes::copy_from_slice(&args.lock.caller_name) };
            self.monitors.watch(host, |address| self.clients.find(address).is_some()).await.map_err(|error| {
                tracing::warn!(proto = "nlm", client = %peer.address(), %error, "a client cannot be monitored");
                Status::DeniedNoLocks
            })?;
        }
        if !record.may_hold_more(limits) {
            return Err(Status::DeniedNoLocks);
        }
        let wait = if args.mode.block && record.may_wait_more(limits) { LockWait::Block } else { LockWait::Fail };
        let waiter = Waiter::new(wanted.key, args.clone(), self.taking(peer, &wanted, wait));
        let outcome = match wait {
            LockWait::Fail => futures::future::poll_fn(|task| waiter.poll(task)).await,
            // Without a task: what need not wait is done now.
            LockWait::Block => match waiter.look() {
                Some(outcome) => outcome,
                None => {
                    self.begin_wait(&client, &mut record, peer.address(), waiter);
                    return Err(Status::Blocked);
                }
            },
        };
        match outcome {
            Outcome::Granted => {
                record.holds(&wanted.key);
                Ok(())
            }
            // It would have waited, but may not.
            Outcome::Failed(ErrorKind::WouldBlock) if args.mode.block => Err(Status::DeniedNoLocks),
            Outcome::Failed(kind) => Err(refused(kind)),
            Outcome::GivenUp => Err(Status::Denied),
        }
    }

    fn begin_wait(self: &Arc<Self>, client: &Arc<Client>, record: &mut Record, address: IpAddr, waiter: Waiter) {
        let waiter = Arc::new(waiter);
        record.waits(Arc::clone(&waiter));
        let (door, client) = (Arc::clone(self), Arc::clone(client));
        self.run("nlm wait", async move { door.grant(&client, address, &waiter).await }.boxed());
    }

    pub(crate) async fn reserve(&self, peer: &Peer, args: &ShareArgs) -> Status {
        let opened = match self.opened(peer, &args.handle) {
            Ok(opened) => opened,
            Err(status) => return status,
        };
        if self.in_grace() != args.reclaim {
            return Status::DeniedGracePeriod;
        }
        if let Err(status) = self.may_lock(peer, &opened, LockKind::Shared).await {
            return status;
        }
        let client = peer.address();
        let owner = self.owner(client, &args.caller_name, 0, &args.owner);
        let wanted = Reservation { client, owner, access: args.access, deny: args.deny };
        self.reservations.reserve(opened.ino, wanted, &self.options.limits)
    }

    fn opened(&self, peer: &Peer, handle: &[u8]) -> Result<Opened, Status> {
        self.nfs.open_handle(handle, peer.socket, &peer.auth).map_err(not_opened)
    }

    fn wanted(&self, peer: &Peer, args: &LockArgs) -> Result<Wanted, Status> {
        let opened = self.opened(peer, &args.lock.handle)?;
        Ok(Wanted { key: self.key(peer, args, opened.ino)?, opened, svid: args.lock.svid })
    }

    pub(crate) fn key(&self, peer: &Peer, args: &LockArgs, ino: Ino) -> Result<WaitKey, Status> {
        let lock = &args.lock;
        let range = from_wire(lock.offset, lock.length)?;
        let kind = if args.mode.exclusive { LockKind::Exclusive } else { LockKind::Shared };
        let owner = self.owner(peer.address(), &lock.caller_name, lock.svid, &lock.owner);
        Ok(WaitKey { ino, owner, range, kind })
    }

    /// Whoever may open the file may lock it: its owner, and who may read or write it. What cannot be opened for writing
    /// by anyone cannot be locked exclusively.
    async fn may_lock(&self, peer: &Peer, opened: &Opened, kind: LockKind) -> Result<(), Status> {
        if kind == LockKind::Exclusive && opened.share.read_only {
            return Err(Status::ReadOnly);
        }
        let root = Context::new(peer.request, Credentials::root());
        let attr = self.vfs.getattr(&root, Target::inode(opened.ino)).await.map_err(|e| refused(e.kind()))?;
        if attr.kind != FileKind::Regular {
            return Err(Status::Failed);
        }
        if attr.uid == opened.credentials.uid {
            return Ok(());
        }
        let cx = Context::new(peer.request, opened.credentials.clone());
        let read = AccessMask { read: true, ..AccessMask::default() };
        let write = AccessMask { write: true, ..AccessMask::default() };
        if self.vfs.access(&cx, opened.ino, read).await.is_ok() {
            return Ok(());
        }
        self.vfs.access(&cx, opened.ino, write).await.map_err(|e| refused(e.kind()))
    }

    pub(crate) fn request(&self, key: &WaitKey, kind: Option<LockKind>, svid: u32) -> LockRequest {
        let owner = LockOwner { door: self.options.door_number, owner: key.owner };
        LockRequest { space: LockSpace::Posix, owner, range: key.range, kind, pid: svid }
    }

    fn taking(&self, peer: &Peer, wanted: &Wanted, wait: LockWait) -> BoxFuture<'static, HouseResult<()>> {
        let cx = Context::new(peer.request, wanted.opened.credentials.clone());
        let request = self.request(&wanted.key, Some(wanted.key.kind), wanted.svid);
        let (vfs, ino) = (Arc::clone(&self.vfs), wanted.key.ino);
        async move { vfs.set_lock(&cx, ino, request, wait).await }.boxed()
    }
}

/// The same LOCK once more, while the first one waits: clients ask again now and then, in case the news got lost.
fn repeated(record: &mut Record, waiter: &Arc<Waiter>, args: &LockArgs) -> Result<(), Status> {
    match waiter.look() {
        Some(Outcome::Granted) => {
            record.forget(waiter);
            record.holds(&waiter.key);
            Ok(())
        }
        None if args.mode.block => Err(Status::Blocked),
        None => Err(Status::Denied),
        Some(Outcome::Failed(kind)) => {
            record.forget(waiter);
            Err(refused(kind))
        }
        Some(Outcome::GivenUp) => {
            record.forget(waiter);
            Err(Status::Denied)
        }
    }
}

pub(crate) const fn not_opened(refusal: HandleRefusal) -> Status {
    match refusal {
        HandleRefusal::Forged | HandleRefusal::ShareGone => Status::StaleHandle,
        HandleRefusal::NotAdmitted => Status::Failed,
    }
}

pub(crate) fn refused(kind: ErrorKind) -> Status {
    match kind {
        ErrorKind::WouldBlock => Status::Denied,
        ErrorKind::Deadlock => Status::Deadlock,
        ErrorKind::NoSpace => Status::DeniedNoLocks,
        ErrorKind::NotFound | ErrorKind::Stale | ErrorKind::BadHandle => Status::StaleHandle,
        ErrorKind::ReadOnly => Status::ReadOnly,
        _ => Status::Failed,
    }
}
