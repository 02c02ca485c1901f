//! [`Door`]: the NFS program. Tells procedures apart, answers repeated calls from the cache of replies.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fs_api::{Credentials, Vfs};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};
use gateway_sunrpc::{Auth, Body, Call, Program, Refusal};
use objstore_base::Error;

use crate::credentials::{ManageGids, credentials};
use crate::duplicates::{DuplicateCache, Ticket, Turn};
use crate::handle::HandleKey;
use crate::origins::Origins;
use crate::procedures::{attributes, create, data, directories, names, remove, repeats, system};
use crate::protocol::{NFS_PROGRAM, Procedure, VERSION};
use crate::refusals::Refusals;
use crate::request::Request;
use crate::shares::{Share, Shares};
use crate::verifier::WriteVerifier;

/// What the daemon hands to the door.
pub struct DoorOptions {
    /// 16 secret bytes that stay the same for as long as the store lives.
    pub secret: [u8; 16],
    /// A value that no earlier start of this service had.
    pub start: u64,
    pub manage_gids: Option<ManageGids>,
    /// Numbers requests, together with the other doors of the process; begins at 1.
    pub requests: Arc<AtomicU64>,
}

pub struct Door {
    vfs: Arc<dyn Vfs>,
    shares: Arc<Shares>,
    key: HandleKey,
    verifier: WriteVerifier,
    manage_gids: Option<ManageGids>,
    duplicates: DuplicateCache,
    origins: Origins,
    refusals: Refusals,
    requests: Arc<AtomicU64>,
}

impl Door {
    /// The door, which knows from `vfs` what was carried out before. Reads the index.
    pub fn new(vfs: Arc<dyn Vfs>, shares: Arc<Shares>, options: DoorOptions) -> Result<Arc<Self>, Error> {
        let key = HandleKey::new(options.secret);
        let duplicates = DuplicateCache::new(key.clone(), &vfs.receipts()?);
        Ok(Arc::new(Self {
            vfs,
            shares,
            duplicates,
            key,
            verifier: WriteVerifier::new(options.start),
            manage_gids: options.manage_gids,
            origins: Origins::default(),
            refusals: Refusals::default(),
            requests: options.requests,
        }))
    }

    /// Tells clients to send unstable data again: something below lost writes that it had taken.
    pub fn unstable_data_lost(&self) {
        self.verifier.renew();
    }

    /// The number of a request of this door, or of the lock manager beside it.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn vfs(&self) -> &dyn Vfs {
        self.vfs.as_ref()
    }

    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    pub(crate) const fn key(&self) -> &HandleKey {
        &self.key
    }

    pub(crate) const fn origins(&self) -> &Origins {
        &self.origins
    }

    pub(crate) const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(crate) const fn verifier(&self) -> &WriteVerifier {
        &self.verifier
    }

    pub(crate) fn credentials(&self, share: &Share, auth: &Auth) -> Credentials {
        credentials(share, auth, self.manage_gids.as_ref())
    }

    /// Decides without waiting whether the call is carried out; only what is becomes a future of any size.
    fn answer(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        let Some(procedure) = Procedure::from_number(call.procedure) else {
            return ready(Err(Refusal::ProcedureUnavailable)).boxed();
        };
        let number = self.next_request();
        let Call { xid, peer, auth, args, .. } = call;
        let turn = if repeats_differ(procedure) {
            self.duplicates.turn(xid, procedure, peer, &auth, &args)
        } else {
            Turn::Untracked
        };
        let receipt = match &turn {
            Turn::First(ticket) => ticket.receipt().map(Arc::new),
            _ => None,
        };
        let request = Request { door: self, peer, auth, number, origin: OnceLock::new(), receipt };
        match turn {
            Turn::Untracked => untracked(request, procedure, args).boxed(),
            Turn::Answered(body) => ready(Ok(body)).boxed(),
            Turn::InProgress => ready(Err(Refusal::Drop)).boxed(),
            Turn::CarriedOut => carried_out(request, procedure, args).boxed(),
            Turn::First(ticket) => tracked(ticket, request, procedure, args).boxed(),
        }
    }
}

