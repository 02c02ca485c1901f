//! Tasks on a tokio runtime.

use objstore_base::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;

use crate::{TaskHandle, Tasks};

/// Spawns on the runtime it was made for, from whatever thread it is called on.
pub struct TokioTasks {
    handle: Handle,
}

impl TokioTasks {
    pub const fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

struct TokioTask {
    name: &'static str,
    handle: JoinHandle<()>,
}

impl TaskHandle for TokioTask {
    fn abort(&self) {
        self.handle.abort();
    }

    fn join(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A panic has been reported by the hook already; whoever joins has to know which task is missing.
            if let Err(error) = self.handle.await
                && error.is_panic()
            {
                tracing::error!(task = self.name, %error, "a task died");
            }
        })
    }
}

impl Tasks for TokioTasks {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        let handle = self.handle.spawn(task.instrument(tracing::debug_span!("task", name)));
        Box::new(TokioTask { name, handle })
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()> {
        let running = self.handle.spawn_blocking(work);
        Box::pin(async move {
            if let Err(error) = running.await {
                resume(error).await;
            }
        })
    }

    fn blocking_here(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()> {
        match Handle::try_current() {
            // Its other tasks move to another thread first.
            Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                Box::pin(async move { tokio::task::block_in_place(work) })
            }
            _ => self.blocking(work),
        }
    }
}

/// Carries a panic of blocking work to whoever waits for it. The only other reason for an error is a runtime that
/// shuts down before the work began: then this waiter is about to be dropped too, and must not see it as done.
async fn resume(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
    std::future::pending::<()>().await;
}
