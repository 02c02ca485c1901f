//! Byte-range locks. Whole-file locks (`flock`) stay in the kernel: fuser does not say which of the two a request is,
//! and no other door has them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fs_api::{HandleId, LockKind, LockOwner, LockRange, LockRequest, LockSpace, LockWait};
use fuser::{Errno, FileHandle, INodeNo, ReplyEmpty, ReplyLock, Request};
use futures::future::{Either, select};
use nix::libc;
use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Clock;

use crate::caller;
use crate::convert::ino;
use crate::door::Door;
use crate::errno::lock_errno;
use crate::lock_gate::LockGate;

/// How often a waiting lock looks whether its caller was signalled: soon at first, seldom later.
const SIGNAL_CHECK_MIN: Duration = Duration::from_millis(10);
const SIGNAL_CHECK_MAX: Duration = Duration::from_millis(200);

/// The kernel's last byte of "to the end of the file".
const END_OF_FILE: u64 = i64::MAX as u64;

/// One lock, as the kernel describes it: both ends belong to the range.
pub(crate) struct KernelLock {
    pub(crate) owner: u64,
    pub(crate) start: u64,
    pub(crate) last: u64,
    pub(crate) kind: i32,
    pub(crate) pid: u32,
}

impl KernelLock {
    fn request(&self, door: u32) -> Option<LockRequest> {
        let kind = match self.kind {
            libc::F_RDLCK => Some(LockKind::Shared),
            libc::F_WRLCK => Some(LockKind::Exclusive),
            libc::F_UNLCK => None,
            _ => return None,
        };
        let end = if self.last >= END_OF_FILE { u64::MAX } else { self.last + 1 };
        (self.start < end).then_some(LockRequest {
            space: LockSpace::Posix,
            owner: LockOwner { door, owner: self.owner },
            range: LockRange { start: self.start, end },
            kind,
            pid: self.pid,
        })
    }
}

impl Door {
    pub(crate) fn test_lock(&self, request: &Request, number: INodeNo, lock: &KernelLock, reply: ReplyLock) {
        let Some(wanted) = lock.request(self.number) else { return reply.error(Errno::EINVAL) };
        let (cx, operation) = self.enter(request, "getlk", number);
        let vfs = Arc::clone(&self.vfs);
        let work = async move { vfs.test_lock(&cx, ino(number), wanted).await };
        self.serve(operation, reply, work, reply_lock);
    }

    pub(crate) fn set_lock(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        lock: &KernelLock,
        wait: LockWait,
        reply: ReplyEmpty,
    ) {
        let Some(wanted) = lock.request(self.number) else { return reply.error(Errno::EINVAL) };
        let (cx, operation) = self.enter(request, "setlk", number);
        if wanted.kind.is_some() {
            // Before it is held: the kernel keeps the file open until this request is answered, so the RELEASE that
            // drops the lock comes after.
            self.lock_handles.taken(ino(number), lock.owner, HandleId(handle.0));
        }
        let (vfs, clock, caller) = (Arc::clone(&self.vfs), Arc::clone(&self.env.clock), request.pid());
        // What is held can be freed at any time.
        let gate = if wanted.kind.is_some() { self.lock_gate.clone() } else { LockGate::open() };
        let work = async move {
            let locking = Box::pin(async move {
                gate.pass(wait).await?;
                vfs.set_lock(&cx, ino(number), wanted, wait).await
            });
            match wait {
                LockWait::Fail => locking.await,
                LockWait::Block => until_signalled(locking, clock.as_ref(), caller).await,
            }
        };
        self.run(operation, async move {
            let result = work.await;
            match &result {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(lock_errno(error)),
            }
            result
        });
    }
}

/// Waits for `locking`, or gives up (dropping it) when the caller has a signal to act on.
async fn until_signalled(
    mut locking: impl Future<Output = Result<()>> + Unpin,
    clock: &dyn Clock,
    caller: u32,
) -> Result<()> {
    let mut pause = SIGNAL_CHECK_MIN;
    loop {
        match select(locking, clock.sleep(pause)).await {
            Either::Left((result, _)) => return result,
            Either::Right(((), _)) if caller::has_signal(caller) => {
                return Err(Error::new(ErrorKind::Interrupted, "wait for a lock"));
            }
            Either::Right(((), waiting)) => locking = waiting,
        }
        pause = (pause * 2).min(SIGNAL_CHECK_MAX);
    }
}

fn reply_lock(reply: ReplyLock, found: Option<LockRequest>) {
    let Some(found) = found else { return reply.locked(0, 0, libc::F_UNLCK, 0) };
    let kind = match found.kind {
        Some(LockKind::Shared) => libc::F_RDLCK,
        Some(LockKind::Exclusive) => libc::F_WRLCK,
        None => libc::F_UNLCK,
    };
    let last = if found.range.end == u64::MAX { END_OF_FILE } else { found.range.end.saturating_sub(1) };
    reply.locked(found.range.start, last, kind, found.pid);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(start: u64, last: u64, kind: i32) -> Option<LockRequest> {
        KernelLock { owner: 7, start, last, kind, pid: 1 }.request(3)
    }

    #[test]
    fn ranges_become_half_open_and_the_end_of_the_file_stays_open() {
        assert_eq!(lock(0, 0, libc::F_RDLCK).map(|l| l.range), Some(LockRange { start: 0, end: 1 }));
        assert_eq!(lock(5, END_OF_FILE, libc::F_WRLCK).map(|l| l.range), Some(LockRange { start: 5, end: u64::MAX }));
        assert_eq!(lock(5, 4, libc::F_WRLCK), None);
    }

    #[test]
    fn an_unlock_has_no_kind_and_an_unknown_type_is_refused() {
        assert_eq!(lock(0, 9, libc::F_UNLCK).map(|l| l.kind), Some(None));
        assert_eq!(lock(0, 9, 77), None);
    }
}
