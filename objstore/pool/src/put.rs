//! Writing a blob: all shards in parallel, done when the loss of any drive would leave enough, the rest on record.
//!
//! The work runs in a task of its own: a caller that goes away does not stop it half-way. Order of events, under the
//! blob's lock: shards synced on k + 1 drives, or so many that losing any one drive leaves k; what is missing, displaced
//! or still under way synced to the heal list; stragglers registered; older puts of the id removed; lock released;
//! caller answered. Where drives fail, what was written is taken back and the put is tried again without them, as
//! another generation.

use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::stream::StreamExt;
use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_shard::{Drive, DriveSpace, Generation, ShardIdentity, ShardName, Stripe};

use crate::ask::ASK_DEADLINE;
use crate::distribution::Distribution;
use crate::encode;
use crate::heal_log::Record;
use crate::layout::Survey;
use crate::locks::BlobGuard;
use crate::placement::{Candidate, rank};
use crate::plan::{Offer, Standing, plan};
use crate::pool::Inner;

/// Room left on a drive, so that directories and the heal list do not meet a full disk: 64 MiB or a hundredth.
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a drive that are not for shards.
pub(crate) fn reserve(space: &DriveSpace) -> u64 {
    (space.total / 100).min(RESERVE_BYTES_MAX)
}

impl Inner {
    pub(crate) async fn put(self: &Arc<Self>, id: BlobId, parts: Vec<Bytes>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let pool = Arc::clone(self);
        self.background.spawn(&self.env, "pool.put", async move { pool.put_task(id, parts, answer).await });
        let gone = |e| Error::new(ErrorKind::ShuttingDown, "put blob").entity(id).source(e);
        answered.await.map_err(gone)?
    }

    async fn put_task(self: Arc<Self>, id: BlobId, parts: Vec<Bytes>, answer: oneshot::Sender<Result<()>>) {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let in_memory = len + len / self.config.k as u64 * self.config.m as u64;
        let room = match self.write_room.take(in_memory).await {
            Ok(room) => room,
            Err(e) => return drop(answer.send(Err(e))),
        };
        let guard = self.locks.lock(id).await;
        match self.distribute(id, len, parts).await {
            Ok((distribution, survey)) => {
                let (put, debts) = (distribution.identity.name, distribution.debts());
                let settled = self.commit(put, debts, !distribution.writes.is_empty(), &survey).await;
                let late = self.mark_late(&distribution);
                // From here on a late shard is bounded by its drive taking no other, not by the room: a hanging drive
                // must not use that up.
                drop(room);
                drop(guard);
                // The receiver is gone when the caller gave up; the blob is stored all the same.
                drop(answer.send(settled));
                self.finish_stragglers(distribution).await;
                drop(late);
            }
            Err(e) => {
                drop(guard);
                drop(answer.send(Err(e)));
            }
        }
    }

    /// Writes the shards until they bear the loss of a drive and the others are done or late. Each try leaves out the
    /// drives that failed the ones before, so there are at most as many as drives.
    async fn distribute(self: &Arc<Self>, id: BlobId, len: u64, parts: Vec<Bytes>) -> Result<(Distribution, Survey)> {
        let survey = self.survey_with_deleted(id).await;
        let stripe = Stripe::new(self.config.k as u8, self.config.cell_bytes, len)?;
        let codec = Arc::clone(&self.codec);
        let bodies = self.env.blocking(move || encode::shards(&codec, &stripe, &parts)).await?;
        let mut failed: Vec<u16> = Vec::new();
        let mut failure = None;
        loop {
            let mut offers = self.offers(id, stripe.shard_len()).await;
            offers.retain(|offer| !failed.contains(&offer.slot));
            let Some(plan) = plan(&self.config, &offers) else {
                return Err(failure.unwrap_or_else(|| self.too_few_drives(id, &offers)));
            };
            let mut distribution = self.start(self.identify(id, len, &survey), bodies.clone(), plan);
            self.wait_for_quorum(&mut distribution).await;
            if distribution.is_enough(&self.config) {
                return Ok((distribution, survey));
            }
            let refusals = distribution.failed_drives();
            let error = self.too_few(id, &mut distribution);
            self.withdraw(distribution).await;
            if refusals.is_empty() {
                return Err(error);
            }
            tracing::warn!(blob = %id, drives = self.places(&refusals), "put is tried again without these drives");
            failed.extend(refusals);
            failure = Some(error);
        }
    }

