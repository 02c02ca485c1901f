//! Healing: every blob ends with all its shards, each on a drive of its own and read back after it was written.
//!
//! First missing drives are brought back, then the heal list is worked off, then every blob of every drive is looked
//! at. One blob at a time is locked, so puts, deletes and reads of others go on. Memory holds the missing shards of
//! the few blobs being healed, inside the pool's bound. What is done to one blob is in `mend`.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use objstore_base::{BlobClass, BlobId, ErrorKind, Result};
use objstore_shard::{Drive, LocalDrive};
use parking_lot::Mutex;

use crate::ask::ASK_DEADLINE;
use crate::mend::Outcome;
use crate::pool::{Inner, is_refusal, mount};

/// Failed blobs named in a report; all are counted.
const FAILURES_NAMED_MAX: usize = 1000;
const PAGE_BLOBS: usize = 256;

/// How far a heal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealProgress {
    pub blobs_total: u64,
    pub blobs_done: u64,
    pub shards_rebuilt: u64,
    pub shards_moved: u64,
    pub failed: u64,
}

/// What a heal did. Complete means: every blob has all its shards, verified, each on a drive of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HealReport {
    /// Blobs whose every shard was read back.
    pub blobs_checked: u64,
    /// Blobs that lacked shards, or had several on one drive, and are whole now.
    pub blobs_healed: u64,
    pub shards_rebuilt: u64,
    /// From a drive that held another shard of the blob to one that held none.
    pub shards_moved: u64,
    /// Left over from deleted or replaced puts.
    pub shards_removed: u64,
    /// Drives that were made anew in their slot.
    pub drives_initialised: Vec<String>,
    /// Drives that stay away, with the reason.
    pub drives_away: Vec<String>,
    pub blobs_failed: u64,
    /// The first of the failed blobs, with the reason.
    pub failures: Vec<(String, String)>,
}

impl HealReport {
    pub const fn is_complete(&self) -> bool {
        self.blobs_failed == 0 && self.drives_away.is_empty()
    }

    fn add(&mut self, id: BlobId, done: &Outcome, result: Result<()>) {
        self.shards_rebuilt += done.rebuilt;
        self.shards_moved += done.moved;
        self.shards_removed += done.removed;
        match result {
            Ok(()) => {
                self.blobs_checked += 1;
                self.blobs_healed += u64::from(done.rebuilt + done.moved > 0);
            }
            Err(error) => {
                tracing::error!(blob = %id, %error, "cannot heal blob");
                self.blobs_failed += 1;
                if self.failures.len() < FAILURES_NAMED_MAX {
                    self.failures.push((id.to_string(), error.to_string()));
                }
            }
        }
    }
}

pub(crate) type Progress<'a> = &'a (dyn Fn(&HealProgress) + Send + Sync);

impl Inner {
    pub(crate) async fn heal(self: &Arc<Self>, progress: Progress<'_>) -> Result<HealReport> {
        let mut report = self.bring_back_drives().await;
        let mut state = HealProgress { blobs_total: self.count_blobs().await?, ..HealProgress::default() };
        progress(&state);
        let mut done: BTreeSet<BlobId> = BTreeSet::new();
        let listed = self.owing_blobs();
        self.heal_batch(&listed, &mut report, &mut state, progress).await;
        done.extend(listed);
        for class in BlobClass::ALL {
            let mut after = None;
            loop {
                let page = self.list(class, after, PAGE_BLOBS).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.number);
                let rest: Vec<BlobId> = page.into_iter().filter(|id| !done.contains(id)).collect();
                self.heal_batch(&rest, &mut report, &mut state, progress).await;
            }
        }
        Ok(report)
    }

    pub(crate) async fn heal_listed(self: &Arc<Self>) -> Result<HealReport> {
        let mut report = HealReport::default();
        let listed = self.owing_blobs();
        self.heal_batch(&listed, &mut report, &mut HealProgress::default(), &|_| {}).await;
        Ok(report)
    }

    pub(crate) fn owing_blobs(&self) -> Vec<BlobId> {
        let mut listed: Vec<BlobId> = self.heal_log.debts().into_iter().map(|(id, _)| id).collect();
        listed.extend(self.heal_log.deleted());
        listed.sort_unstable();
        listed.dedup();
        listed
    }

    async fn count_blobs(&self) -> Result<u64> {
        let mut count = 0;
        for class in BlobClass::ALL {
            let mut after = None;
            loop {
                let page = self.list(class, after, PAGE_BLOBS).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.number);
                count += page.len() as u64;
            }
        }
        Ok(count)
    }

    pub(crate) async fn heal_batch(
        self: &Arc<Self>,
        ids: &[BlobId],
        report: &mut HealReport,
        state: &mut HealProgress,
        progress: Progress<'_>,
    ) {
        let shared = Mutex::new((report, state));
        let heal = |id: BlobId| {
            let shared = &shared;
            async move {
                let mut done = Outcome::default();
                let result = self.mend(id, &mut done).await;
                let mut shared = shared.lock();
                let (report, state) = &mut *shared;
                report.add(id, &done, result);
                state.blobs_done += 1;
                state.shards_rebuilt = report.shards_rebuilt;
                state.shards_moved = report.shards_moved;
                state.failed = report.blobs_failed;
                progress(state);
            }
        };
        stream::iter(ids.iter().copied()).for_each_concurrent(self.config.heal_concurrency, heal).await;
    }

    /// Mounts what is back, and makes a missing or empty directory a drive of its slot again.
    async fn bring_back_drives(&self) -> HealReport {
        let mut report = HealReport::default();
        for slot in &self.slots {
            if let Some(drive) = slot.drive() {
                // Any question that touches the directory tells whether it is still the drive that was mounted.
                match self.within(ASK_DEADLINE, drive.find(BlobId::segment(u64::MAX))).await {
                    Err(e) if e.kind() == ErrorKind::Unavailable => slot.unmount(e.to_string()),
                    _ => continue,
                }
            }
            let (path, pool) = (slot.path.clone(), self.config.uuid);
            let mounted = match mount(&self.env, path.clone(), &self.config, slot.number).await {
                Err(e) if e.kind() == ErrorKind::Unavailable => {
                    let made = LocalDrive::init(&self.env, path.clone(), pool, slot.number).await;
                    made.map(|drive| {
                        tracing::info!(drive = %path.display(), "drive initialised in its slot");
                        report.drives_initialised.push(path.display().to_string());
                        Arc::new(drive) as Arc<dyn Drive>
                    })
                }
                other => other,
            };
            match mounted {
                Ok(drive) => {
                    let space = drive.space().await.ok();
                    slot.mount(drive, space);
                    self.topology_changed();
                }
                Err(error) => {
                    let refused = is_refusal(error.kind());
                    tracing::warn!(drive = %path.display(), %error, refused, "drive stays away");
                    slot.unmount(error.to_string());
                    report.drives_away.push(error.to_string());
                }
            }
        }
        report
    }
}
