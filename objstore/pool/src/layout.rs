//! Finding a blob: which put of it counts, and which drive holds which of its shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_shard::{Generation, ShardIdentity, ShardName, Stripe};

use crate::PoolConfig;
use crate::ask::{ASK_DEADLINE, Patience};
use crate::pool::Inner;

/// How long a layout is used that was found while a drive did not answer.
const PARTIAL_LAYOUT_TTL: Duration = Duration::from_secs(1);

/// Where the shards of the put that counts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What every shard's header has to say, the index aside.
    pub(crate) identity: ShardIdentity,
    pub(crate) stripe: Stripe,
    /// Slot per index.
    pub(crate) slots: Vec<Option<u16>>,
    /// Drives that could not be asked: they may hold shards that have no slot here.
    pub(crate) unreachable: Vec<u16>,
    /// The pool's count of mounts when this was found out.
    pub(crate) topology: u64,
    /// Until when this holds, where a mounted drive gave no answer.
    pub(crate) until: Option<Duration>,
}

impl Layout {
    pub(crate) const fn name(&self, index: usize) -> ShardName {
        let mut name = self.identity.name;
        name.index = index as u8;
        name
    }
}

/// What all drives say of one blob.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) shards: Vec<(u16, ShardName)>,
    pub(crate) unreachable: Vec<u16>,
}

impl Survey {
    /// The put that readers see: the newest that may have been acknowledged. One is known not to have been when its
    /// shards are too few for that even if every drive that cannot be asked held as many as it may: one, or m of the
    /// put that is on the heal list (`owed`). Such a put serves only where there is no other. An older put never serves
    /// in place of one that may have been acknowledged.
    pub(crate) fn current(&self, config: &PoolConfig, owed: Option<Generation>) -> Option<Generation> {
        let mut generations: Vec<Generation> = self.shards.iter().map(|(_, name)| name.generation).collect();
        generations.sort_unstable_by(|a, b| b.cmp(a));
        generations.dedup();
        let per_drive = |generation: Generation| if owed == Some(generation) { config.m.max(1) } else { 1 };
        let acknowledged = |generation: &Generation| self.may_bear_a_loss(config, *generation, per_drive(*generation));
        let readable = |generation: &Generation| self.held(*generation) >= config.k;
        let mut by_merit =
            generations.iter().filter(|g| acknowledged(g)).chain(generations.iter().filter(|g| readable(g)));
        by_merit.next().or(generations.first()).copied()
    }

    /// Whether the put would bear the loss of a drive if those that cannot be asked held up to `per_drive` shards each.
    fn may_bear_a_loss(&self, config: &PoolConfig, generation: Generation, per_drive: usize) -> bool {
        let (held, most) = (self.held(generation), self.most_on_one(generation));
        let with_hidden = |each: usize| {
            let all = (held + each * self.unreachable.len()).min(config.shards());
            config.bears_a_loss(all, if all > held { most.max(each) } else { most })
        };
        (0..=per_drive).any(with_hidden)
    }

    fn held(&self, generation: Generation) -> usize {
        self.indices(generation).count_ones() as usize
    }

    /// The most shards of the put on one drive.
    fn most_on_one(&self, generation: Generation) -> usize {
        let mut held: BTreeMap<u16, usize> = BTreeMap::new();
        self.of(generation).for_each(|(slot, _)| *held.entry(*slot).or_default() += 1);
        held.into_values().max().unwrap_or_default()
    }

    /// Bit mask of the indices of `generation` that exist.
    pub(crate) fn indices(&self, generation: Generation) -> u32 {
        self.of(generation).fold(0, |mask, (_, name)| mask | 1 << (name.index & 31))
    }

    pub(crate) fn of(&self, generation: Generation) -> impl Iterator<Item = &(u16, ShardName)> {
        self.shards.iter().filter(move |(_, name)| name.generation == generation)
    }

    pub(crate) fn newest(&self) -> Option<Generation> {
        self.shards.iter().map(|(_, name)| name.generation).max()
    }
}

impl Inner {
    /// Asks every drive for the blob's shards. Those of deleted puts are left out.
    pub(crate) async fn survey(&self, id: BlobId, patience: Patience) -> Survey {
        let mut survey = self.survey_patiently(id, patience).await;
        if let Some(upto) = self.heal_log.deleted_upto(id) {
            survey.shards.retain(|(_, name)| name.generation > upto);
        }
        survey
    }

    pub(crate) async fn survey_with_deleted(&self, id: BlobId) -> Survey {
        self.survey_patiently(id, Patience::UpToParity).await
    }

