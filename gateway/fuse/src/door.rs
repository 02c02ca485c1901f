//! [`Door`]: one mount's way from a request to its reply.
//!
//! A request is answered on the session thread that read it when the `Vfs` needs no waiting (one poll); otherwise the
//! rest of its future runs as a task and replies from there. A panic ends the request with EIO, never the process.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use fs_api::{Context, DoorId, Vfs};
use fuser::{Generation, INodeNo, Notifier, Request};
use futures::FutureExt;
use objstore_base::{Error, Result};
use objstore_env::Env;
use tokio::runtime::Handle;
use tracing::{Instrument, Level, Span, debug, error};

use crate::caller;
use crate::errno::{errno, needs_operator};
use crate::kernel::Kernel;
use crate::lock_gate::LockGate;
use crate::lock_handles::LockHandles;
use crate::reply::Refusable;
use crate::threads::Threads;

/// Inode numbers are never reused, so one generation is enough.
pub(crate) const GENERATION: Generation = Generation(0);

pub(crate) struct Door {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) env: Env,
    /// Session threads poll futures that may make timers.
    pub(crate) runtime: Handle,
    /// Numbers requests; shared with the other doors of the process.
    pub(crate) requests: Arc<AtomicU64>,
    /// Tells this mount's lock owners from those of other doors.
    pub(crate) number: u32,
    /// Set when the session exists; a request cannot come before.
    pub(crate) notifier: Arc<OnceLock<Notifier>>,
    pub(crate) threads: Threads,
    pub(crate) lock_handles: LockHandles,
    pub(crate) lock_gate: LockGate,
    pub(crate) kernel: Arc<Kernel>,
}

/// What a trace says of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) request: u64,
    pub(crate) ino: u64,
    pub(crate) uid: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Taken only where requests are traced.
    started: Option<Duration>,
}

impl Operation {
    pub(crate) const fn range(mut self, offset: u64, len: u64) -> Self {
        self.offset = offset;
        self.len = len;
        self
    }

    fn span(&self) -> Span {
        tracing::debug_span!(
            "request",
            req = self.request,
            proto = "fuse",
            op = self.name,
            ino = self.ino,
            off = self.offset,
            len = self.len,
            uid = self.uid
        )
    }
}

impl Door {
    /// The context of `request`, and how it is called in traces.
    pub(crate) fn enter(&self, request: &Request, name: &'static str, ino: INodeNo) -> (Context, Operation) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let credentials = caller::credentials(request.uid(), request.gid(), request.pid());
        let started = tracing::enabled!(Level::DEBUG).then(|| self.env.clock.monotonic());
        let operation = Operation { name, request: number, ino: ino.0, uid: request.uid(), offset: 0, len: 0, started };
        (Context { door: DoorId(self.number), ..Context::new(number, credentials) }, operation)
    }

    /// Answers `reply` with what `work` gives.
    pub(crate) fn serve<T, R: Refusable>(
        &self,
        operation: Operation,
        reply: R,
        work: impl Future<Output = Result<T>> + Send + 'static,
        accept: impl FnOnce(R, T) + Send + 'static,
    ) where
        T: Send + 'static,
    {
        self.run(operation, async move {
            match work.await {
                Ok(value) => {
                    accept(reply, value);
                    Ok(())
                }
                Err(error) => {
                    reply.refuse(errno(&error));
                    Err(error)
                }
            }
        });
    }

    /// Runs `task`, which replies itself; its result is for the log only.
    pub(crate) fn run(&self, operation: Operation, task: impl Future<Output = Result<()>> + Send + 'static) {
        let clock = Arc::clone(&self.env.clock);
        let span = operation.span();
        let logged = async move {
            let result = task.await;
            let elapsed = operation.started.map(|started| clock.monotonic().saturating_sub(started));
            log(operation, elapsed, result.as_ref().err());
        };
        let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(logged.instrument(span));
        let _runtime = self.runtime.enter();
        let first = catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut())));
        match first {
            Ok(Poll::Ready(())) => {}
            Ok(Poll::Pending) => {
                // What the request still gives to the kernel is given back after it.
                let kernel = Arc::clone(&self.kernel);
                let task = async move {
                    contain(operation, future).await;
                    drop(kernel);
                };
                drop(self.env.tasks.spawn("fuse request", Box::pin(task)));
            }
            Err(panic) => log_panic(operation, panic.as_ref()),
        }
    }

    /// Waits on this thread for `work`, which borrows from the session's buffer; `None` after a panic.
    pub(crate) fn wait<T>(&self, operation: Operation, work: impl Future<Output = T> + Send) -> Option<T> {
        let _runtime = self.runtime.enter();
        let waited = catch_unwind(AssertUnwindSafe(|| {
            let mut work = std::pin::pin!(work.instrument(operation.span()));
            match poll_once(work.as_mut()) {
                Poll::Ready(value) => value,
                Poll::Pending => {
                    let _waiting = self.threads.wait();
                    self.runtime.block_on(work)
                }
            }
        }));
        waited.map_err(|panic| log_panic(operation, panic.as_ref())).ok()
    }

    pub(crate) fn log(&self, operation: Operation, error: Option<&Error>) {
        let elapsed = operation.started.map(|started| self.env.clock.monotonic().saturating_sub(started));
        log(operation, elapsed, error);
    }

    /// Makes the kernel ask for the attributes of `ino` again before it uses them: for the few changes that it does
    /// not know its own request has made.
    pub(crate) fn forget_attributes(&self, ino: INodeNo) {
        forget_attributes(self.notifier.get(), ino);
    }
}

pub(crate) fn forget_attributes(notifier: Option<&Notifier>, ino: INodeNo) {
    // A negative offset means the attributes alone; the kernel takes no inode lock for that, so it cannot wait for
    // the very request that is being answered.
    if let Some(Err(error)) = notifier.map(|notifier| notifier.inval_inode(ino, -1, 0)) {
        debug!(ino = ino.0, %error, "the kernel did not take an invalidation");
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    // What is pending is polled again by its task, with a real waker: no wake-up is lost.
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

async fn contain(operation: Operation, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
    if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
        log_panic(operation, panic.as_ref());
    }
}

fn log(operation: Operation, elapsed: Option<Duration>, error: Option<&Error>) {
    if let Some(error) = error.filter(|error| needs_operator(error)) {
        error!(req = operation.request, op = operation.name, ino = operation.ino, %error, "a request failed with EIO");
    }
    if let Some(elapsed) = elapsed {
        let result = error.map_or("ok".to_owned(), |error| format!("{:?}", error.kind()));
        debug!(
            req = operation.request,
            proto = "fuse",
            op = operation.name,
            ino = operation.ino,
            off = operation.offset,
            len = operation.len,
            uid = operation.uid,
            dur_us = elapsed.as_micros() as u64,
            result
        );
    }
}

fn log_panic(operation: Operation, panic: &(dyn Any + Send)) {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    error!(
        req = operation.request,
        op = operation.name,
        ino = operation.ino,
        panic = text.unwrap_or_default(),
        "a defect ended this request with EIO; please report it"
    );
}
