//! Healing: every blob ends with all its shards, each read back after it was written.
//!
//! First missing drives are brought back, then the heal list is worked off, then every blob of every drive is looked
//! at. One blob at a time is locked, so puts, deletes and reads of others go on. Memory holds the missing shards of
//! the few blobs being healed, inside the pool's bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use objstore_base::{BlobClass, BlobId, Error, ErrorKind, Result};
use objstore_shard::{Generation, LocalDrive, ShardIdentity, ShardName, Stripe};
use parking_lot::Mutex;

use crate::ask::ASK_DEADLINE;
use crate::heal_log::Record;
use crate::layout::{Layout, Survey};
use crate::pool::{Inner, is_refusal, mount};
use crate::{BlobDescription, ShardState};

/// Failed blobs named in a report; all are counted.
const FAILURES_NAMED_MAX: usize = 1000;
const PAGE_BLOBS: usize = 256;
/// Reading or writing one shard takes a second or two on a healthy drive; a heal waits, but not for ever.
const SHARD_DEADLINE: Duration = Duration::from_secs(120);

/// How far a heal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealProgress {
    pub blobs_total: u64,
    pub blobs_done: u64,
    pub shards_rebuilt: u64,
    pub failed: u64,
}

/// What a heal did. Complete means: every blob has all its shards, verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HealReport {
    /// Blobs whose every shard was read back.
    pub blobs_checked: u64,
    /// Blobs that lacked shards and are whole now.
    pub blobs_healed: u64,
    pub shards_rebuilt: u64,
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

    fn add(&mut self, id: BlobId, outcome: Result<Outcome>) {
        match outcome {
            Ok(outcome) => {
                self.blobs_checked += 1;
                self.blobs_healed += u64::from(outcome.rebuilt > 0);
                self.shards_rebuilt += outcome.rebuilt;
                self.shards_removed += outcome.removed;
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

#[derive(Default)]
struct Outcome {
    rebuilt: u64,
    removed: u64,
}

/// The verified state of one put.
struct Examined {
    identity: ShardIdentity,
    /// Good shards by index.
    good: BTreeMap<usize, u16>,
    /// Shards that do not verify, and second copies: they go once the blob is whole.
    surplus: Vec<(u16, ShardName)>,
}

pub(crate) type Progress<'a> = &'a (dyn Fn(&HealProgress) + Send + Sync);

impl Inner {
    pub(crate) async fn heal(&self, progress: Progress<'_>) -> Result<HealReport> {
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

    pub(crate) async fn heal_listed(&self) -> Result<HealReport> {
        let mut report = HealReport::default();
        let listed = self.owing_blobs();
        self.heal_batch(&listed, &mut report, &mut HealProgress::default(), &|_| {}).await;
        Ok(report)
    }

    pub(crate) fn owing_blobs(&self) -> Vec<BlobId> {
        let mut listed: Vec<BlobId> = self.heal_log.missing().into_iter().map(|(id, _)| id).collect();
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
        &self,
        ids: &[BlobId],
        report: &mut HealReport,
        state: &mut HealProgress,
        progress: Progress<'_>,
    ) {
        let shared = Mutex::new((report, state));
        let heal = |id: BlobId| {
            let shared = &shared;
            async move {
                let outcome = self.heal_blob(id).await;
                let mut shared = shared.lock();
                let (report, state) = &mut *shared;
                report.add(id, outcome);
                state.blobs_done += 1;
                state.shards_rebuilt = report.shards_rebuilt;
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
                        std::sync::Arc::new(drive) as std::sync::Arc<dyn objstore_shard::Drive>
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

    async fn heal_blob(&self, id: BlobId) -> Result<Outcome> {
        // The room comes before the lock, as in a put: the other order could wait for itself.
        let shard_len = self.locate(id).await.map_or(0, |layout| layout.stripe.shard_len());
        let _room = self.write_room.take(shard_len * self.config.m as u64 + self.row_bytes()).await?;
        let _guard = self.lock(id).await;
        let mut outcome = Outcome::default();
        let survey = self.purge_deleted(id, &mut outcome).await?;
        let Some(generation) = survey.current(self.config.k, self.config.quorum()) else {
            self.settle(id).await?;
            return Ok(outcome);
        };
        let mut examined = self.examine(id, generation, &survey).await?;
        self.fill(&mut examined, &mut outcome).await?;
        self.remove_leftovers(&survey, &examined, &mut outcome).await;
        self.settle(id).await?;
        Ok(outcome)
    }

    fn row_bytes(&self) -> u64 {
        u64::from(self.config.cell_bytes) * self.config.shards() as u64
    }

    /// Removes shards of deleted puts; the deletion is over when every drive was asked and holds none.
    async fn purge_deleted(&self, id: BlobId, outcome: &mut Outcome) -> Result<Survey> {
        let mut survey = self.survey_with_deleted(id).await;
        let Some(upto) = self.heal_log.deleted_upto(id) else { return Ok(survey) };
        let (dead, live) = survey.shards.into_iter().partition(|(_, name)| name.generation <= upto);
        survey.shards = live;
        let dead: Vec<(u16, ShardName)> = dead;
        for (slot, name) in &dead {
            self.delete_shard(*slot, *name).await?;
            outcome.removed += 1;
        }
        if survey.unreachable.is_empty() {
            self.record(vec![Record::Purged { blob: id }]).await?;
        }
        Ok(survey)
    }

    async fn settle(&self, id: BlobId) -> Result<()> {
        self.forget(id);
        if self.heal_log.missing_of(id).is_empty() {
            return Ok(());
        }
        self.record(vec![Record::Healed { blob: id }]).await
    }

    /// Reads every shard of the put back.
    async fn examine(&self, id: BlobId, generation: Generation, survey: &Survey) -> Result<Examined> {
        let shards: Vec<(u16, ShardName)> = survey.of(generation).copied().collect();
        let verify = |(slot, name): (u16, ShardName)| async move {
            let slot = self.slot(slot);
            let drive = slot.reach()?;
            let header = self.within(SHARD_DEADLINE, drive.verify(name)).await.inspect_err(|e| {
                slot.failed(self.now(), e);
                if e.kind() == ErrorKind::Corrupt {
                    self.counters.corrupt();
                }
            })?;
            Ok::<_, Error>(*header.identity())
        };
        let verdicts = join_all(shards.iter().copied().map(verify)).await;
        let mut identity: Option<ShardIdentity> = None;
        let (mut good, mut surplus) = (BTreeMap::new(), Vec::new());
        for ((slot, name), verdict) in shards.into_iter().zip(verdicts) {
            match verdict {
                // Opened with the wrong code: nothing it could do to this blob would be right.
                Ok(found) if !self.is_of_this_code(&found) => {
                    let why = format!("it was stored with code {}+{}", found.k, found.m);
                    return Err(Error::new(ErrorKind::Mismatch, "heal blob").entity(id).context(why));
                }
                Ok(mut found) => {
                    found.name.index = 0;
                    let same = *identity.get_or_insert(found) == found;
                    let first = !good.contains_key(&usize::from(name.index));
                    if same && first {
                        good.insert(usize::from(name.index), slot);
                    } else {
                        surplus.push((slot, name));
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => surplus.push((slot, name)),
                Err(_) => {}
            }
        }
        match identity {
            Some(identity) if good.len() >= self.config.k => Ok(Examined { identity, good, surplus }),
            _ => Err(self.beyond_repair(id, &good)),
        }
    }

    fn beyond_repair(&self, id: BlobId, good: &BTreeMap<usize, u16>) -> Error {
        let bad: Vec<u16> = self.slots.iter().map(|s| s.number).filter(|s| !good.values().any(|g| g == s)).collect();
        let why = format!(
            "{} of {} shards are good, {} are needed; not good on {}",
            good.len(),
            self.config.shards(),
            self.config.k,
            self.places(&bad)
        );
        Error::new(ErrorKind::Damaged, "heal blob").entity(id).context(why)
    }

    /// Rebuilds what is missing and writes it to drives that hold nothing of this put.
    async fn fill(&self, examined: &mut Examined, outcome: &mut Outcome) -> Result<()> {
        let missing: Vec<usize> =
            (0..self.config.shards()).filter(|index| !examined.good.contains_key(index)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let stripe = examined.identity.stripe()?;
        let bodies = self.rebuild_bodies(examined, &stripe, &missing).await?;
        let mut drives = self.drives_for(examined, &stripe).await;
        for (index, body) in missing.into_iter().zip(bodies) {
            let mut identity = examined.identity;
            identity.name.index = index as u8;
            // A broken shard is replaced where it lies, if its drive takes it.
            let own = examined.surplus.iter().find(|(_, name)| usize::from(name.index) == index).map(|(slot, _)| *slot);
            if let Some(at) = own.and_then(|own| drives.iter().position(|slot| *slot == own)) {
                let own = drives.remove(at);
                drives.insert(0, own);
            }
            let slot = self.write_and_read_back(identity, body, &mut drives).await?;
            // What was overwritten is no leftover.
            examined.surplus.retain(|held| *held != (slot, identity.name));
            outcome.rebuilt += 1;
        }
        Ok(())
    }

    /// The bodies of the missing shards, computed row by row from k good ones.
    async fn rebuild_bodies(&self, examined: &Examined, stripe: &Stripe, missing: &[usize]) -> Result<Vec<Vec<Bytes>>> {
        let mut slots = vec![None; self.config.shards()];
        examined.good.iter().for_each(|(index, slot)| slots[*index] = Some(*slot));
        let layout = Layout { identity: examined.identity, stripe: *stripe, slots, topology: 0, until: None };
        let mut bodies: Vec<Vec<Bytes>> = vec![Vec::new(); missing.len()];
        for row in 0..stripe.rows() {
            let range = stripe.cell_in_shard(row);
            let sources = examined.good.iter().take(self.config.k);
            let reads = sources.map(|(index, slot)| {
                let (layout, range) = (&layout, range.clone());
                async move {
                    let read = self.read_cell(*slot, layout, *index, range);
                    Ok::<_, Error>((*index, self.within(SHARD_DEADLINE, read).await?))
                }
            });
            let cells = join_all(reads).await.into_iter().collect::<Result<Vec<_>>>()?;
            let rebuilt = self.rebuild_cells(cells, missing.to_vec(), range.end - range.start).await?;
            bodies.iter_mut().zip(rebuilt).for_each(|(body, (_, cell))| body.push(cell));
        }
        Ok(bodies)
    }

    /// Drives without a good shard of this put, in order of placement.
    async fn drives_for(&self, examined: &Examined, stripe: &Stripe) -> Vec<u16> {
        let targets = self.targets(examined.identity.name.blob, stripe.shard_len()).await;
        let ranked = targets.homes.into_iter().flatten().chain(targets.spares);
        ranked.filter(|slot| !examined.good.values().any(|held| held == slot)).collect()
    }

    async fn write_and_read_back(
        &self,
        identity: ShardIdentity,
        body: Vec<Bytes>,
        drives: &mut Vec<u16>,
    ) -> Result<u16> {
        let mut last = Error::new(ErrorKind::Unavailable, "heal shard").context("no drive is left for it");
        while !drives.is_empty() {
            let slot = self.slot(drives.remove(0));
            let written = async {
                let drive = slot.reach_for_write()?;
                self.within(SHARD_DEADLINE, drive.put(identity, body.clone())).await?;
                self.within(SHARD_DEADLINE, drive.verify(identity.name)).await
            };
            match written.await {
                Ok(_) => return Ok(slot.number),
                Err(e) => {
                    slot.failed(self.now(), &e);
                    last = e;
                }
            }
        }
        Err(last.entity(identity.name))
    }

    /// Broken shards that were not overwritten, and puts that lost against the current one. Another put is only known
    /// to have lost when every drive was asked.
    async fn remove_leftovers(&self, survey: &Survey, examined: &Examined, outcome: &mut Outcome) {
        let current = examined.identity.name.generation;
        let others = survey.shards.iter().filter(|(_, name)| name.generation != current);
        let lost = others.filter(|(_, name)| name.generation < current || survey.unreachable.is_empty());
        for (slot, name) in lost.chain(&examined.surplus) {
            match self.delete_shard(*slot, *name).await {
                Ok(()) => outcome.removed += 1,
                Err(error) => tracing::debug!(shard = %name, %error, "a leftover shard stays until the next heal"),
            }
        }
    }

    pub(crate) async fn scrub(&self, id: BlobId) -> Result<BlobDescription> {
        let changes = self.changes.load(Ordering::Acquire);
        let description = self.describe(id).await?;
        let bad = description.shards.iter().filter(|s| matches!(s.state, ShardState::Missing | ShardState::Corrupt));
        let generation = self.locate(id).await?.identity.name.generation;
        let records: Vec<Record> =
            bad.map(|shard| Record::Missing { blob: id, generation, index: shard.index as u8 }).collect();
        // A blob changed meanwhile was not looked at as a whole.
        if !records.is_empty() && self.changes.load(Ordering::Acquire) == changes {
            self.record(records).await?;
        }
        Ok(description)
    }
}