    async fn survey_patiently(&self, id: BlobId, patience: Patience) -> Survey {
        let answers = self.ask_all_with(patience, |drive| Box::pin(async move { drive.find(id).await })).await;
        let mut survey = Survey::default();
        for (slot, answer) in self.slots.iter().zip(answers) {
            match answer {
                Ok(names) => survey.shards.extend(names.into_iter().map(|name| (slot.number, name))),
                Err(_) => survey.unreachable.push(slot.number),
            }
        }
        survey
    }

    /// The put of `id` that readers see.
    pub(crate) fn current(&self, id: BlobId, survey: &Survey) -> Option<Generation> {
        survey.current(&self.config, self.heal_log.debt_of(id).map(|debt| debt.generation))
    }

    /// As [`Self::survey`]; where a drive that is late may hold what a read needs, it is waited for. With one shard per
    /// drive any m drives can be left behind, with several they cannot.
    async fn survey_to_read(&self, id: BlobId) -> Survey {
        let survey = self.survey(id, Patience::UpToParity).await;
        let enough = self.current(id, &survey).is_some_and(|generation| survey.held(generation) >= self.config.k);
        let has_late = survey.unreachable.iter().any(|&slot| self.slot(slot).drive().is_some());
        let may_exist = !survey.shards.is_empty() || self.heal_log.debt_of(id).is_some();
        if enough || !has_late || !may_exist {
            return survey;
        }
        self.survey(id, Patience::ForEveryone).await
    }

    /// The layout of `id`, from memory where nothing was mounted or changed since.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` where more than m drives cannot be asked, or all that hold it; `Damaged` where no header can be read.
    pub(crate) async fn locate(&self, id: BlobId) -> Result<Arc<Layout>> {
        let topology = self.topology();
        if let Some(layout) = self.layouts.get(&id)
            && layout.topology == topology
            && layout.until.is_none_or(|until| self.now() < until)
        {
            return Ok(layout);
        }
        let changes = self.changes.load(Ordering::Acquire);
        let survey = self.survey_to_read(id).await;
        let mut layout = self.layout_of(id, &survey, topology).await?;
        // A drive that is away is part of the topology; a mounted one that did not answer may do so soon.
        if survey.unreachable.iter().any(|&slot| self.slot(slot).drive().is_some()) {
            layout.until = Some(self.now() + PARTIAL_LAYOUT_TTL);
        }
        let layout = Arc::new(layout);
        if self.changes.load(Ordering::Acquire) == changes {
            self.layouts.insert(id, Arc::clone(&layout));
        }
        Ok(layout)
    }

    pub(crate) fn forget(&self, id: BlobId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.layouts.remove(&id);
    }

    async fn layout_of(&self, id: BlobId, survey: &Survey, topology: u64) -> Result<Layout> {
        let Some(generation) = self.current(id, survey) else {
            if self.may_come_back(id, &survey.unreachable) {
                let why = format!("cannot be asked: {}", self.places(&survey.unreachable));
                return Err(Error::new(ErrorKind::Unavailable, "find blob").entity(id).context(why));
            }
            return Err(Error::new(ErrorKind::NotFound, "find blob").entity(id));
        };
        let mut slots = vec![None; self.config.shards()];
        for (slot, name) in survey.of(generation) {
            if let Some(place) = slots.get_mut(usize::from(name.index)) {
                place.get_or_insert(*slot);
            }
        }
        let identity = self.read_identity(id, generation, &slots).await?;
        let stripe = identity.stripe()?;
        let unreachable = survey.unreachable.clone();
        Ok(Layout { identity, stripe, slots, unreachable, topology, until: None })
    }

    /// Whether the drives that are `away` may hold what a read of `id` lacks, acknowledged and all. Up to m are borne, but
    /// by a put with several shards on a drive: what is missing then was never whole, or is lost.
    pub(crate) fn may_come_back(&self, id: BlobId, away: &[u16]) -> bool {
        let is_owed = self.heal_log.debt_of(id).is_some() && !away.is_empty();
        is_owed || away.len() > self.config.m
    }