    /// The identity of a new put.
    fn identify(&self, blob: BlobId, blob_len: u64, survey: &Survey) -> ShardIdentity {
        let generation = Generation::after(self.newest(blob, survey), self.env.rng.next_u64());
        ShardIdentity {
            pool: self.config.uuid,
            name: ShardName { blob, index: 0, generation },
            k: self.config.k as u8,
            m: self.config.m as u8,
            epoch: self.config.epoch,
            blob_len,
            cell_bytes: self.config.cell_bytes,
        }
    }

    /// The newest put of `id` of which a shard may turn up: one that is on a drive that answers; one on the heal list,
    /// as are those with more than one shard on a drive, whose drives may all be away; one that failed or has late
    /// shards. A later put takes a higher generation, so that none of these ever serves in its place.
    pub(crate) fn newest(&self, id: BlobId, survey: &Survey) -> Option<Generation> {
        let owed = self.heal_log.debt_of(id).map(|debt| debt.generation);
        survey.newest().max(self.heal_log.deleted_upto(id)).max(owed).max(self.stragglers.newest(id))
    }

    /// The mounted drives in order of placement, with what each is good for.
    pub(crate) async fn offers(&self, id: BlobId, shard_len: u64) -> Vec<Offer> {
        let spaces = self.ask_all(|drive| Box::pin(async move { drive.space().await })).await;
        let candidates: Vec<Candidate> = self
            .slots
            .iter()
            .filter_map(|slot| slot.weight().map(|(uuid, weight)| Candidate { slot: slot.number, uuid, weight }))
            .collect();
        let now = self.now();
        let offer = |number: u16| {
            let slot = self.slot(number);
            let shards_max = match spaces.get(usize::from(number)) {
                Some(Ok(space)) => space.available.saturating_sub(reserve(space)) / shard_len.max(1),
                Some(Err(e)) if e.kind() == ErrorKind::Unavailable => return None,
                _ => 0,
            };
            let standing = match () {
                () if slot.is_behind() => Standing::Behind,
                () if slot.is_suspect(now) || shards_max == 0 => Standing::Doubtful,
                () => Standing::Ready,
            };
            Some(Offer { slot: number, standing, shards_max })
        };
        rank(id, self.config.epoch, &candidates).into_iter().filter_map(offer).collect()
    }

    /// Makes the put count: debts on the heal list, older puts gone.
    async fn commit(&self, put: ShardName, debts: Vec<Record>, late: bool, survey: &Survey) -> Result<()> {
        let ShardName { blob, generation, .. } = put;
        let mut records = Vec::new();
        // Drives that are away may hold shards of what this replaces. There may be enough of them to be read, so it
        // is not left to counting which of the puts they belong to.
        if let Some(upto) = self.newest(blob, survey)
            && !survey.unreachable.is_empty()
        {
            records.push(Record::Deleted { blob, upto });
        }
        records.extend(debts);
        if records.is_empty() && self.heal_log.debt_of(blob).is_some() {
            records.push(Record::Healed { blob });
        }
        if !records.is_empty() {
            self.record(records).await?;
        }
        self.stragglers.revoke(blob);
        if late {
            self.stragglers.register(blob, generation);
        }
        self.forget(blob);
        for (slot, name) in &survey.shards {
            if let Err(error) = self.delete_shard(*slot, *name).await {
                tracing::debug!(shard = %name, %error, "an older shard stays until the next heal");
            }
        }
        self.forget(blob);
        Ok(())
    }

