//! Looking for room before a refusal: files that were removed may only not be freed yet.

use objstore_base::{ErrorKind, Result};

use crate::engine::Engine;

impl Engine {
    /// `attempt`, and again while it is refused for a quota and something that goes anyway can be freed. The caller holds
    /// no lock.
    pub(crate) async fn within_quota<T>(&self, attempt: impl Fn() -> Result<T> + Send + Sync) -> Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::QuotaExceeded => match self.free_some() {
                    Ok(true) => tokio::task::yield_now().await,
                    Ok(false) => return Err(error),
                    Err(failed) => return Err(error.context(format!("freeing removed files failed: {failed}"))),
                },
                done => return done,
            }
        }
    }

    /// Frees some of what background work has to free; gives whether there was any.
    fn free_some(&self) -> Result<bool> {
        if self.drain_orphans()? {
            return Ok(true);
        }
        if !self.has_trims() {
            return Ok(false);
        }
        self.drain_trims(1)?;
        Ok(true)
    }
}
