//! Group commit: the first waiter syncs for all who wait by then; the others share its result.
//!
//! Order within a round: tail to the page cache, then the payload writes below it land, then full segments are synced
//! with their frame tables, then the active one; only then is `durable` raised, and only then are full segments marked
//! as sealed. So a segment marked sealed is whole, and a durable LSN has everything before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::channel::oneshot;
use objstore_base::{BoxFuture, Error, ErrorKind, Result, ResultExt, pending_once};

use crate::ids::Lsn;
use crate::journal::Journal;
use crate::segment::Segment;

/// Unsynced records are synced after this long even if nobody asks.
const UNSYNCED_AGE_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct SyncState {
    /// Somebody runs a round.
    leading: bool,
    /// Rounds begun; a waiter for a whole new round compares.
    begun: u64,
    ended: u64,
    failures: u64,
    failed_upto: Lsn,
    failure: String,
    /// Futures that wait, and whether a thread works for them.
    waiters: Vec<Waiter>,
    driven: bool,
}

/// One `commit_async` that is not done.
struct Waiter {
    upto: Lsn,
    failures_before: u64,
    done: oneshot::Sender<Result<()>>,
}

impl SyncState {
    /// What became of a commit up to `upto` that began when `failures_before` rounds had failed; `None`: not over yet.
    fn outcome(&self, upto: Lsn, failures_before: u64, durable: Lsn) -> Option<Result<()>> {
        if self.failures != failures_before && upto <= self.failed_upto {
            return Some(Err(self.error()));
        }
        (durable >= upto).then_some(Ok(()))
    }

    fn error(&self) -> Error {
        Error::new(ErrorKind::Io, "commit journal").context(self.failure.clone())
    }
}

/// Dropped by a panic inside a round: what the round had taken from the tail may never reach the disk, so the journal
/// takes no more, and nobody waits for the round's end.
struct Defect<'a>(&'a Journal);

impl Drop for Defect<'_> {
    fn drop(&mut self) {
        let why = "a defect ended a sync of the journal; what was not committed may be lost. Please report it, and start \
                   again";
        self.0.poison.get_or_init(|| why.to_owned());
        let mut sync = self.0.sync.lock();
        sync.leading = false;
        sync.ended += 1;
        sync.failures += 1;
        sync.failed_upto = self.0.last();
        sync.failure = why.to_owned();
        self.0.synced.notify_all();
    }
}

/// Dropped by a panic of the thread that commits for futures: they are told.
struct Undriven<'a>(&'a Journal);

impl Drop for Undriven<'_> {
    fn drop(&mut self) {
        let mut sync = self.0.sync.lock();
        sync.driven = false;
        for waiter in std::mem::take(&mut sync.waiters) {
            // The receiver is gone where the caller was cancelled.
            drop(waiter.done.send(Err(sync.error())));
        }
    }
}

/// What a round covers.
struct Snapshot {
    last: Lsn,
    flights: u64,
    active: Arc<Segment>,
    rolled: Vec<Arc<Segment>>,
    appended_bytes: u64,
    unsynced_since: Option<Duration>,
}

impl Journal {
    /// Makes everything up to `upto` durable. Concurrent commits share one sync.
    ///
    /// # Errors
    /// `Io` where a sync failed, also when its records could be saved by a second copy: they are durable then, but the
    /// caller must know. `InvalidArgument` for an LSN that was not appended.
    pub fn commit(&self, upto: Lsn) -> Result<()> {
        if self.is_durable(upto)? {
            return Ok(());
        }
        let entered = self.sync.lock().failures;
        self.rounds(|sync| sync.outcome(upto, entered, self.durable()))
    }

    fn is_durable(&self, upto: Lsn) -> Result<bool> {
        if upto > self.last() {
            let why = format!("{upto} is beyond the last, {}", self.last());
            return Err(Error::new(ErrorKind::InvalidArgument, "commit journal").context(why));
        }
        Ok(self.durable() >= upto)
    }

