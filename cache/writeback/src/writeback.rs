//! [`WriteBack`]: the owner of the upload worker, and the gate that writers pass.
//!
//! The worker and the callers of `step` and `flush` share one turn: only one of them uploads at a time, so segments
//! are marked strictly in order. Locks: the turn is held across awaits and taken first; `progress` is held for a few
//! instructions and nothing is called under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_journal::{Journal, Lsn, SegmentId, SegmentState};
use objstore_base::{BlobStore, Error, ErrorKind, Result};
use objstore_env::{Env, TaskHandle};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::activity::Activity;
use crate::disk::DiskGuard;
use crate::links::Links;
use crate::pressure::Pressure;
use crate::progress::{Progress, Reached, waiting_helps};
use crate::{Band, LastError, Liveness, SegmentLink, UploadState, WriteBackConfig, WriteBackStatus};

/// Uploads what is dirty; see the crate's documentation.
pub struct WriteBack {
    pub(crate) env: Env,
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) liveness: Arc<dyn Liveness>,
    pub(crate) config: WriteBackConfig,
    pub(crate) pressure: Pressure,
    pub(crate) disk: DiskGuard,
    pub(crate) activity: Mutex<Activity>,
    pub(crate) progress: Mutex<Progress>,
    pub(crate) reached: watch::Sender<Reached>,
    /// Everything up to here is wanted in the pool now.
    pub(crate) flush_upto: AtomicU64,
    /// A writer waits, so the active segment must not.
    pub(crate) pressed: AtomicBool,
    /// Counts reasons to look again before the next timer.
    pub(crate) wake: watch::Sender<u64>,
    /// Between `start` and `stop`: the worker has the turn, or will have it soon.
    pub(crate) attended: watch::Sender<bool>,
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// One blob is built at a time, which bounds memory to it and the blobs that are being put.
    pub(crate) building: tokio::sync::Mutex<()>,
    pub(crate) links: Arc<Links>,
    worker: Mutex<Option<Box<dyn TaskHandle>>>,
}

impl WriteBack {
    pub fn new(
        env: Env,
        journal: Arc<Journal>,
        store: Arc<dyn BlobStore>,
        liveness: Arc<dyn Liveness>,
        config: WriteBackConfig,
    ) -> Arc<Self> {
        let links = Arc::new(Links::new(journal.clone()));
        let this = Arc::new(Self {
            pressure: Pressure::new(config.max_dirty_bytes),
            activity: Mutex::new(Activity::new(config.busy_bytes_per_s)),
            disk: DiskGuard::new(env.clone(), journal.config().dir.clone(), config.disk_reserve),
            env,
            journal,
            store,
            liveness,
            config,
            progress: Mutex::default(),
            reached: watch::Sender::default(),
            flush_upto: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            wake: watch::Sender::new(0),
            attended: watch::Sender::new(false),
            turn: tokio::sync::Mutex::new(()),
            building: tokio::sync::Mutex::new(()),
            links,
            worker: Mutex::default(),
        });
        this.look();
        this.note_reached();
        this
    }

    /// Starts the worker; once per `stop`.
    pub fn start(self: &Arc<Self>) {
        let mut worker = self.worker.lock();
        if worker.is_none() {
            self.attended.send_replace(true);
            *worker = Some(self.env.tasks.spawn("write-back", Box::pin(Self::run(self.clone()))));
        }
    }

    /// Stops the worker and waits for its end. Running puts are cancelled: their segments stay dirty and go up again
    /// at the next start. Call `flush` first to leave nothing behind.
    pub async fn stop(&self) {
        let worker = self.worker.lock().take();
        self.attended.send_replace(false);
        if let Some(worker) = worker {
            worker.join().await;
        }
    }

    /// Waits until a writer may make `bytes` more bytes dirty: ready at the first poll below 80 % of the limit, later
    /// and later above (see [`Band`]). Reads and deletes do not come here, so they work on a full cache.
    ///
    /// # Errors
    /// `NoSpace` where there was no room (above 95 %, or on the journal's filesystem) for as long as `patience`.
    ///
    /// # Cancel
    /// Dropping the future gives up the place in the queue and lets nothing in.
    pub async fn admit(&self, bytes: u64, patience: Duration) -> Result<()> {
        if self.pressure.admit_at_once(bytes) {
            return Ok(());
        }
        Box::pin(self.admit_in_turn(bytes, patience)).await
    }

    async fn admit_in_turn(&self, bytes: u64, patience: Duration) -> Result<()> {
        let queued = self.pressure.enqueue();
        self.press();
        let mut deadline = self.env.clock.sleep(patience);
        let admitted = {
            let turn = self.pressure.turn.lock();
            tokio::select! {
                biased;
                turn = turn => {
                    let admitted = self.wait_for_room(bytes, &mut deadline).await;
                    drop(turn);
                    admitted
                }
                () = &mut deadline => self.at_deadline(),
            }
        };
        drop(queued);
        admitted.map(|()| self.pressure.add(bytes))
    }

