//! The worker: seals what has waited long enough, puts sealed segments in order, marks them, and lets old ones go.
//!
//! A segment is put, then marked as uploaded, then it may be retired (I2). A crash between two of these repeats the
//! earlier one: a put of the same id replaces, a mark of a marked segment is nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_journal::{Journal, SegmentId, SegmentInfo, SegmentState};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use objstore_base::{BlobId, BoxFuture, Error, ErrorKind, Result};

use crate::activity::WINDOW;
use crate::{Band, BuiltBlob, Lineage, WriteBack, build_blob};

/// The worker looks at ages and at the filesystem this often.
const TICK: Duration = Duration::from_secs(1);

/// Longest delay between two attempts while a writer waits for room: it must see a few before its patience ends, or
/// one lost reply after a long outage would fail it although the store is back.
const RETRY_DELAY_MAX_PRESSED: Duration = Duration::from_secs(5);

/// What one call of `step` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Sealed(SegmentId),
    Uploaded(SegmentId),
    /// Bytes of uploaded segments were let go.
    Retired(u64),
    /// The next attempt comes after this time.
    Waiting(Duration),
    /// Nothing is due.
    Idle,
}

/// A segment whose blob is in the pool.
pub(crate) struct Put {
    segment: SegmentId,
    segment_bytes: u64,
    /// `None` where the segment was dropped meanwhile.
    blob: Option<BuiltBlob>,
}

impl WriteBack {
    /// One unit of work, with nothing done in the background: for simulations and tools.
    ///
    /// # Errors
    /// `Busy` while the worker or a flush has the turn; else why an attempt failed. The next step waits its delay.
    pub async fn step(&self) -> Result<Step> {
        let turn = self.turn.try_lock();
        let turn = turn.map_err(|_| Error::new(ErrorKind::Busy, "step write-back").context("the worker is running"))?;
        let step = self.step_in_turn().await;
        drop(turn);
        step
    }

    pub(crate) async fn step_in_turn(&self) -> Result<Step> {
        self.look();
        self.guard_disk().await;
        let now = self.env.clock.monotonic();
        let retry_at = self.progress.lock().failure.as_ref().map(|f| f.retry_at);
        if let Some(delay) = retry_at.and_then(|at| at.checked_sub(now)).filter(|d| !d.is_zero()) {
            return Ok(Step::Waiting(delay));
        }
        match self.step_once().await {
            Ok(step) => Ok(step),
            Err((segment, error)) => {
                self.failed(segment, &error);
                Err(error)
            }
        }
    }

    async fn step_once(&self) -> Result<Step, (Option<SegmentId>, Error)> {
        let at = |segment| move |error| (Some(segment), error);
        if let Some(segment) = self.seal_if_due(true).await.map_err(|e| (None, e))? {
            return Ok(Step::Sealed(segment));
        }
        if let Some(segment) = self.next_sealed(SegmentId(0)) {
            self.began(segment);
            let put = self.put(segment).await.map_err(at(segment))?;
            self.mark(&put).await.map_err(at(segment))?;
            self.retire().await;
            return Ok(Step::Uploaded(segment));
        }
        Ok(match self.retire().await {
            0 => Step::Idle,
            freed => Step::Retired(freed),
        })
    }

