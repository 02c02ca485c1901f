//! Tasks: named, owned, joined. Blocking work goes to `Tasks::blocking`, never on an async worker.

use objstore_base::BoxFuture;

/// A running task; dropping it detaches, `join` waits for the end.
pub trait TaskHandle: Send + Sync {
    /// Asks the task to stop at its next await point.
    fn abort(&self);
    /// Completes when the task has ended, by itself or after `abort`.
    fn join(self: Box<Self>) -> BoxFuture<'static, ()>;
}

pub trait Tasks: Send + Sync {
    /// Runs `task` on the async workers. `name` appears in logs and thread dumps.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn TaskHandle>;

    /// Runs `work` where blocking is allowed; the future completes when it has run. Dropping the future does not
    /// stop work that has begun.
    fn blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()>;

    /// As [`Tasks::blocking`], but on the thread that polls the future, where the runtime can spare it, so that no other thread
    /// has to wake up before the work begins. For work that is short and that somebody waits for. Called inside a task.
    fn blocking_here(&self, work: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<'static, ()>;
}