    /// The identity in the first header that verifies.
    async fn read_identity(&self, id: BlobId, generation: Generation, slots: &[Option<u16>]) -> Result<ShardIdentity> {
        let now = self.now();
        let mut held: Vec<(bool, usize, u16)> = slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| slot.map(|s| (self.slot(s).is_suspect(now), index, s)))
            .collect();
        held.sort_unstable();
        let mut last = None;
        let mut asked = FuturesUnordered::new();
        let mut next = held.iter();
        // One header is enough; the next shard is asked when one fails or is late.
        loop {
            if let Some((_, index, slot)) = next.next() {
                let name = ShardName { blob: id, index: *index as u8, generation };
                asked.push(self.read_shard(*slot, name, 0..0));
            }
            match select(asked.next(), self.env.clock.sleep(self.hedge_delay())).await {
                Either::Left((Some(Ok(read)), _)) if self.is_of_this_code(read.header.identity()) => {
                    return Ok(*read.header.identity());
                }
                Either::Left((Some(Ok(_)), _)) => {
                    last = Some(Error::corrupt("read shard", "the shard has another code than the pool"));
                }
                Either::Left((Some(Err(e)), _)) => last = Some(e),
                Either::Left((None, _)) => break,
                Either::Right(_) if self.now().saturating_sub(now) > ASK_DEADLINE => break,
                Either::Right(_) => {}
            }
        }
        let drives: Vec<u16> = held.iter().map(|(_, _, slot)| *slot).collect();
        let why = format!("no header can be read on {}", self.places(&drives));
        let damaged = Error::new(ErrorKind::Damaged, "read blob").entity(id).context(why);
        Err(match last {
            Some(e) => damaged.source(e),
            None => damaged,
        })
    }

    pub(crate) const fn is_of_this_code(&self, identity: &ShardIdentity) -> bool {
        identity.k as usize == self.config.k && identity.m as usize == self.config.m
    }
}

#[cfg(test)]
mod tests {
    use objstore_shard::PoolUuid;

    use super::*;

    /// Puts of 4+2 by generation, each shard with its drive.
    fn survey(shards: &[(u64, &[(u16, u8)])], unreachable: usize) -> Survey {
        let blob = BlobId::segment(1);
        let of_put = |(generation, held): &(u64, &[(u16, u8)])| {
            let generation = Generation(*generation);
            held.iter().map(move |&(slot, index)| (slot, ShardName { blob, index, generation })).collect::<Vec<_>>()
        };
        Survey { shards: shards.iter().flat_map(of_put).collect(), unreachable: (0..unreachable as u16).collect() }
    }

    fn config() -> PoolConfig {
        let drives = (0..6).map(|slot| format!("/{slot}").into()).collect();
        PoolConfig::new(PoolUuid([1; 16]), 4, 2, drives, "/heal".into())
    }

    /// One shard per drive.
    fn spread(indices: &[u8]) -> Vec<(u16, u8)> {
        indices.iter().map(|&index| (u16::from(index), index)).collect()
    }

    #[test]
    fn the_newest_put_that_may_have_been_acknowledged_counts() {
        let current = |puts: &[(u64, &[u8])], unreachable| {
            let puts: Vec<_> = puts.iter().map(|(generation, held)| (*generation, spread(held))).collect();
            let puts: Vec<_> = puts.iter().map(|(generation, held)| (*generation, &held[..])).collect();
            survey(&puts, unreachable).current(&config(), None).map(|g| g.0)
        };
        assert_eq!(current(&[], 0), None);
        assert_eq!(current(&[(1, &[0, 1, 2, 3, 4, 5]), (2, &[0, 1, 2, 3])], 0), Some(1), "a put that was cut short");
        assert_eq!(current(&[(1, &[5]), (2, &[0, 1, 2, 3, 4])], 0), Some(2), "an old shard that came back");
        assert_eq!(current(&[(1, &[4, 5, 3, 2]), (2, &[0, 1, 2])], 2), Some(2), "acknowledged, with two drives away");
        assert_eq!(current(&[(1, &[0, 1, 2, 3]), (2, &[4, 5])], 0), Some(1), "readable before unreadable");
        assert_eq!(current(&[(1, &[0]), (2, &[4, 5])], 0), Some(2), "neither is readable");
    }

    #[test]
    fn a_put_with_two_shards_on_a_drive_needs_more_of_them_and_hides_more_of_them() {
        let old = spread(&[0, 1, 2, 3, 4, 5]);
        let current = |new: &[(u16, u8)], unreachable, owed: Option<u64>| {
            let owed = owed.map(Generation);
            survey(&[(1, &old), (2, new)], unreachable).current(&config(), owed).map(|g| g.0)
        };
        let whole = [(2, 0), (3, 1), (4, 2), (5, 3), (2, 4), (3, 5)];
        assert_eq!(current(&whole, 0, None), Some(2), "one drive lost leaves four");
        assert_eq!(current(&whole[..5], 0, None), Some(1), "five, but two of them on one drive: never acknowledged");
        let half = [(4, 2), (5, 3)];
        assert_eq!(
            current(&half, 2, Some(2)),
            Some(2),
            "four shards of an acknowledged put on two drives that are away"
        );
        assert_eq!(current(&half, 2, None), Some(1), "a put that was cut short");
    }
}
