//! The shards of one put on their way to drives: who takes which, what has become durable, what is late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use objstore_shard::{ShardIdentity, ShardName};
use parking_lot::Mutex;

use crate::PoolConfig;
use crate::heal_log::Record;
use crate::plan::Plan;
use crate::pool::Inner;

/// How long a put that bears a loss waits for the last shards before it writes them on the heal list: a healthy drive
/// is a little late, and the list costs a sync.
const GRACE: Duration = Duration::from_millis(200);
/// A drive that has not finished a shard by then is not counted on.
const SHARD_DEADLINE: Duration = Duration::from_secs(30);

/// Marks a drive as behind with a write for as long as it lives.
pub(crate) struct LateWrite {
    pool: Arc<Inner>,
    slot: u16,
}

impl LateWrite {
    pub(crate) fn new(pool: Arc<Inner>, slot: u16) -> Self {
        pool.slot(slot).late_writes.fetch_add(1, Ordering::AcqRel);
        Self { pool, slot }
    }
}

impl Drop for LateWrite {
    fn drop(&mut self) {
        self.pool.slot(self.slot).late_writes.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) struct Written {
    pub(crate) index: usize,
    pub(crate) result: Result<u16>,
}

type Writes = FuturesUnordered<BoxFuture<'static, Written>>;

/// Which drive has which shard, while they are being written.
struct Places {
    /// Per index the drive that is being written to.
    current: Vec<Option<u16>>,
    spares: VecDeque<u16>,
    /// Drives that refused a shard of this put.
    refused: Vec<u16>,
}

impl Places {
    /// Takes note that `slot` failed; the next drive for its shard.
    fn refuse(&mut self, slot: u16) -> Option<u16> {
        self.refused.push(slot);
        self.spares.retain(|spare| *spare != slot);
        self.spares.pop_front()
    }
}

/// A put with its shards under way.
pub(crate) struct Distribution {
    pub(crate) identity: ShardIdentity,
    /// Per index the drive on which it is durable.
    done: Vec<Option<u16>>,
    /// Per index whether it is still being written.
    open: Vec<bool>,
    pub(crate) errors: Vec<Error>,
    pub(crate) writes: Writes,
    places: Arc<Mutex<Places>>,
}

impl Inner {
    /// Begins to write every shard that has a drive.
    pub(crate) fn start(
        self: &Arc<Self>,
        identity: ShardIdentity,
        bodies: Vec<Vec<Bytes>>,
        plan: Plan,
    ) -> Distribution {
        let open = plan.homes.iter().map(Option::is_some).collect();
        let homes = plan.homes.clone();
        let places = Places { current: plan.homes, spares: plan.spares, refused: Vec::new() };
        let places = Arc::new(Mutex::new(places));
        let writes = Writes::new();
        let mut errors = Vec::new();
        for (index, (body, home)) in bodies.into_iter().zip(homes).enumerate() {
            let Some(home) = home else {
                errors.push(Error::new(ErrorKind::NoSpace, "put shard").context("no drive has room for it"));
                continue;
            };
            let (pool, places) = (Arc::clone(self), Arc::clone(&places));
            let mut identity = identity;
            identity.name.index = index as u8;
            writes.push(Box::pin(async move {
                Written { index, result: pool.put_shard(identity, body, home, &places).await }
            }));
        }
        Distribution { identity, done: vec![None; self.config.shards()], open, errors, writes, places }
    }

    /// Writes one shard to its home, or to the next spare that takes it.
    async fn put_shard(
        &self,
        identity: ShardIdentity,
        body: Vec<Bytes>,
        home: u16,
        places: &Mutex<Places>,
    ) -> Result<u16> {
        let mut target = home;
        loop {
            let slot = self.slot(target);
            places.lock().current[usize::from(identity.name.index)] = Some(target);
            let put = async { slot.reach_for_write()?.put(identity, body.clone()).await };
            let error = match put.await {
                Ok(()) => return Ok(target),
                Err(e) => e,
            };
            slot.failed(self.now(), &error);
            let spare = places.lock().refuse(target);
            tracing::warn!(shard = %identity.name, drive = %slot.path.display(), %error, ?spare, "cannot write shard");
            match spare {
                Some(next) => target = next,
                None => return Err(error.entity(slot.path.display())),
            }
        }
    }

    /// Waits until the shards bear a loss and the others are done or late.
    pub(crate) async fn wait_for_quorum(&self, distribution: &mut Distribution) {
        let mut deadline = self.env.clock.sleep(SHARD_DEADLINE);
        let mut in_grace = false;
        while !distribution.writes.is_empty() {
            if distribution.is_enough(&self.config) && !in_grace {
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

    /// Counts the writes that outlive their put on their drives, which take no other shard meanwhile.
    pub(crate) fn mark_late(self: &Arc<Self>, distribution: &Distribution) -> Vec<LateWrite> {
        distribution.late_drives().into_iter().map(|slot| LateWrite::new(Arc::clone(self), slot)).collect()
    }
}

impl Distribution {
    pub(crate) fn take(&mut self, written: Written) {
        self.open[written.index] = false;
        match written.result {
            Ok(slot) => self.done[written.index] = Some(slot),
            Err(e) => self.errors.push(e),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.done.iter().flatten().count()
    }

    /// The most shards on one drive.
    fn most_on_one(&self) -> usize {
        let mut held: BTreeMap<u16, usize> = BTreeMap::new();
        self.done.iter().flatten().for_each(|slot| *held.entry(*slot).or_default() += 1);
        held.into_values().max().unwrap_or_default()
    }

    pub(crate) fn is_enough(&self, config: &PoolConfig) -> bool {
        config.bears_a_loss(self.count(), self.most_on_one())
    }

    /// The drives of the shards that are still being written, one for each.
    fn late_drives(&self) -> Vec<u16> {
        let places = self.places.lock();
        self.open.iter().zip(&places.current).filter(|(open, _)| **open).filter_map(|(_, slot)| *slot).collect()
    }

    /// Drives that another try is not to count on: they refused a shard, or have not finished one.
    pub(crate) fn failed_drives(&self) -> Vec<u16> {
        let mut failed = self.late_drives();
        failed.extend(&self.places.lock().refused);
        failed
    }

    /// What the heal list has to hold when the put returns now.
    pub(crate) fn debts(&self) -> Vec<Record> {
        let ShardName { blob, generation, .. } = self.identity.name;
        let debt = |(index, slot): (usize, &Option<u16>)| {
            let index_no = index as u8;
            match slot {
                None => Some(Record::Missing { blob, generation, index: index_no }),
                Some(_) if self.done[..index].contains(slot) => {
                    Some(Record::Displaced { blob, generation, index: index_no })
                }
                Some(_) => None,
            }
        };
        self.done.iter().enumerate().filter_map(debt).collect()
    }

    pub(crate) fn landed(&self) -> Vec<(u16, usize)> {
        self.done.iter().enumerate().filter_map(|(index, slot)| slot.map(|slot| (slot, index))).collect()
    }
}
