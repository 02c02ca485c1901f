//! One who waits for a lock. The wait itself lies here and not in the task that watches it, so that giving it up takes
//! effect before the call that asked for it is answered: a wait dropped later could free what was locked since.

use std::task::{Context, Poll, Waker};

use fs_api::{Ino, LockKind, LockRange};
use objstore_base::{BoxFuture, ErrorKind, Result};
use parking_lot::Mutex;

use crate::protocol::LockArgs;

/// What tells waits of one client apart; a call sent again has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitKey {
    pub(crate) ino: Ino,
    pub(crate) owner: u64,
    pub(crate) range: LockRange,
    pub(crate) kind: LockKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The lock is held.
    Granted,
    Failed(ErrorKind),
    GivenUp,
}

enum Slot {
    /// The waker is of the task that watches.
    Waiting(BoxFuture<'static, Result<()>>, Waker),
    Ended(Outcome),
}

pub(crate) struct Waiter {
    pub(crate) key: WaitKey,
    /// What the client asked for, for the call back.
    pub(crate) args: LockArgs,
    slot: Mutex<Slot>,
}

impl Waiter {
    pub(crate) fn new(key: WaitKey, args: LockArgs, wait: BoxFuture<'static, Result<()>>) -> Self {
        Self { key, args, slot: Mutex::new(Slot::Waiting(wait, Waker::noop().clone())) }
    }

    /// How it ended, once it did; watches on behalf of the calling task.
    pub(crate) fn poll(&self, task: &mut Context<'_>) -> Poll<Outcome> {
        let mut slot = self.slot.lock();
        if let Slot::Waiting(_, waker) = &mut *slot {
            waker.clone_from(task.waker());
        }
        look(&mut slot)
    }

    /// How it ended, if it did by now; the task that watches goes on watching.
    pub(crate) fn look(&self) -> Option<Outcome> {
        match look(&mut self.slot.lock()) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// Leaves the queue, and lets go of a lock that came at the same moment. How it had ended before, if it had.
    pub(crate) fn give_up(&self) -> Option<Outcome> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Ended(Outcome::GivenUp)) {
            Slot::Ended(outcome) => Some(outcome),
            Slot::Waiting(wait, waker) => {
                drop(wait);
                waker.wake();
                None
            }
        }
    }
}

fn look(slot: &mut Slot) -> Poll<Outcome> {
    let outcome = match slot {
        Slot::Ended(outcome) => return Poll::Ready(*outcome),
        Slot::Waiting(wait, waker) => match wait.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => Outcome::Granted,
            Poll::Ready(Err(error)) => Outcome::Failed(error.kind()),
        },
    };
    *slot = Slot::Ended(outcome);
    Poll::Ready(outcome)
}