    /// Waits for the writes that outlived the put and strikes them off the heal list, or removes what nobody wants.
    async fn finish_stragglers(&self, mut distribution: Distribution) {
        if distribution.writes.is_empty() {
            return;
        }
        let ShardName { blob, generation, .. } = distribution.identity.name;
        let mut landed = Vec::new();
        while let Some(written) = distribution.writes.next().await {
            if let Ok(slot) = written.result {
                landed.push((slot, written.index));
            }
            distribution.take(written);
        }
        let guard = self.locks.lock(blob).await;
        if self.stragglers.settle(blob, generation) {
            if distribution.debts().is_empty()
                && let Err(error) = self.record(vec![Record::Healed { blob }]).await
            {
                tracing::debug!(%blob, %error, "the heal list keeps a blob that is whole");
            }
        } else {
            self.remove_landed(distribution.identity.name, &landed).await;
        }
        self.forget(blob);
        drop(guard);
    }

    /// Takes back a put that did not reach its quorum. What cannot be removed is not readable and not acknowledged.
    async fn withdraw(self: &Arc<Self>, mut distribution: Distribution) {
        let ShardName { blob, generation, .. } = distribution.identity.name;
        self.stragglers.withdraw(blob, generation);
        let landed: Vec<(u16, usize)> = distribution.landed();
        let late = self.mark_late(&distribution);
        self.remove_landed(distribution.identity.name, &landed).await;
        self.forget(blob);
        if distribution.writes.is_empty() {
            return;
        }
        let pool = Arc::clone(self);
        self.background.spawn(&self.env, "pool.withdraw", async move {
            let _late = late;
            while let Some(written) = distribution.writes.next().await {
                if let Ok(slot) = written.result {
                    pool.remove_landed(distribution.identity.name, &[(slot, written.index)]).await;
                    pool.forget(blob);
                }
            }
        });
    }

    async fn remove_landed(&self, put: ShardName, landed: &[(u16, usize)]) {
        for (slot, index) in landed {
            let mut name = put;
            name.index = *index as u8;
            if let Err(error) = self.delete_shard(*slot, name).await {
                tracing::debug!(shard = %name, %error, "an unwanted shard stays until the next heal");
            }
        }
    }

    pub(crate) async fn delete_shard(&self, slot: u16, name: ShardName) -> Result<()> {
        let slot = self.slot(slot);
        let drive: Arc<dyn Drive> = slot.reach()?;
        self.within(ASK_DEADLINE, drive.delete(name)).await.inspect_err(|e| slot.failed(self.now(), e))
    }

    fn too_few(&self, id: BlobId, distribution: &mut Distribution) -> Error {
        let kinds: Vec<ErrorKind> = distribution.errors.iter().map(Error::kind).collect();
        let kind = match () {
            () if kinds.contains(&ErrorKind::NoSpace) => ErrorKind::NoSpace,
            () if !distribution.writes.is_empty() => ErrorKind::TimedOut,
            () => ErrorKind::Unavailable,
        };
        let why = format!(
            "{} of {} shards are stored; the loss of one more drive must leave {}",
            distribution.count(),
            self.config.shards(),
            self.config.k
        );
        let error = Error::new(kind, "put blob").entity(id).context(why);
        match distribution.errors.pop() {
            Some(last) => error.source(last),
            None => error,
        }
    }

    /// No shard is written where they could not be enough.
    fn too_few_drives(&self, id: BlobId, offers: &[Offer]) -> Error {
        let taking = |slot: &u16| offers.iter().any(|offer| offer.slot == *slot);
        let others: Vec<u16> = self.slots.iter().map(|slot| slot.number).filter(|slot| !taking(slot)).collect();
        let why = format!(
            "{} drives take shards, code {}+{} needs {}; not {}",
            offers.len(),
            self.config.k,
            self.config.m,
            self.config.drives_min(),
            self.places(&others)
        );
        Error::new(ErrorKind::Unavailable, "put blob").entity(id).context(why)
    }

    pub(crate) async fn record(&self, records: Vec<Record>) -> Result<()> {
        let (log, pool) = (Arc::clone(&self.heal_log), self.config.uuid);
        self.env.blocking(move || log.record(pool, &records)).await
    }

    /// For whoever changes a blob beside put: delete and heal.
    pub(crate) async fn lock(&self, id: BlobId) -> BlobGuard {
        self.locks.lock(id).await
    }
}
