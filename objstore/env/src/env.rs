//! [`Env`]: the bundle that is handed down.

use std::sync::Arc;

use objstore_base::BoxFuture;

use crate::{Clock, Disk, Failpoints, Rng, Tasks};

#[derive(Clone)]
pub struct Env {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub tasks: Arc<dyn Tasks>,
    pub failpoints: Failpoints,
}

impl Env {
    /// Runs `work` where blocking is allowed and gives its result.
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'static, T> {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let done = self.tasks.blocking(Box::new(move || {
            // The receiver is gone only when the caller was cancelled; nobody wants the result then.
            drop(sender.send(work()));
        }));
        Box::pin(async move {
            done.await;
            receiver.await.expect("the work has run: its sender was used")
        })
    }
}