    /// The worker's life.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut attended = self.attended.subscribe();
        let work = async {
            let turn = self.turn.lock().await;
            self.work().await;
            drop(turn);
        };
        tokio::select! {
            biased;
            // The sender lives in `self`. Running puts are dropped here.
            _ = attended.wait_for(|attended| !*attended) => {}
            () = work => {}
        }
        self.progress.lock().in_flight.clear();
    }

    async fn work(self: &Arc<Self>) {
        let mut puts: FuturesOrdered<BoxFuture<'static, Put>> = FuturesOrdered::new();
        let mut queued = SegmentId(0);
        let mut sealed = self.journal.watch_sealed();
        let mut wake = self.wake.subscribe();
        loop {
            // Appends that did not pass the gate (metadata, compaction) count too.
            self.look();
            self.guard_disk().await;
            match self.seal_if_due(puts.is_empty()).await {
                Ok(None) => {}
                Ok(Some(_)) => self.progress.lock().sealed(),
                Err(error) => drop(self.failed(None, &error)),
            }
            while puts.len() < self.config.uploads_in_flight_max.max(1) {
                let Some(segment) = self.next_sealed(queued) else { break };
                if self.writers_go_first(segment) {
                    break;
                }
                queued = segment;
                self.began(segment);
                puts.push_back(Box::pin(self.clone().put_until_done(segment)));
            }
            tokio::select! {
                biased;
                Some(put) = puts.next(), if !puts.is_empty() => {
                    self.mark_until_done(&put).await;
                    self.retire().await;
                }
                _ = sealed.changed() => {}
                _ = wake.changed() => {}
                () = self.env.clock.sleep(TICK) => {
                    self.retire().await;
                }
            }
        }
    }

    async fn put_until_done(self: Arc<Self>, segment: SegmentId) -> Put {
        loop {
            match self.put(segment).await {
                Ok(put) => return put,
                Err(error) => {
                    let delay = self.failed(Some(segment), &error);
                    self.wait_to_retry(delay).await;
                }
            }
        }
    }

    /// Waits the delay, or less: a flush that comes now, or a writer that begins to wait, is worth an early attempt.
    async fn wait_to_retry(&self, delay: Duration) {
        let asked = self.flush_upto.load(Ordering::Acquire);
        let mut pressed = self.pressed.load(Ordering::Acquire);
        let mut wake = self.wake.subscribe();
        let mut until = self.env.clock.monotonic() + delay;
        loop {
            let left = until.saturating_sub(self.env.clock.monotonic());
            tokio::select! {
                biased;
                () = self.env.clock.sleep(left) => return,
                // The sender lives in `self`.
                _ = wake.changed() => {}
            }
            if self.flush_upto.load(Ordering::Acquire) > asked {
                return;
            }
            if !pressed && self.pressed.load(Ordering::Acquire) {
                pressed = true;
                until = until.min(self.env.clock.monotonic() + RETRY_DELAY_MAX_PRESSED);
            }
        }
    }

    async fn mark_until_done(&self, put: &Put) {
        while let Err(error) = self.mark(put).await {
            let delay = self.failed(Some(put.segment), &error);
            self.env.clock.sleep(delay).await;
        }
    }

    /// Builds the segment's blob and puts it. A failed attempt keeps nothing: the blob is built anew, from what is
    /// live then, and memory stays free while the store is away.
    async fn put(&self, segment: SegmentId) -> Result<Put> {
        let Some(info) = self.journal.segment(segment) else {
            return Ok(Put { segment, segment_bytes: 0, blob: None });
        };
        let segment_bytes = info.bytes;
        let mut blob = {
            let building = self.building.lock().await;
            let (journal, liveness) = (self.journal.clone(), self.liveness.clone());
            let (compression, failpoints) = (self.config.compression, self.env.failpoints.clone());
            let (links, timeline) = (self.links.clone(), self.config.timeline);
            let built = self.env.blocking(move || {
                failpoints.hit("writeback.build").map_err(|e| Error::io("writeback.build", e))?;
                let lineage = Lineage { timeline, previous: links.before(info.first_lsn) };
                let blob = build_blob(&journal.sealed(segment)?, lineage, liveness.as_ref(), compression)?;
                links.note(blob.link());
                Ok::<_, Error>(blob)
            });
            let built = built.await;
            drop(building);
            built?
        };
        self.hit("writeback.put.before")?;
        self.store.put(BlobId::segment(segment.0), std::mem::take(&mut blob.parts)).await?;
        self.hit("writeback.put.after")?;
        Ok(Put { segment, segment_bytes, blob: Some(blob) })
    }

    /// Notes durably that the segment is in the pool.
    async fn mark(&self, put: &Put) -> Result<()> {
        self.hit("writeback.mark.before")?;
        if let Some(blob) = &put.blob {
            let (journal, segment) = (self.journal.clone(), put.segment);
            self.env.blocking(move || journal.mark_uploaded(segment)).await?;
            self.hit("writeback.mark.after")?;
            self.finished(put, blob);
        } else {
            self.progress.lock().in_flight.retain(|s| *s != put.segment);
        }
        self.pressed.store(false, Ordering::Release);
        self.look();
        self.pressure.uploaded(put.segment_bytes);
        self.note_reached();
        Ok(())
    }

    fn began(&self, segment: SegmentId) {
        let mut progress = self.progress.lock();
        progress.rate.busy(self.env.clock.monotonic());
        if !progress.in_flight.contains(&segment) {
            progress.in_flight.push(segment);
        }
    }

    fn finished(&self, put: &Put, blob: &BuiltBlob) {
        let now = self.env.clock.monotonic();
        let mut progress = self.progress.lock();
        progress.succeeded();
        progress.in_flight.retain(|s| *s != put.segment);
        progress.rate.uploaded(now, put.segment_bytes);
        if progress.in_flight.is_empty() {
            progress.rate.idle();
        }
        progress.totals.segments += 1;
        progress.totals.segment_bytes += put.segment_bytes;
        progress.totals.blob_bytes += blob.len;
        progress.totals.frames += u64::from(blob.frames);
        progress.totals.frames_left_out += u64::from(blob.left_out);
        drop(progress);
        tracing::debug!(
            segment = put.segment.0,
            bytes = put.segment_bytes,
            blob_bytes = blob.len,
            "segment is in the pool"
        );
    }

    /// Notes the failure and gives the delay until the next attempt.
    fn failed(&self, segment: Option<SegmentId>, error: &Error) -> Duration {
        let now = self.env.clock.monotonic();
        let delay_max = match self.pressed.load(Ordering::Acquire) {
            true => self.config.retry_delay_max.min(RETRY_DELAY_MAX_PRESSED),
            false => self.config.retry_delay_max,
        };
        let delay = self.progress.lock().failed(segment, error, now, &self.config, delay_max, self.env.rng.as_ref());
        tracing::warn!(%error, segment = segment.map(|s| s.0), retry_ms = delay.as_millis() as u64, "upload failed");
        self.note_reached();
        delay
    }

    /// The first sealed segment after `after`. One that is still being sealed ends the search: order is kept.
    fn next_sealed(&self, after: SegmentId) -> Option<SegmentId> {
        let segments = self.journal.segments();
        let first = segments.iter().filter(|s| s.id > after).find(|s| s.state != SegmentState::Uploaded)?;
        (first.state == SegmentState::Sealed).then_some(first.id)
    }

    /// Whether the sealed `segment` lets writers have the disk a little longer (see `WriteBackConfig::busy_delay`).
    fn writers_go_first(&self, segment: SegmentId) -> bool {
        let now = self.env.clock.monotonic();
        let busy = {
            let mut activity = self.activity.lock();
            activity.note(now, self.journal.appended_bytes());
            activity.busy()
        };
        let Some(info) = self.journal.segment(segment) else { return false };
        let wanted = self.flush_upto.load(Ordering::Acquire) >= info.first_lsn.0
            || self.pressed.load(Ordering::Acquire)
            || !self.pressure.below_half()
            || self.pressure.band() == Band::DiskFull;
        let age = now.saturating_sub(info.oldest_at);
        // One that was filled within a window is a burst, whatever the last window saw.
        !wanted && age < self.config.busy_delay && (busy || age < WINDOW)
    }

    /// Seals the active segment where its time has come; `idle` says that nothing is on its way up.
    async fn seal_if_due(&self, idle: bool) -> Result<Option<SegmentId>> {
        let segments = self.journal.segments();
        let filled = |s: &&SegmentInfo| s.state == SegmentState::Active && s.last_lsn >= s.first_lsn;
        let Some(oldest) = segments.iter().find(filled) else { return Ok(None) };
        let nothing_else = idle && segments.iter().all(|s| s.state != SegmentState::Sealed);
        if !self.seal_is_due(oldest, nothing_else) {
            return Ok(None);
        }
        self.hit("writeback.seal")?;
        let journal = self.journal.clone();
        let newest_before = *journal.watch_sealed().borrow();
        self.env.blocking(move || seal(&journal, newest_before)).await
    }

    fn seal_is_due(&self, active: &SegmentInfo, nothing_else: bool) -> bool {
        let flushed = self.flush_upto.load(Ordering::Acquire) >= active.first_lsn.0;
        let pressed = self.pressed.load(Ordering::Acquire) && self.pressure.band() != Band::Free;
        let age = self.env.clock.monotonic().saturating_sub(active.oldest_at);
        let delay = if active.bytes < self.config.small_segment_bytes {
            self.config.small_segment_delay.max(self.config.upload_delay)
        } else {
            self.config.upload_delay
        };
        flushed || age >= delay || (pressed && nothing_else)
    }

    /// Lets uploaded segments go until the journal is within its limit with room for one more segment; all of them
    /// where the filesystem is full. What fails here is tried again soon and stops nobody.
    async fn retire(&self) -> u64 {
        let config = self.journal.config();
        let target = match self.pressure.band() {
            Band::DiskFull => 0,
            _ => config.cache_bytes_max.saturating_sub(config.segment_bytes),
        };
        if self.journal.local_bytes() <= target {
            return 0;
        }
        let retired = async {
            self.hit("writeback.retire")?;
            let journal = self.journal.clone();
            self.env.blocking(move || journal.retire(target)).await
        };
        retired.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "uploaded segments could not be let go");
            0
        })
    }

    /// Looks at the journal's filesystem about once a second.
    async fn guard_disk(&self) {
        if !self.disk.due() {
            return;
        }
        match self.disk.missing().await {
            Ok(0) => self.pressure.set_disk_full(false),
            Ok(missing) => {
                self.pressure.set_disk_full(true);
                tracing::warn!(missing_bytes = missing, "the journal's filesystem is at its reserve");
                if self.retire().await > 0 && self.disk.missing().await.is_ok_and(|missing| missing == 0) {
                    self.pressure.set_disk_full(false);
                }
            }
            Err(error) => tracing::warn!(%error, "the space left is unknown"),
        }
    }

    fn hit(&self, place: &'static str) -> Result<()> {
        self.env.failpoints.hit(place).map_err(|e| Error::io(place, e))
    }
}

/// Seals the active segment, and whatever full one still waits for its sync. Blocks.
fn seal(journal: &Journal, newest_before: SegmentId) -> Result<Option<SegmentId>> {
    let sealed = journal.seal()?;
    if sealed.is_none() {
        // The active segment is empty: what was due is a full one, which the next sync seals.
        journal.commit(journal.last())?;
        journal.tick()?;
    }
    let newest = *journal.watch_sealed().borrow();
    Ok(sealed.or((newest > newest_before).then_some(newest)))
}