async fn untracked(request: Request, procedure: Procedure, args: Decoder) -> Result<Body, Refusal> {
    perform(&request, procedure, args).await
}

/// Dropping the ticket unfinished forgets the call, so that a repeat is carried out.
async fn tracked(ticket: Ticket, request: Request, procedure: Procedure, args: Decoder) -> Result<Body, Refusal> {
    let body = perform(&request, procedure, args).await?;
    ticket.complete(&body);
    Ok(body)
}

/// The reply of an earlier life went with it: what is there now makes another.
async fn carried_out(request: Request, procedure: Procedure, args: Decoder) -> Result<Body, Refusal> {
    repeats::answer(&request, procedure, args).await.map_err(|Garbage| Refusal::GarbageArguments)
}

impl Program for Door {
    fn number(&self) -> u32 {
        NFS_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        self.answer(call)
    }
}

/// Whether carrying a call out a second time gives another answer, or undoes what came after it (a late WRITE).
const fn repeats_differ(procedure: Procedure) -> bool {
    matches!(
        procedure,
        Procedure::SetAttr
            | Procedure::Write
            | Procedure::Create
            | Procedure::MkDir
            | Procedure::SymLink
            | Procedure::MkNod
            | Procedure::Remove
            | Procedure::RmDir
            | Procedure::Rename
            | Procedure::Link
    )
}

/// What answers from memory is part of the future of the call; the rest is a future of its own, so that a GETATTR does
/// not set aside the room of a CREATE.
async fn perform(request: &Request, procedure: Procedure, args: Decoder) -> Result<Body, Refusal> {
    let done = match procedure {
        Procedure::Null => Ok(Encoder::new().finish()),
        Procedure::GetAttr => attributes::getattr(request, args).await,
        Procedure::SetAttr => attributes::setattr(request, args).boxed().await,
        Procedure::Lookup => names::lookup(request, args).await,
        Procedure::Access => attributes::access(request, args).await,
        Procedure::ReadLink => names::readlink(request, args).boxed().await,
        Procedure::Read => data::read(request, args).await,
        Procedure::Write => data::write(request, args).boxed().await,
        Procedure::Create => create::create(request, args).boxed().await,
        Procedure::MkDir => create::mkdir(request, args).boxed().await,
        Procedure::SymLink => create::symlink(request, args).boxed().await,
        Procedure::MkNod => create::mknod(request, args).boxed().await,
        Procedure::Remove => remove::remove(request, args).boxed().await,
        Procedure::RmDir => remove::rmdir(request, args).boxed().await,
        Procedure::Rename => names::rename(request, args).boxed().await,
        Procedure::Link => names::link(request, args).boxed().await,
        Procedure::ReadDir => directories::readdir(request, args).boxed().await,
        Procedure::ReadDirPlus => directories::readdirplus(request, args).boxed().await,
        Procedure::FsStat => system::fsstat(request, args).boxed().await,
        Procedure::FsInfo => system::fsinfo(request, args).boxed().await,
        Procedure::PathConf => system::pathconf(request, args).boxed().await,
        Procedure::Commit => data::commit(request, args).boxed().await,
    };
    done.map_err(|Garbage| Refusal::GarbageArguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn future_bytes<F>(_: fn(Request, Procedure, Decoder) -> F) -> usize {
        size_of::<F>()
    }

    /// glibc keeps blocks of up to 1032 bytes per thread; above that each call takes the slow way through its allocator.
    #[test]
    fn the_future_of_a_call_that_changes_nothing_is_a_small_block() {
        let bytes = future_bytes(untracked);
        assert!(bytes <= 1032, "{bytes} bytes");
    }
}
