//! Mending one blob: what is missing or broken is rebuilt, what lies beside another shard on one drive moves to a drive
//! of its own, what is left over is removed.
//!
//! A shard is moved by a copy that is read back before the old one goes, so a heal cut short leaves one shard twice at
//! worst, and the next heal removes one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, join_all, select};
use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_shard::{Generation, ShardIdentity, ShardName, Stripe};

use crate::distribution::LateWrite;
use crate::heal_log::Record;
use crate::layout::{Layout, Survey};
use crate::plan::Standing;
use crate::pool::Inner;
use crate::{BlobDescription, ShardState};

/// Reading or writing one shard takes a second or two on a healthy drive; a heal waits, but not for ever.
const SHARD_DEADLINE: Duration = Duration::from_secs(120);

/// What was done to one blob.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) rebuilt: u64,
    pub(crate) moved: u64,
    pub(crate) removed: u64,
}

/// The verified state of one put.
struct Examined {
    identity: ShardIdentity,
    /// Good shards by index.
    good: BTreeMap<usize, u16>,
    /// Shards that do not verify, and second copies: they go once the blob is whole.
    surplus: Vec<(u16, ShardName)>,
    /// Where shards lay that have moved.
    left: Vec<(u16, ShardName)>,
}

impl Examined {
    /// The good shards by index, each on one drive; of several copies the one counts whose drive holds fewest others.
    fn new(identity: ShardIdentity, verified: &[(u16, ShardName)], mut surplus: Vec<(u16, ShardName)>) -> Self {
        let mut copies: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
        verified.iter().for_each(|(slot, name)| copies.entry(usize::from(name.index)).or_default().push(*slot));
        let mut good = BTreeMap::new();
        let mut held: BTreeMap<u16, usize> = BTreeMap::new();
        let mut by_choice: Vec<(usize, Vec<u16>)> = copies.into_iter().collect();
        by_choice.sort_by_key(|(_, slots)| slots.len());
        for (index, slots) in by_choice {
            let load = |slot: &u16| held.get(slot).copied().unwrap_or_default();
            let Some(best) = slots.iter().copied().min_by_key(load) else { continue };
            *held.entry(best).or_default() += 1;
            good.insert(index, best);
        }
        let is_surplus = |(slot, name): &&(u16, ShardName)| good.get(&usize::from(name.index)) != Some(slot);
        surplus.extend(verified.iter().filter(is_surplus));
        Self { identity, good, surplus, left: Vec::new() }
    }

    fn name(&self, index: usize) -> ShardName {
        ShardName { index: index as u8, ..self.identity.name }
    }

    /// Good shards on a drive that holds one of a lower index.
    fn displaced(&self) -> Vec<(usize, u16)> {
        let beside = |(index, slot): &(&usize, &u16)| self.good.range(..**index).any(|(_, other)| other == *slot);
        self.good.iter().filter(beside).map(|(index, slot)| (*index, *slot)).collect()
    }

    fn layout(&self, config: &crate::PoolConfig, stripe: Stripe) -> Layout {
        let mut slots = vec![None; config.shards()];
        self.good.iter().for_each(|(index, slot)| slots[*index] = Some(*slot));
        Layout { identity: self.identity, stripe, slots, unreachable: Vec::new(), topology: 0, until: None }
    }
}

impl Inner {
    /// Makes one blob whole.
    ///
    /// # Errors
    /// Where it is not afterwards: too few good shards, or no drive of its own for one.
    pub(crate) async fn mend(self: &Arc<Self>, id: BlobId, outcome: &mut Outcome) -> Result<()> {
        // The room comes before the lock, as in a put: the other order could wait for itself.
        let shard_len = self.locate(id).await.map_or(0, |layout| layout.stripe.shard_len());
        let _room = self.write_room.take(shard_len * self.config.m as u64 + self.row_bytes()).await?;
        let _guard = self.lock(id).await;
        let survey = self.purge_deleted(id, outcome).await?;
        let Some(generation) = self.current(id, &survey) else {
            // Nothing of it is left, or what is lies on drives that are away.
            return if survey.unreachable.is_empty() { self.settle(id).await } else { Ok(()) };
        };
        let mut examined = self.examine(id, generation, &survey).await?;
        self.fill(&mut examined, outcome).await?;
        let spread = self.spread(&mut examined, outcome).await;
        self.remove_leftovers(&survey, &examined, outcome).await;
        self.forget(id);
        if let Err(e) = spread {
            let owed = |(index, _): (usize, u16)| Record::Displaced { blob: id, generation, index: index as u8 };
            self.record(examined.displaced().into_iter().map(owed).collect()).await?;
            return Err(e);
        }
        self.settle(id).await
    }

