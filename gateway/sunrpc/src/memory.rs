//! Memory for long records: a part of it for each client, and all of it for all.

use std::sync::Arc;

use futures::FutureExt;
use objstore_base::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;

/// What one connection may ask for.
pub(crate) struct Budget {
    /// Shared by the connections of its client.
    of_client: Arc<Semaphore>,
    of_all: Arc<Semaphore>,
}

/// Room for one record, until the call that came with it is answered.
pub(crate) struct Memory {
    _of_client: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// A semaphore of so many bytes.
pub(crate) fn bytes(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
}

impl Budget {
    pub(crate) const fn new(of_client: Arc<Semaphore>, of_all: Arc<Semaphore>) -> Self {
        Self { of_client, of_all }
    }

    /// Room for `bytes`, in turn: first among the connections of the client, so that one with thousands of them stands in
    /// the queue of all no more often than its part allows. `None` never comes: nobody closes a budget.
    ///
    /// # Cancel
    /// Gives up its turn.
    pub(crate) fn ask(&self, bytes: usize, limits: &Limits) -> BoxFuture<'static, Option<Memory>> {
        let most = limits.inflight_bytes_total.min(limits.inflight_bytes_per_client);
        let bytes = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
        let (of_client, of_all) = (Arc::clone(&self.of_client), Arc::clone(&self.of_all));
        async move {
            let of_client = of_client.acquire_many_owned(bytes).await.ok()?;
            let of_all = of_all.acquire_many_owned(bytes).await.ok()?;
            Some(Memory { _of_client: of_client, _of_all: of_all })
        }
        .boxed()
    }
}
