//! The lock operations of the [`Vfs`](fs_api::Vfs).

use fs_api::{FileKind, Ino, LockRange, LockRequest, LockSpace, LockWait};
use objstore_base::{Error, ErrorKind, Result};

use super::table::{LockTable, Outcome, Ticket};
use crate::engine::Engine;

/// Leaves the queue when the waiting future is dropped.
struct Place<'a> {
    table: &'a LockTable,
    ino: Ino,
    request: LockRequest,
    ticket: Ticket,
    done: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.done || !self.table.leave(self.ticket.number) {
            return;
        }
        if let Ok(Some(Ok(()))) = self.ticket.granted.try_recv() {
            // It was given and nobody is there to use it. What the owner held before in the range is gone with it, as
            // when the wait of fcntl is interrupted after the grant.
            self.table.take_back(self.ino, &self.request);
        }
    }
}

impl Engine {
    pub(crate) fn find_lock(&self, ino: Ino, request: LockRequest) -> Result<Option<LockRequest>> {
        self.lockable(ino)?;
        let request = normal(request)?;
        Ok(self.locks.test(ino, &request))
    }

    pub(crate) async fn change_lock(&self, ino: Ino, request: LockRequest, wait: LockWait) -> Result<()> {
        if request.kind.is_some() {
            self.lockable(ino)?;
        }
        let request = normal(request)?;
        match self.locks.set(ino, &request, wait == LockWait::Block)? {
            Outcome::Done => Ok(()),
            Outcome::Held => Err(Error::new(ErrorKind::WouldBlock, "lock").entity(ino)),
            Outcome::Queued(ticket) => {
                let mut place = Place { table: &self.locks, ino, request, ticket, done: false };
                let heard = (&mut place.ticket.granted).await;
                place.done = heard.is_ok();
                heard.map_err(|_| Error::new(ErrorKind::Interrupted, "wait for lock").entity(ino))?
            }
        }
    }

    fn lockable(&self, ino: Ino) -> Result<()> {
        match self.inode(ino)?.kind {
            FileKind::Symlink => Err(Error::new(ErrorKind::InvalidArgument, "lock").entity(ino)),
            _ => Ok(()),
        }
    }
}

/// The request with the range its space gives it: `flock` locks are of the whole file.
fn normal(request: LockRequest) -> Result<LockRequest> {
    match request.space {
        LockSpace::Flock => Ok(LockRequest { range: LockRange { start: 0, end: u64::MAX }, ..request }),
        LockSpace::Posix if request.range.start < request.range.end => Ok(request),
        LockSpace::Posix => Err(Error::new(ErrorKind::InvalidArgument, "lock").context("the range is empty")),
    }
}