    /// The writer whose turn it is waits as its band says.
    async fn wait_for_room(&self, bytes: u64, deadline: &mut (impl Future<Output = ()> + Unpin)) -> Result<()> {
        let mut room = self.pressure.watch_room();
        loop {
            room.mark_unchanged();
            self.look();
            let wait = match self.pressure.band() {
                Band::Free => return Ok(()),
                Band::Slowed => {
                    let rate = self.progress.lock().rate.bytes_per_s();
                    let pause = self.env.clock.sleep(self.pressure.pause(bytes, rate));
                    tokio::select! { biased; () = pause => {}, () = deadline => {} }
                    return Ok(());
                }
                Band::WriteThrough if self.pressure.take_credit(bytes) => return Ok(()),
                Band::WriteThrough | Band::Full | Band::DiskFull => room.changed(),
            };
            self.press();
            tokio::select! {
                biased;
                // The sender lives in `self`.
                _ = wait => {}
                () = &mut *deadline => return self.at_deadline(),
            }
        }
    }

    /// Patience is over: below 95 % the writer was only slowed down and goes on, above it is told why not.
    fn at_deadline(&self) -> Result<()> {
        self.look();
        match self.pressure.band() {
            Band::Free | Band::Slowed | Band::WriteThrough => Ok(()),
            Band::Full => Err(self.full()),
            Band::DiskFull => Err(self.disk.full()),
        }
    }

    fn full(&self) -> Error {
        let (dirty, max) = (self.journal.dirty().bytes >> 10, self.pressure.max() >> 10);
        let progress = self.progress.lock();
        let cause = match &progress.failure {
            Some(failure) => format!("uploads fail ({}); writes go on when the pool is back", failure.message),
            None => "uploads are slower than writes; try again, or raise cache.max_bytes".to_owned(),
        };
        let why = format!("{dirty} KiB of at most {max} KiB wait for upload and {cause}");
        Error::new(ErrorKind::NoSpace, "write to the cache").context(why)
    }

    /// Corrects the level by an exact look at the journal.
    pub(crate) fn look(&self) {
        self.pressure.correct(|| self.journal.dirty().bytes);
    }

    /// A writer waits: nothing dirty may lie about unsealed.
    fn press(&self) {
        if !self.pressed.swap(true, Ordering::AcqRel) {
            self.wake_worker();
        }
    }

    pub(crate) fn wake_worker(&self) {
        self.wake.send_modify(|reasons| *reasons += 1);
    }

    /// Every record up to here is in the pool.
    pub(crate) fn in_pool(&self) -> Lsn {
        // The last record first: one appended after this line is in no list below, and not claimed either.
        let last = self.journal.last();
        let dirty = |s: &cache_journal::SegmentInfo| s.state != SegmentState::Uploaded && s.last_lsn >= s.first_lsn;
        let first = self.journal.segments().iter().find(|s| dirty(s)).map(|s| s.first_lsn.before());
        first.map_or(last, |before| before.min(last))
    }

    /// What the segment after the sealed segment `segment` names it by; `None` where that is not known any more.
    pub async fn link(&self, segment: SegmentId) -> Option<SegmentLink> {
        let links = self.links.clone();
        self.env.blocking(move || links.of(segment)).await
    }

    pub(crate) fn note_reached(&self) {
        let in_pool = self.in_pool();
        let failure = self.progress.lock().failure.clone();
        let stuck = failure.filter(|f| !waiting_helps(f.kind)).map(|f| (f.kind, f.message));
        self.reached.send_replace(Reached { in_pool, stuck });
    }

    pub fn status(&self) -> WriteBackStatus {
        let now = self.env.clock.monotonic();
        self.look();
        let dirty = self.journal.dirty();
        let running = self.worker.lock().is_some();
        let progress = self.progress.lock();
        let last_error = progress.failure.as_ref().map(|f| LastError {
            segment: f.segment,
            kind: f.kind,
            message: f.message.clone(),
            attempts: f.attempts,
            failing_for: now.saturating_sub(f.since),
            mends_by_waiting: waiting_helps(f.kind),
        });
        let state = match &progress.failure {
            _ if !running => UploadState::Stopped,
            Some(failure) => UploadState::Retrying(failure.retry_at.saturating_sub(now)),
            None if progress.in_flight.is_empty() => UploadState::Idle,
            None => UploadState::Uploading,
        };
        let eta = if last_error.is_some() { None } else { progress.rate.eta(dirty.bytes) };
        let (in_flight, totals) = (progress.in_flight.clone(), progress.totals);
        let (disk_available_bytes, disk_reserve_bytes) = self.disk.seen();
        let upload_rate_bytes_per_s = progress.rate.bytes_per_s();
        drop(progress);
        WriteBackStatus {
            state,
            band: self.pressure.band(),
            dirty_bytes: dirty.bytes,
            dirty_segments: dirty.segments,
            oldest_age: dirty.oldest_age,
            max_dirty_bytes: self.pressure.max(),
            local_bytes: self.journal.local_bytes(),
            cache_bytes_max: self.journal.config().cache_bytes_max,
            disk_available_bytes,
            disk_reserve_bytes,
            in_flight,
            upload_rate_bytes_per_s,
            eta,
            last_error,
            totals,
            in_pool: self.in_pool(),
            last: self.journal.last(),
        }
    }
}
