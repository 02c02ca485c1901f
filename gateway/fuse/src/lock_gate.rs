//! [`LockGate`]: whether programs of this machine may take byte-range locks yet. After a start, clients of another door
//! may be about to take theirs again, and have the first turn.

use fs_api::LockWait;
use objstore_base::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// What a mount asks before it takes a lock.
#[derive(Clone, Debug, Default)]
pub struct LockGate(Option<watch::Receiver<bool>>);

/// Opens a gate, once and for all; also by being dropped.
#[derive(Debug)]
pub struct GateKeeper(watch::Sender<bool>);

impl LockGate {
    /// Always open.
    pub const fn open() -> Self {
        Self(None)
    }

    /// Closed until its keeper opens it.
    pub fn closed() -> (GateKeeper, Self) {
        let (sender, receiver) = watch::channel(false);
        (GateKeeper(sender), Self(Some(receiver)))
    }

    /// # Errors
    /// `WouldBlock` for who does not wait, as if the lock were held: it may be, a moment later.
    pub(crate) async fn pass(self, wait: LockWait) -> Result<()> {
        let Some(mut open) = self.0 else { return Ok(()) };
        match wait {
            // A keeper that is gone keeps nobody out.
            LockWait::Fail if !*open.borrow() && open.has_changed().is_ok() => {
                Err(Error::new(ErrorKind::WouldBlock, "take a lock while clients take theirs again"))
            }
            LockWait::Fail => Ok(()),
            LockWait::Block => {
                drop(open.wait_for(|open| *open).await);
                Ok(())
            }
        }
    }
}

impl GateKeeper {
    pub fn open(self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_does_not_wait_is_refused_until_it_opens_and_who_waits_passes_then() {
        let (keeper, gate) = LockGate::closed();
        let refused = gate.clone().pass(LockWait::Fail).now_or_never().expect("it does not wait");
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        let mut waiting = Box::pin(gate.clone().pass(LockWait::Block));
        assert!(waiting.as_mut().now_or_never().is_none(), "it is closed");
        keeper.open();
        assert!(waiting.as_mut().now_or_never().is_some_and(|passed| passed.is_ok()));
        assert!(gate.pass(LockWait::Fail).now_or_never().is_some_and(|passed| passed.is_ok()));
    }

    #[test]
    fn a_gate_without_a_keeper_is_open() {
        for wait in [LockWait::Fail, LockWait::Block] {
            assert!(LockGate::open().pass(wait).now_or_never().is_some_and(|passed| passed.is_ok()));
            let (keeper, gate) = LockGate::closed();
            drop(keeper);
            assert!(gate.pass(wait).now_or_never().is_some_and(|passed| passed.is_ok()));
        }
    }
}
