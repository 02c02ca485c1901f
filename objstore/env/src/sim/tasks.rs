//! Tasks on one thread, in an order that follows from the seed.

use std::sync::Arc;

use objstore_base::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::latency::Latency;
use super::rng::SimRng;
use crate::{Rng, TaskHandle, Tasks};

/// How often blocking work lets others go first, at most: enough to change places with a few neighbours.
const YIELDS_MAX: u64 = 4;

/// Spawns on a current-thread runtime, whose queue is first in, first out. Blocking work runs there too, in one go,
/// after a seeded number of turns, and then owes the time that slow disk calls took.
pub struct SimTasks {
    runtime: Handle,
    rng: Arc<SimRng>,
    latency: Latency,
}

impl SimTasks {
    pub fn new(runtime: Handle, rng: Arc<SimRng>, latency: Latency) -> Self {
        Self { runtime, rng, latency }
    }
}

struct SimTask(JoinHandle<()>);

impl TaskHandle for SimTask {
    fn abort(&self) {
        self.0.abort();
    }

    /// Passes a panic on: in a simulation it is a finding.
    fn join(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(finish(self.0))
    }
}

async fn finish(task: JoinHandle<()>) {
    if let Err(error) = task.await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        Box::new(SimTask(self.runtime.spawn(task)))
    }

    fn blocking_here(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()> {
        self.blocking(work)
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()> {
        let yields = self.rng.below(YIELDS_MAX + 1);
        let latency = self.latency.clone();
        let running = self.runtime.spawn(async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            let before = latency.total();
            work();
            let owed = latency.total() - before;
            if !owed.is_zero() {
                tokio::time::sleep(owed).await;
            }
        });
        Box::pin(async move {
            match running.await {
                Ok(()) => {}
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is being dropped: whoever waits here goes with it.
                    Err(_) => std::future::pending().await,
                },
            }
        })
    }
}
