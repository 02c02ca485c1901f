//! Writing a blob: all shards in parallel, done at the quorum, the rest on record.
//!
//! The work runs in a task of its own: a caller that goes away does not stop it half-way. Order of events, under the
//! blob's lock: shards synced on k + 1 drives; what is missing or still under way synced to the heal list; stragglers
//! registered; older puts of the id removed; lock released; caller answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use objstore_base::{BlobId, BoxFuture, Error, ErrorKind, Result};
use objstore_shard::{Drive, DriveSpace, Generation, ShardIdentity, ShardName, Stripe};
use parking_lot::Mutex;

use crate::ask::ASK_DEADLINE;
use crate::encode;
use crate::heal_log::Record;
use crate::layout::Survey;
use crate::locks::BlobGuard;
use crate::placement::{Candidate, rank};
use crate::pool::Inner;

/// How long a put that has its quorum waits for the last shards before it writes them on the heal list: a healthy
/// drive is a little late, and the list costs a sync.
const GRACE: Duration = Duration::from_millis(200);
/// A drive that has not finished a shard by then is not counted on.
const SHARD_DEADLINE: Duration = Duration::from_secs(30);
/// Room left on a drive, so that directories and the heal list do not meet a full disk: 64 MiB or a hundredth.
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a drive that are not for shards.
pub(crate) fn reserve(space: &DriveSpace) -> u64 {
    (space.total / 100).min(RESERVE_BYTES_MAX)
}

/// Drives in order of preference: the first n carry shard 0, 1, ..; the others wait as spares.
pub(crate) struct Targets {
    pub(crate) homes: Vec<Option<u16>>,
    pub(crate) spares: VecDeque<u16>,
}

/// Marks a drive as behind with a write for as long as it lives.
struct LateWrite {
    pool: Arc<Inner>,
    slot: u16,
}

impl LateWrite {
    fn new(pool: Arc<Inner>, slot: u16) -> Self {
        pool.slot(slot).late_writes.fetch_add(1, Ordering::AcqRel);
        Self { pool, slot }
    }
}

