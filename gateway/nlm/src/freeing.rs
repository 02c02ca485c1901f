//! UNLOCK, CANCEL and UNSHARE, and the end of everything a client has: what takes nothing from anybody but the caller.
//!
//! Of the caller's own, found by the address that it calls from, so a genuine handle is enough: whether its share is still
//! there and still admits the client is not asked. What it could not give back would stand in everybody's way until it
//! restarts.

use std::net::IpAddr;
use std::sync::Arc;

use fs_api::{Context, Credentials, Ino, LockKind, LockOwner, LockRange, LockSpace, LockWait};
use objstore_base::Result as HouseResult;

use crate::client::Record;
use crate::door::{NlmDoor, Peer};
use crate::locking::{not_opened, refused};
use crate::protocol::{LockArgs, ShareArgs, Status};
use crate::range::overlap;
use crate::waiter::{Outcome, WaitKey, Waiter};

impl NlmDoor {
    /// Frees a range. Also for who may not lock it any more, and in the grace period: it takes nothing from anybody.
    pub(crate) async fn unlock(&self, peer: &Peer, args: &LockArgs) -> Status {
        let WaitKey { ino, owner, range, .. } = match self.named(peer, args) {
            Ok(key) => key,
            Err(status) => return status,
        };
        let Some(client) = self.clients.find(peer.address()) else { return Status::Granted };
        let mut record = client.record.lock().await;
        for waiter in record.waiters_of(ino, owner) {
            let granted = waiter.look() == Some(Outcome::Granted);
            // A wait for a lock that the client frees meanwhile is over; one that it has not heard of is not taken back
            // later.
            if waiter.key.range == range || (granted && overlap(waiter.key.range, range)) {
                end_wait(&mut record, &waiter);
            }
        }
        if !record.may_let_go(ino, owner, range, &self.options.limits) {
            return Status::DeniedNoLocks;
        }
        match self.free(peer.request, &mut record, ino, owner, range).await {
            Ok(()) => Status::Granted,
            Err(error) => refused(error.kind()),
        }
    }

    /// Ends a wait; also where the lock came at the same moment.
    pub(crate) async fn cancel(&self, peer: &Peer, args: &LockArgs) -> Status {
        let key = match self.named(peer, args) {
            Ok(key) => key,
            Err(status) => return status,
        };
        let Some(client) = self.clients.find(peer.address()) else { return Status::Denied };
        let mut record = client.record.lock().await;
        let Some(waiter) = record.waiter(&key) else { return Status::Denied };
        if end_wait(&mut record, &waiter) != Some(Outcome::Granted) {
            return Status::Granted;
        }
        let WaitKey { ino, owner, range, .. } = key;
        match self.free(peer.request, &mut record, ino, owner, range).await {
            Ok(()) => Status::Granted,
            Err(error) => refused(error.kind()),
        }
    }

    pub(crate) async fn free(
        &self,
        request: u64,
        record: &mut Record,
        ino: Ino,
        owner: u64,
        range: LockRange,
    ) -> HouseResult<()> {
        let key = WaitKey { ino, owner, range, kind: LockKind::Shared };
        let cx = Context::new(request, Credentials::root());
        self.vfs.set_lock(&cx, ino, self.request(&key, None, 0), LockWait::Fail).await?;
        record.lets_go(ino, owner, range);
        Ok(())
    }

    pub(crate) fn unreserve(&self, peer: &Peer, args: &ShareArgs) -> Status {
        match self.nfs.named_by(&args.handle) {
            Ok(ino) => {
                let owner = self.owner(peer.address(), &args.caller_name, 0, &args.owner);
                self.reservations.give_back(ino, owner);
                Status::Granted
            }
            Err(refusal) => not_opened(refusal),
        }
    }

    fn named(&self, peer: &Peer, args: &LockArgs) -> Result<WaitKey, Status> {
        self.key(peer, args, self.nfs.named_by(&args.lock.handle).map_err(not_opened)?)
    }

    /// The client has forgotten what it held.
    pub(crate) async fn free_all(&self, client: IpAddr) {
        self.reservations.drop_client(client);
        let Some(known) = self.clients.find(client) else { return };
        let mut record = known.record.lock().await;
        self.drop_all(&mut record);
    }

    /// As `free_all`, where the restart with this state number is news. It is noted also of one who has nothing: news come
    /// more than once, and it may lock in between.
    pub(crate) async fn client_restarted(&self, client: IpAddr, state: i32) {
        let known = self.clients.record(client, self.options.limits.clients_max);
        // Without room to note it every repeat is news.
        let Some(known) = known else { return self.reservations.drop_client(client) };
        let mut record = known.record.lock().await;
        if record.restarted(state) {
            if !record.is_empty() {
                tracing::info!(proto = "nlm", %client, state, "a client restarted; its locks go");
            }
            self.reservations.drop_client(client);
            self.drop_all(&mut record);
        }
    }

    fn drop_all(&self, record: &mut Record) {
        for (ino, owner) in record.clear() {
            self.vfs.drop_locks(ino, LockSpace::Posix, LockOwner { door: self.options.door_number, owner });
        }
    }
}

/// Takes a wait away; how it had ended before, if it had.
fn end_wait(record: &mut Record, waiter: &Arc<Waiter>) -> Option<Outcome> {
    record.forget(waiter);
    let ended = waiter.give_up();
    if ended == Some(Outcome::Granted) {
        // Perhaps not noted yet: what is not freed now is the client's, and has to go with it.
        record.holds(&waiter.key);
    }
    ended
}