    /// As [`Self::mend`]; a blob that does not become whole now goes on the heal list.
    pub(crate) async fn make_whole(self: &Arc<Self>, id: BlobId) -> Result<()> {
        let mended = self.mend(id, &mut Outcome::default()).await;
        if mended.is_err() {
            self.scrub(id).await?;
        }
        mended
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
        if self.heal_log.debt_of(id).is_none() {
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
        let (mut verified, mut surplus) = (Vec::new(), Vec::new());
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
                    if same { verified.push((slot, name)) } else { surplus.push((slot, name)) }
                }
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => surplus.push((slot, name)),
                Err(_) => {}
            }
        }
        let examined = identity.map(|identity| Examined::new(identity, &verified, surplus));
        match examined {
            Some(examined) if examined.good.len() >= self.config.k => Ok(examined),
            other => Err(self.beyond_repair(id, &other.map(|examined| examined.good).unwrap_or_default())),
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
    async fn fill(self: &Arc<Self>, examined: &mut Examined, outcome: &mut Outcome) -> Result<()> {
        let missing: Vec<usize> =
            (0..self.config.shards()).filter(|index| !examined.good.contains_key(index)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let stripe = examined.identity.stripe()?;
        let bodies = self.rebuild_bodies(examined, &stripe, &missing).await?;
        let mut drives = self.drives_for(examined, &stripe).await;
        for (index, body) in missing.into_iter().zip(bodies) {
            let name = examined.name(index);
            let identity = ShardIdentity { name, ..examined.identity };
            // A broken shard is replaced where it lies, if its drive takes it.
            let own = examined.surplus.iter().find(|(_, held)| *held == name).map(|(slot, _)| *slot);
            if let Some(at) = own.and_then(|own| drives.iter().position(|slot| *slot == own)) {
                let own = drives.remove(at);
                drives.insert(0, own);
            }
            let slot = match (self.write_and_read_back(identity, body.clone(), &mut drives).await, own) {
                (Ok(slot), _) => slot,
                // Also beside another of its blob, where it was and nothing else is left.
                (Err(_), Some(own)) if examined.good.values().any(|slot| *slot == own) => {
                    self.write_and_read_back(identity, body, &mut vec![own]).await?
                }
                (Err(e), _) => return Err(e),
            };
            // What was overwritten is no leftover.
            examined.surplus.retain(|held| *held != (slot, name));
            examined.good.insert(index, slot);
            outcome.rebuilt += 1;
        }
        Ok(())
    }

    /// Moves shards that lie beside another of this put to drives that hold none.
    ///
    /// # Errors
    /// Where one stays; nothing is lost then.
    async fn spread(self: &Arc<Self>, examined: &mut Examined, outcome: &mut Outcome) -> Result<()> {
        let displaced = examined.displaced();
        if displaced.is_empty() {
            return Ok(());
        }
        let stripe = examined.identity.stripe()?;
        let mut drives = self.drives_for(examined, &stripe).await;
        for (index, from) in displaced {
            let name = examined.name(index);
            let identity = ShardIdentity { name, ..examined.identity };
            let body =
                if drives.is_empty() { Vec::new() } else { self.read_body(examined, &stripe, index, from).await? };
            let moved = self.write_and_read_back(identity, body, &mut drives).await;
            let to = moved.map_err(|e| {
                let why = format!("shard {index} lies beside another on {}", self.places(&[from]));
                Error::new(e.kind(), "heal blob").entity(name.blob).context(why).source(e)
            })?;
            // A copy of it may have been there already, from a heal that was cut short.
            examined.surplus.retain(|held| *held != (to, name));
            examined.good.insert(index, to);
            examined.left.push((from, name));
            outcome.moved += 1;
        }
        Ok(())
    }

    /// One good shard, cell by cell.
    async fn read_body(&self, examined: &Examined, stripe: &Stripe, index: usize, slot: u16) -> Result<Vec<Bytes>> {
        let layout = examined.layout(&self.config, *stripe);
        let mut body = Vec::new();
        for row in 0..stripe.rows() {
            let read = self.read_cell(slot, &layout, index, stripe.cell_in_shard(row));
            body.push(self.within(SHARD_DEADLINE, read).await?);
        }
        Ok(body)
    }

    /// The bodies of the missing shards, computed row by row from k good ones.
    async fn rebuild_bodies(&self, examined: &Examined, stripe: &Stripe, missing: &[usize]) -> Result<Vec<Vec<Bytes>>> {
        let layout = examined.layout(&self.config, *stripe);
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

    /// Drives without a good shard of this put, in order of placement, those in doubt behind the others.
    async fn drives_for(&self, examined: &Examined, stripe: &Stripe) -> Vec<u16> {
        let mut offers = self.offers(examined.identity.name.blob, stripe.shard_len()).await;
        offers.retain(|offer| {
            offer.standing != Standing::Behind && !examined.good.values().any(|held| *held == offer.slot)
        });
        offers.sort_by_key(|offer| offer.standing);
        offers.into_iter().map(|offer| offer.slot).collect()
    }

    async fn write_and_read_back(
        self: &Arc<Self>,
        identity: ShardIdentity,
        body: Vec<Bytes>,
        drives: &mut Vec<u16>,
    ) -> Result<u16> {
        let mut last = Error::new(ErrorKind::Unavailable, "heal shard").context("no drive is left for it");
        while !drives.is_empty() {
            let slot = self.slot(drives.remove(0));
            let written = async {
                self.put_in_time(slot.number, identity, body.clone()).await?;
                self.within(SHARD_DEADLINE, slot.reach()?.verify(identity.name)).await
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

    /// Writes one shard, and gives up on a drive that takes too long. What lands after that, or after the heal has
    /// gone, is removed: the blob may have been deleted meanwhile.
    async fn put_in_time(self: &Arc<Self>, slot: u16, identity: ShardIdentity, body: Vec<Bytes>) -> Result<()> {
        let drive = self.slot(slot).reach_for_write()?;
        let (answer, answered) = oneshot::channel();
        let pool = Arc::clone(self);
        self.background.spawn(&self.env, "pool.heal.shard", async move {
            let deadline = pool.env.clock.sleep(SHARD_DEADLINE);
            let unwanted = match select(drive.put(identity, body), deadline).await {
                Either::Left((done, _)) => {
                    let landed = done.is_ok();
                    answer.send(done).is_err() && landed
                }
                Either::Right((_, late)) => {
                    let _late = LateWrite::new(Arc::clone(&pool), slot);
                    let why = Error::new(ErrorKind::TimedOut, "heal shard").context("the drive does not answer");
                    drop(answer.send(Err(why)));
                    late.await.is_ok()
                }
            };
            if unwanted {
                pool.remove_unwanted(slot, identity.name).await;
            }
        });
        answered.await.map_err(|e| Error::new(ErrorKind::ShuttingDown, "heal shard").source(e))?
    }

    async fn remove_unwanted(&self, slot: u16, name: ShardName) {
        let _guard = self.lock(name.blob).await;
        if let Err(error) = self.delete_shard(slot, name).await {
            tracing::debug!(shard = %name, %error, "a late shard stays until the next heal");
        }
        self.forget(name.blob);
    }

    /// Broken shards that were not overwritten, what has moved, and puts that lost against the current one. Another put
    /// is only known to have lost when every drive was asked.
    async fn remove_leftovers(&self, survey: &Survey, examined: &Examined, outcome: &mut Outcome) {
        let current = examined.identity.name.generation;
        let others = survey.shards.iter().filter(|(_, name)| name.generation != current);
        let lost = others.filter(|(_, name)| name.generation < current || survey.unreachable.is_empty());
        for (slot, name) in lost.chain(&examined.surplus) {
            outcome.removed += u64::from(self.remove_leftover(*slot, *name).await);
        }
        for (slot, name) in &examined.left {
            self.remove_leftover(*slot, *name).await;
        }
    }

    /// Whether it is gone.
    async fn remove_leftover(&self, slot: u16, name: ShardName) -> bool {
        let removed = self.delete_shard(slot, name).await;
        if let Err(error) = &removed {
            tracing::debug!(shard = %name, %error, "a leftover shard stays until the next heal");
        }
        removed.is_ok()
    }

    pub(crate) async fn scrub(&self, id: BlobId) -> Result<BlobDescription> {
        let changes = self.changes.load(Ordering::Acquire);
        let description = self.describe(id).await?;
        let bad = description.shards.iter().filter(|s| matches!(s.state, ShardState::Missing | ShardState::Corrupt));
        let generation = self.locate(id).await?.identity.name.generation;
        let mut records: Vec<Record> =
            bad.map(|shard| Record::Missing { blob: id, generation, index: shard.index as u8 }).collect();
        let displaced = description.displaced().into_iter();
        records.extend(displaced.map(|index| Record::Displaced { blob: id, generation, index: index as u8 }));
        // A blob changed meanwhile was not looked at as a whole.
        if !records.is_empty() && self.changes.load(Ordering::Acquire) == changes {
            self.record(records).await?;
        }
        Ok(description)
    }
}