    /// As `commit`; ready at once where `upto` is durable already.
    ///
    /// The first poll only registers: whoever polls first may have more to append before anybody syncs. From the second on
    /// the first to come syncs for all, on its own thread where the runtime allows that: with one request at a time no
    /// other thread has to wake up. What has come meanwhile is synced by a thread of its own, round after round.
    ///
    /// # Cancel
    /// Dropping the future stops the waiting, not a sync that has begun.
    pub fn commit_async(self: &Arc<Self>, upto: Lsn) -> BoxFuture<'static, Result<()>> {
        match self.is_durable(upto) {
            Ok(true) => return Box::pin(std::future::ready(Ok(()))),
            Err(error) => return Box::pin(std::future::ready(Err(error))),
            Ok(false) => {}
        }
        let (done, receiver) = oneshot::channel();
        {
            let mut sync = self.sync.lock();
            let failures_before = sync.failures;
            sync.waiters.push(Waiter { upto, failures_before, done });
        }
        let journal = self.clone();
        Box::pin(async move {
            pending_once().await;
            if !std::mem::replace(&mut journal.sync.lock().driven, true) {
                let leader = journal.clone();
                // A panic has been reported when it happened, and told to all who wait, this caller too.
                let lead = move || drop(catch_unwind(AssertUnwindSafe(|| leader.lead())));
                journal.env.tasks.blocking_here(Box::new(lead)).await;
            }
            let stopped = || Error::new(ErrorKind::ShuttingDown, "commit journal");
            receiver.await.map_err(|_| stopped())?
        })
    }

    /// What to wait for before payload is appended: nothing while at most `unsynced_bytes_max` are unsynced, else a
    /// sync of everything so far. So the commit of a small file never waits behind somebody else's large copy for
    /// longer than that many bytes take. Called with no lock held; a sync that fails meets the next commit.
    pub fn pace(self: &Arc<Self>) -> Option<BoxFuture<'static, ()>> {
        if self.unsynced_bytes() <= self.config.unsynced_bytes_max {
            return None;
        }
        let last = self.last();
        let commit = self.commit_async(last);
        Some(Box::pin(async move {
            if let Err(error) = commit.await {
                tracing::warn!(%error, lsn = last.0, "the journal's disk does not keep up");
            }
        }))
    }

    /// Commits once for all futures that wait, and leaves those that come meanwhile to a thread of their own.
    fn lead(self: &Arc<Self>) {
        let defect = Undriven(self);
        let others = self.wanted().is_some_and(|upto| {
            self.commit_for_all(upto);
            self.wanted().is_some()
        });
        std::mem::forget(defect);
        if others {
            let journal = self.clone();
            let driving = self.env.blocking(move || journal.drive());
            // It ends by itself when nobody waits any more, and belongs to all who do: none of them may cancel it.
            drop(self.env.tasks.spawn("journal.commit", driving));
        }
    }

    /// Commits for all futures that wait, until there are none.
    fn drive(&self) {
        let defect = Undriven(self);
        while let Some(upto) = self.wanted() {
            self.commit_for_all(upto);
        }
        std::mem::forget(defect);
    }

    /// The last LSN that a future waits for. `None`: no future does, and the next that comes has to lead.
    fn wanted(&self) -> Option<Lsn> {
        let mut sync = self.sync.lock();
        let upto = sync.waiters.iter().map(|waiter| waiter.upto).max();
        sync.driven = upto.is_some();
        upto
    }

    fn commit_for_all(&self, upto: Lsn) {
        // An error has been noted where each waiter finds it.
        let failed = self.commit(upto).is_err();
        let mut sync = self.sync.lock();
        let durable = self.durable();
        for waiter in std::mem::take(&mut sync.waiters) {
            match sync.outcome(waiter.upto, waiter.failures_before, durable) {
                // The receiver is gone where the caller was cancelled.
                Some(result) => drop(waiter.done.send(result)),
                None => sync.waiters.push(waiter),
            }
        }
        debug_assert!(!failed || sync.failures > 0);
    }

    /// Runs one whole round that begins after this call.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let (begun, entered) = {
            let sync = self.sync.lock();
            (sync.begun, sync.failures)
        };
        self.rounds(|sync| {
            // Rounds do not overlap: when as many have ended as had begun, and one more, it began after this call.
            let done = sync.ended > begun;
            done.then(|| if sync.failures == entered { Ok(()) } else { Err(sync.error()) })
        })
    }

    /// Leads or follows rounds until `over` says so; an error of a round this thread led ends it too.
    fn rounds(&self, over: impl Fn(&SyncState) -> Option<Result<()>>) -> Result<()> {
        let mut sync = self.sync.lock();
        loop {
            if let Some(outcome) = over(&sync) {
                return outcome;
            }
            if sync.leading {
                self.synced.wait(&mut sync);
                continue;
            }
            sync.leading = true;
            sync.begun += 1;
            drop(sync);
            let defect = Defect(self);
            let (last, outcome) = self.round();
            std::mem::forget(defect);
            sync = self.sync.lock();
            sync.leading = false;
            sync.ended += 1;
            if let Err(error) = &outcome {
                sync.failures += 1;
                sync.failed_upto = last;
                sync.failure = error.to_string();
            }
            self.synced.notify_all();
            outcome?;
            if let Some(outcome) = over(&sync) {
                drop(sync);
                self.prepare_ahead();
                return outcome;
            }
        }
    }

    /// One sync of everything appended so far; gives what it covered.
    fn round(&self) -> (Lsn, Result<()>) {
        if let Err(error) = self.healthy() {
            return (self.last(), Err(error));
        }
        let (snapshot, written) = self.snapshot();
        let outcome = written.and_then(|()| self.sync_snapshot(&snapshot));
        let outcome = match outcome {
            Ok((damage, complete)) => {
                self.durable.fetch_max(snapshot.last.0, Ordering::AcqRel);
                self.synced_bytes.fetch_max(snapshot.appended_bytes, Ordering::AcqRel);
                self.finish_seals(snapshot.rolled.get(..complete).unwrap_or_default());
                damage.map_or(Ok(()), Err)
            }
            Err(error) => {
                let mut appender = self.appender.lock();
                appender.unsynced_since = appender.unsynced_since.or(snapshot.unsynced_since);
                Err(error)
            }
        };
        (snapshot.last, outcome)
    }

    /// Writes the tail out and notes, at the very end of it, what a sync from here on covers.
    fn snapshot(&self) -> (Snapshot, Result<()>) {
        let mut writer = self.writer.lock();
        let (snapshot, ahead) = {
            let mut appender = self.appender.lock();
            writer.take(&mut appender.tail);
            let ahead = appender.begin_zeroing(self.config.segment_bytes);
            let snapshot = Snapshot {
                last: appender.next_lsn.before(),
                flights: self.flights.bound(),
                active: appender.active.clone(),
                rolled: appender.rolled.clone(),
                appended_bytes: appender.appended_bytes,
                unsynced_since: appender.unsynced_since.take(),
            };
            (snapshot, ahead)
        };
        if let Some(range) = ahead {
            self.zero_ahead(&snapshot.active, range);
        }
        let written = writer.write().map_err(|(segment, e)| Error::io("write journal", e).entity(segment.id));
        (snapshot, written)
    }

    /// The sync itself. Gives an error where a sync failed and what it covered was saved by a new copy, and how many
    /// of the full segments are complete with their frame tables: a table that cannot be written stops no commit.
    fn sync_snapshot(&self, snapshot: &Snapshot) -> Result<(Option<Error>, usize)> {
        self.flights.wait_below(snapshot.flights);
        let mut damage = None;
        let (mut complete, mut tables) = (0, true);
        for segment in &snapshot.rolled {
            if let Err(error) = self.write_table(segment) {
                tracing::warn!(%error, segment = segment.id.0, "the segment cannot be sealed");
                tables = false;
            }
            damage = self.sync_segment(segment)?.or(damage);
            complete += usize::from(tables);
        }
        damage = self.sync_segment(&snapshot.active)?.or(damage);
        self.hit("journal.sync.after")?;
        Ok((damage, complete))
    }

    fn sync_segment(&self, segment: &Arc<Segment>) -> Result<Option<Error>> {
        let synced = self
            .hit("journal.sync.before")
            .and_then(|()| segment.file().sync_data().map_err(|e| Error::io("sync journal", e)));
        match synced.on(segment.id) {
            Ok(()) => Ok(None),
            Err(error) => self.repair(segment, error).map(Some),
        }
    }

    /// Tail buffer to the page cache; no sync.
    pub fn write_out(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.take(&mut self.appender.lock().tail);
        writer.write().map_err(|(segment, e)| Error::io("write journal", e).entity(segment.id))
    }

    /// To be called about once a second: writes out what is buffered, syncs what has waited for too long, proves the
    /// durable end of an idle log by a small record, and keeps the next segment ready.
    pub fn tick(&self) -> Result<()> {
        let now = self.env.clock.monotonic();
        let due = {
            let appender = self.appender.lock();
            let old = appender.unsynced_since.is_some_and(|since| now.saturating_sub(since) >= UNSYNCED_AGE_MAX);
            old || !appender.rolled.is_empty()
        };
        if due {
            self.sync_all()?;
        }
        self.prove_end()?;
        self.write_out()?;
        self.try_prepare();
        Ok(())
    }

    /// Commits everything and proves the end of the log, so that the next opening knows that nothing is missing.
    pub fn shutdown(&self) -> Result<()> {
        self.sync_all()?;
        self.prove_end()?;
        self.sync_all()
    }

    /// Without it, damage to the very last records could not be told from a torn tail.
    fn prove_end(&self) -> Result<()> {
        let wanted = {
            let appender = self.appender.lock();
            appender.last_data > appender.last_watermark && self.durable() >= appender.last_data
        };
        if wanted { self.append_watermark() } else { Ok(()) }
    }

    /// In the second half of a segment, gets the next one ready.
    fn prepare_ahead(&self) {
        if self.appender.lock().position >= self.config.segment_bytes / 2 {
            self.try_prepare();
        }
    }

    /// Does what the next roll-over will need; it will be tried again there.
    pub(crate) fn try_prepare(&self) {
        if self.appender.lock().next.is_some() || self.poison.get().is_some() {
            return;
        }
        if let Err(error) = self.prepare_next() {
            tracing::warn!(%error, "the next journal segment could not be prepared");
        }
    }
}
