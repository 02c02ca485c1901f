//! What a handle gives its bearer: the one place where a handle, a client and a share meet. The lock manager asks here too.

use std::net::SocketAddr;
use std::sync::Arc;

use fs_api::{Credentials, Ino};
use gateway_sunrpc::Auth;

use crate::door::Door;
use crate::handle::FileHandle;
use crate::refusals::Refused;
use crate::shares::Share;

/// An object of a share that the caller may speak of, and as whom.
pub struct Opened {
    pub share: Arc<Share>,
    pub ino: Ino,
    pub credentials: Credentials,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleRefusal {
    /// This store did not make it.
    Forged,
    /// Its share was taken away: to its clients it is gone, not forged.
    ShareGone,
    /// The share does not admit this client.
    NotAdmitted,
}

impl Door {
    /// What a genuine `handle` names, whoever bears it and whatever became of its share: enough to give back what was
    /// taken while the share admitted the bearer, and for nothing else.
    pub fn named_by(&self, handle: &[u8]) -> Result<Ino, HandleRefusal> {
        self.key().open(handle).map(|named| named.ino).ok_or(HandleRefusal::Forged)
    }

    /// The object that `handle` names, where it is genuine and its share still admits `peer`. Whether the object still
    /// exists, and what the caller may do with it, is decided behind the `Vfs`.
    pub fn open_handle(&self, handle: &[u8], peer: SocketAddr, auth: &Auth) -> Result<Opened, HandleRefusal> {
        let FileHandle { share, ino } = self.key().open(handle).ok_or(HandleRefusal::Forged)?;
        let share = self.shares().by_id(share).ok_or(HandleRefusal::ShareGone)?;
        if !share.admits(peer) {
            self.refusals().tell(&share, peer, Refused::Handle);
            return Err(HandleRefusal::NotAdmitted);
        }
        let credentials = self.credentials(&share, auth);
        Ok(Opened { share, ino, credentials })
    }
}