impl Drop for LateWrite {
    fn drop(&mut self) {
        self.pool.slot(self.slot).late_writes.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Written {
    index: usize,
    result: Result<u16>,
}

type Writes = FuturesUnordered<BoxFuture<'static, Written>>;

/// A put with its shards under way.
struct Distribution {
    identity: ShardIdentity,
    /// Per index the drive on which it is durable.
    done: Vec<Option<u16>>,
    errors: Vec<Error>,
    writes: Writes,
    /// Per index the drive that is being written to.
    current: Arc<Mutex<Vec<u16>>>,
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
                let debts = distribution.debts();
                let has_late = !distribution.writes.is_empty();
                let settled = self.commit(distribution.identity.name, debts, has_late, &survey).await;
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

    /// Writes the shards until a quorum is durable and the others are done or late.
    async fn distribute(self: &Arc<Self>, id: BlobId, len: u64, parts: Vec<Bytes>) -> Result<(Distribution, Survey)> {
        let survey = self.survey_with_deleted(id).await;
        let newest = survey.newest().max(self.heal_log.deleted_upto(id));
        let generation = Generation::after(newest, self.env.rng.next_u64());
        let stripe = Stripe::new(self.config.k as u8, self.config.cell_bytes, len)?;
        let identity = ShardIdentity {
            pool: self.config.uuid,
            name: ShardName { blob: id, index: 0, generation },
            k: self.config.k as u8,
            m: self.config.m as u8,
            epoch: self.config.epoch,
            blob_len: len,
            cell_bytes: self.config.cell_bytes,
        };
        let codec = Arc::clone(&self.codec);
        let bodies = self.env.blocking(move || encode::shards(&codec, &stripe, &parts)).await?;
        let targets = self.targets(id, stripe.shard_len()).await;
        let mut distribution = self.start(identity, bodies, targets);
        self.wait_for_quorum(&mut distribution).await;
        if distribution.count() >= self.config.quorum() {
            return Ok((distribution, survey));
        }
        let e = self.too_few(id, &mut distribution);
        self.withdraw(distribution).await;
        Err(e)
    }

    /// Where the shards of `id` go. Drives without room stand behind all others.
    pub(crate) async fn targets(&self, id: BlobId, shard_len: u64) -> Targets {
        let spaces = self.ask_all(|drive| Box::pin(async move { drive.space().await })).await;
        let candidates: Vec<Candidate> = self
            .slots
            .iter()
            .filter_map(|slot| slot.weight().map(|(uuid, weight)| Candidate { slot: slot.number, uuid, weight }))
            .collect();
        let has_room = |slot: &u16| match spaces.get(usize::from(*slot)) {
            Some(Ok(space)) => space.available >= shard_len.saturating_add(reserve(space)),
            // A drive that cannot say still gets its try: the write decides.
            _ => true,
        };
        let (roomy, full): (Vec<u16>, Vec<u16>) =
            rank(id, self.config.epoch, &candidates).into_iter().partition(has_room);
        let mut ranked: VecDeque<u16> = roomy.into_iter().chain(full).collect();
        let homes = (0..self.config.shards()).map(|_| ranked.pop_front()).collect();
        Targets { homes, spares: ranked }
    }

    fn start(self: &Arc<Self>, identity: ShardIdentity, bodies: Vec<Vec<Bytes>>, targets: Targets) -> Distribution {
        let spares = Arc::new(Mutex::new(targets.spares));
        let homes = targets.homes.iter().map(|home| home.unwrap_or_default());
        let current = Arc::new(Mutex::new(homes.collect::<Vec<u16>>()));
        let writes = Writes::new();
        let mut errors = Vec::new();
        for (index, (body, home)) in bodies.into_iter().zip(targets.homes).enumerate() {
            let Some(home) = home else {
                errors.push(Error::new(ErrorKind::Unavailable, "put shard").context("no drive is left for it"));
                continue;
            };
            let (pool, spares, current) = (Arc::clone(self), Arc::clone(&spares), Arc::clone(&current));
            let mut identity = identity;
            identity.name.index = index as u8;
            writes.push(Box::pin(async move {
                Written { index, result: pool.put_shard(identity, body, home, &spares, &current).await }
            }));
        }
        Distribution { identity, done: vec![None; self.config.shards()], errors, writes, current }
    }

    /// Writes one shard to its home, or to the next spare that takes it.
    async fn put_shard(
        &self,
        identity: ShardIdentity,
        body: Vec<Bytes>,
        home: u16,
        spares: &Mutex<VecDeque<u16>>,
        current: &Mutex<Vec<u16>>,
    ) -> Result<u16> {
        let mut target = home;
        loop {
            let slot = self.slot(target);
            current.lock()[usize::from(identity.name.index)] = target;
            let put = async { slot.reach_for_write()?.put(identity, body.clone()).await };
            let error = match put.await {
                Ok(()) => return Ok(target),
                Err(e) => e,
            };
            slot.failed(self.now(), &error);
            let spare = spares.lock().pop_front();
            tracing::warn!(shard = %identity.name, drive = %slot.path.display(), %error, ?spare, "cannot write shard");
            match spare {
                Some(next) => target = next,
                None => return Err(error.entity(slot.path.display())),
            }
        }
    }

    async fn wait_for_quorum(&self, distribution: &mut Distribution) {
        let mut deadline = self.env.clock.sleep(SHARD_DEADLINE);
        let mut in_grace = false;
        while !distribution.writes.is_empty() {
            if distribution.count() >= self.config.quorum() && !in_grace {
                in_grace = true;
                deadline = self.env.clock.sleep(GRACE);
            }
            match select(distribution.writes.next(), deadline).await {
                Either::Left((written, rest)) => {
                    deadline = rest;
                    written.into_iter().for_each(|written| distribution.take(written));
                }
                Either::Right(_) => return,
            }
        }
    }

    /// Makes the put count: debts on the heal list, older puts gone.
    async fn commit(&self, put: ShardName, debts: Vec<Record>, late: bool, survey: &Survey) -> Result<()> {
        let ShardName { blob, generation, .. } = put;
        if !debts.is_empty() {
            self.record(debts).await?;
        } else if !self.heal_log.missing_of(blob).is_empty() {
            self.record(vec![Record::Healed { blob }]).await?;
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

    /// Counts the writes that outlive their put on their drives, which take no other shard meanwhile.
    fn mark_late(self: &Arc<Self>, distribution: &Distribution) -> Vec<LateWrite> {
        if distribution.writes.is_empty() {
            return Vec::new();
        }
        let current = distribution.current.lock();
        let late = distribution.done.iter().zip(current.iter()).filter(|(done, _)| done.is_none());
        late.map(|(_, slot)| LateWrite::new(Arc::clone(self), *slot)).collect()
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
        let landed: Vec<(u16, usize)> = distribution.landed();
        self.remove_landed(distribution.identity.name, &landed).await;
        if distribution.writes.is_empty() {
            return;
        }
        let pool = Arc::clone(self);
        let late = self.mark_late(&distribution);
        self.background.spawn(&self.env, "pool.withdraw", async move {
            let _late = late;
            while let Some(written) = distribution.writes.next().await {
                if let Ok(slot) = written.result {
                    pool.remove_landed(distribution.identity.name, &[(slot, written.index)]).await;
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
            "{} of {} shards are stored, {} are needed",
            distribution.count(),
            self.config.shards(),
            self.config.quorum()
        );
        let error = Error::new(kind, "put blob").entity(id).context(why);
        match distribution.errors.pop() {
            Some(last) => error.source(last),
            None => error,
        }
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

impl Distribution {
    fn take(&mut self, written: Written) {
        match written.result {
            Ok(slot) => self.done[written.index] = Some(slot),
            Err(e) => self.errors.push(e),
        }
    }

    fn count(&self) -> usize {
        self.done.iter().flatten().count()
    }

    /// What the heal list has to hold when the put returns now.
    fn debts(&self) -> Vec<Record> {
        let ShardName { blob, generation, .. } = self.identity.name;
        let missing = self.done.iter().enumerate().filter(|(_, done)| done.is_none());
        missing.map(|(index, _)| Record::Missing { blob, generation, index: index as u8 }).collect()
    }

    fn landed(&self) -> Vec<(u16, usize)> {
        self.done.iter().enumerate().filter_map(|(index, slot)| slot.map(|slot| (slot, index))).collect()
    }
}
