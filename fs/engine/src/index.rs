//! Background work: flushing the index, freeing orphans, settling gathered writes, counting trees for their quotas.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, select};
use objstore_base::{Error, ErrorKind, Result};
use objstore_env::TaskHandle;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::engine::Engine;

/// How often the index is looked at.
const INDEX_TICK: Duration = Duration::from_secs(1);
/// How often gathered writes are looked at: well below the second they may wait.
const GATHER_TICK: Duration = Duration::from_millis(250);
/// Removed files come many at a time. Freeing them one by one would wake a thread for each of them.
const ORPHANS_PAUSE: Duration = Duration::from_millis(10);
/// Segments that a start would have to replay; beyond, the index is flushed although it is small.
const REPLAY_SEGMENTS_MAX: u64 = 4;
/// Steps of trimming per tick: deletes of large files give way to the foreground.
const TRIM_BUDGET: usize = 64;

/// The tasks of one engine and the word that ends them.
pub(crate) struct Workers {
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<Box<dyn TaskHandle>>>,
    /// One flush of the index at a time.
    flushing: Mutex<()>,
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Mutex::default(), flushing: Mutex::new(()) }
    }
}

/// Heard by a worker between two steps.
pub(crate) struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Completes when `wake` does (true) or when the engine stops (false).
    pub(crate) async fn unless_stopped(&mut self, wake: BoxFuture<'_, ()>) -> bool {
        if *self.0.borrow() {
            return false;
        }
        let stop = self.0.changed().map(drop).boxed();
        select(wake, stop).await;
        !*self.0.borrow()
    }
}

impl Engine {
    /// Starts the background workers; [`Engine::stop`] ends them.
    pub fn start(self: &Arc<Self>) {
        self.write_back.start();
        self.spawn("index-flush", INDEX_TICK, |engine| async move { engine.flush_index_if_due().await }.boxed());
        self.spawn("gather", GATHER_TICK, |engine| async move { engine.gather_tick().await }.boxed());
        self.spawn("trim", GATHER_TICK, |engine| async move { engine.drain_trims(TRIM_BUDGET).map(drop) }.boxed());
        self.spawn("quota-count", GATHER_TICK, |engine| async move { engine.count_projects() }.boxed());
        let engine = Arc::clone(self);
        self.run("orphans", move |mut stop| {
            async move {
                while engine.drain_until_empty().await && {
                    let wake = engine.orphans.wake.notified().boxed();
                    stop.unless_stopped(wake).await && stop.unless_stopped(engine.env.clock.sleep(ORPHANS_PAUSE)).await
                } {}
            }
            .boxed()
        });
        self.start_data();
    }

    /// A named worker that repeats `step` after each `period`.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        period: Duration,
        step: impl Fn(Arc<Self>) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) {
        let engine = Arc::clone(self);
        self.run(name, move |mut stop| {
            async move {
                while stop.unless_stopped(engine.env.clock.sleep(period)).await {
                    if let Err(error) = step(Arc::clone(&engine)).await {
                        tracing::error!(worker = name, %error, "background work failed; it will be tried again");
                    }
                }
            }
            .boxed()
        });
    }

    /// A named worker that ends when its signal says so.
    pub(crate) fn run(&self, name: &'static str, work: impl FnOnce(StopSignal) -> BoxFuture<'static, ()>) {
        let task = self.env.tasks.spawn(name, work(StopSignal(self.workers.stop.subscribe())));
        self.workers.tasks.lock().push(task);
    }

    async fn drain_until_empty(&self) -> bool {
        loop {
            match self.drain_orphans() {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => return true,
                Err(error) => {
                    tracing::error!(%error, "freeing removed files failed; the next start tries again");
                    return !self.diverged.load(Ordering::Relaxed);
                }
            }
        }
    }

    /// Ends the workers, makes everything durable locally, and shortens the next start to almost nothing. The pool is
    /// not waited for; [`Engine::flush`] does that.
    pub async fn stop(self: &Arc<Self>) -> Result<()> {
        self.workers.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.workers.tasks.lock());
        for task in tasks {
            task.join().await;
        }
        self.stop_data().await;
        self.flush_gathered_all()?;
        self.write_back.stop().await;
        self.journal.commit_async(self.journal.last()).await?;
        self.flush_index().await
    }

    async fn flush_index_if_due(self: Arc<Self>) -> Result<()> {
        let large = self.meta.unflushed_bytes() > self.config.index_unflushed_bytes_max;
        let behind = self.replay_segments();
        // The journal gives up no segment that the index would need for its replay.
        let holds_up = behind > 1 && self.journal.local_bytes() > self.config.journal.cache_bytes_max;
        if large || holds_up || behind > REPLAY_SEGMENTS_MAX { self.flush_index().await } else { Ok(()) }
    }

    /// Segments with records that are not in the flushed index.
    pub(crate) fn replay_segments(&self) -> u64 {
        let flushed = self.meta.flushed_lsn();
        self.journal.segments().iter().filter(|s| s.last_lsn.0 > flushed).count() as u64
    }

    /// Makes the index durable as of now and lets the journal know.
    pub(crate) async fn flush_index(self: &Arc<Self>) -> Result<()> {
        let engine = Arc::clone(self);
        self.env.blocking(move || engine.flush_index_blocking()).await
    }

    fn flush_index_blocking(&self) -> Result<()> {
        let _one = self.workers.flushing.lock();
        if self.diverged.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "flush index").context("the index is behind the journal"));
        }
        // Most of the sync happens here, while changes go on; what is left under the gate is small.
        self.journal.commit(self.journal.last())?;
        {
            let _gate = self.gate.write();
            let last = self.journal.last();
            self.journal.commit(last)?;
            self.meta.begin_flush(last.0)?;
        }
        let flushed = self.meta.finish_flush()?;
        self.journal.index_flushed(cache_journal::Lsn(flushed));
        Ok(())
    }
}
