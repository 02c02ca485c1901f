//! Looking for room before a refusal: files that were removed may only not be freed yet.
//!
//! What goes anyway at the moment of a refusal is freed first, by whoever is refused or by the worker. What comes later is
//! not waited for: others who remove files all the time must not keep a writer at its limit.

use std::time::Duration;

use fs_api::{Context, Ino};
use objstore_base::{ErrorKind, Result};

use crate::engine::Engine;
use crate::orphans::{Freeing, LooseUntil};

/// From one look at what another thread is freeing to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What was going anyway when a change was refused.
struct Going {
    orphans: LooseUntil,
    trims: Vec<Ino>,
}

impl Engine {
    /// `attempt`, and again while it is refused for a quota and something that was going anyway is not gone; no longer
    /// than the caller is patient. The caller holds no lock.
    pub(crate) async fn within_quota<T>(
        &self,
        cx: &Context,
        attempt: impl Fn() -> Result<T> + Send + Sync,
    ) -> Result<T> {
        let mut refused = match attempt() {
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => error,
            done => return done,
        };
        let end = self.env.clock.monotonic().saturating_add(cx.patience);
        let mut going = Going { orphans: self.orphans.loose_now(), trims: self.trims_within_quotas() };
        loop {
            let freeing = match self.free_some(&mut going) {
                Ok(freeing) => freeing,
                Err(failed) => return Err(refused.context(format!("freeing removed files failed: {failed}"))),
            };
            // Also where nothing is left: another thread may have freed it since.
            refused = match attempt() {
                Err(error) if error.kind() == ErrorKind::QuotaExceeded => error,
                done => return done,
            };
            if freeing == Freeing::Done || self.env.clock.monotonic() >= end {
                return Err(refused);
            }
            match freeing {
                Freeing::UnderWay => self.env.clock.sleep(LOOK_AGAIN).await,
                Freeing::Waiting | Freeing::Done => tokio::task::yield_now().await,
            }
        }
    }

    /// Frees some of what is going; gives how far that was.
    fn free_some(&self, going: &mut Going) -> Result<Freeing> {
        let orphans = self.orphans.freeing(going.orphans);
        if orphans == Freeing::Waiting {
            self.drain_orphans()?;
        } else if let Some(ino) = going.trims.last() {
            if !self.trim_step(*ino)? {
                going.trims.pop();
            }
            return Ok(Freeing::Waiting);
        }
        Ok(orphans)
    }
}
