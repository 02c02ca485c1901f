//! What the pool tells of itself: drives, debts, counters, and where one blob lies.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_shard::{DriveUuid, PoolUuid, ShardName};

use crate::ask::Patience;
use crate::layout::Survey;
use crate::pool::Inner;

/// A description waits for a shard, but not for ever.
const VERIFY_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Counters {
    reconstructed: AtomicU64,
    hedged: AtomicU64,
    corrupt: AtomicU64,
}

impl Counters {
    pub(crate) fn reconstructed(&self) {
        self.reconstructed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hedged(&self) {
        self.hedged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriveState {
    Ok,
    /// Three errors, or ten slow reads, within a minute: read from only where parity does not suffice.
    Suspect,
    /// Not mounted, or it does not answer.
    Away,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct DriveStatus {
    pub slot: u16,
    pub path: PathBuf,
    pub uuid: Option<String>,
    pub state: DriveState,
    /// Why it is away.
    pub why: Option<String>,
    pub total_bytes: u64,
    pub available_bytes: u64,
    pub errors: u64,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct PoolStatus {
    pub uuid: PoolUuid,
    pub k: usize,
    pub m: usize,
    pub epoch: u64,
    pub drives: Vec<DriveStatus>,
    /// Drives without which the pool takes no new blobs.
    pub drives_min: usize,
    /// Shards on the heal list, those of them that are there but beside another on one drive, of how many blobs, and
    /// deletions that wait for a drive.
    pub missing_shards: u64,
    pub displaced_shards: u64,
    pub missing_blobs: u64,
    pub pending_deletions: u64,
    /// Rows that were served by rebuilding; those of them because a drive was slow; shards whose bytes did not fit.
    pub reconstructed_reads: u64,
    pub hedged_reads: u64,
    pub corrupt_units: u64,
}

impl PoolStatus {
    /// How many more drives may be lost at least without losing a byte, as far as drives are known to answer. A blob on
    /// the heal list bears the loss of one drive, which may be one of those that are away.
    pub fn drives_to_spare(&self) -> usize {
        let away = self.drives.iter().filter(|drive| drive.state == DriveState::Away).count();
        let borne = if self.missing_blobs > 0 { self.m.min(1) } else { self.m };
        borne.saturating_sub(away)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    Ok,
    Missing,
    Corrupt,
    /// The drive that may hold it does not answer.
    Unreachable,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct ShardPlace {
    pub index: usize,
    pub slot: Option<u16>,
    pub path: Option<PathBuf>,
    pub state: ShardState,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct BlobDescription {
    pub blob: String,
    pub generation: String,
    pub k: usize,
    pub m: usize,
    /// Unknown where no header can be read.
    pub len: Option<u64>,
    pub shards: Vec<ShardPlace>,
}

impl BlobDescription {
    /// Every shard is good and on a drive of its own.
    pub fn is_whole(&self) -> bool {
        self.shards.iter().all(|shard| shard.state == ShardState::Ok) && self.displaced().is_empty()
    }

    /// Good shards on a drive that holds one of a lower index.
    pub fn displaced(&self) -> Vec<usize> {
        let good = || self.shards.iter().filter(|shard| shard.state == ShardState::Ok);
        let beside = |shard: &&ShardPlace| good().any(|other| other.index < shard.index && other.slot == shard.slot);
        good().filter(beside).map(|shard| shard.index).collect()
    }

    pub fn is_readable(&self) -> bool {
        self.shards.iter().filter(|shard| shard.state == ShardState::Ok).count() >= self.k
    }
}

impl Inner {
    pub(crate) async fn status(&self) -> PoolStatus {
        let spaces = self.ask_all(|drive| Box::pin(async move { drive.space().await })).await;
        let now = self.now();
        let drives = self.slots.iter().zip(spaces).map(|(slot, space)| {
            let (errors, last_error) = slot.errors();
            let state = match &space {
                Err(_) => DriveState::Away,
                Ok(_) if slot.is_suspect(now) => DriveState::Suspect,
                Ok(_) => DriveState::Ok,
            };
            DriveStatus {
                slot: slot.number,
                path: slot.path.clone(),
                uuid: slot.weight().map(|(uuid, _): (DriveUuid, u64)| uuid.to_string()),
                state,
                why: slot.why_away().or_else(|| space.as_ref().err().map(Error::to_string)),
                total_bytes: space.as_ref().map_or(0, |space| space.total),
                available_bytes: space.as_ref().map_or(0, |space| space.available),
                errors,
                last_error,
            }
        });
        let debts = self.heal_log.debts();
        let displaced: u64 = debts.iter().map(|(_, debt)| debt.displaced().len() as u64).sum();
        let missing: u64 = debts.iter().map(|(_, debt)| debt.missing().len() as u64).sum();
        PoolStatus {
            uuid: self.config.uuid,
            k: self.config.k,
            m: self.config.m,
            epoch: self.config.epoch,
            drives: drives.collect(),
            missing_shards: missing + displaced,
            drives_min: self.config.drives_min(),
            displaced_shards: displaced,
            missing_blobs: debts.len() as u64,
            pending_deletions: self.heal_log.deleted().len() as u64,
            reconstructed_reads: self.counters.reconstructed.load(Ordering::Relaxed),
            hedged_reads: self.counters.hedged.load(Ordering::Relaxed),
            corrupt_units: self.counters.corrupt.load(Ordering::Relaxed),
        }
    }

    /// Reads every shard of the blob back and says how each is.
    pub(crate) async fn describe(&self, id: BlobId) -> Result<BlobDescription> {
        let survey = self.survey(id, Patience::UpToParity).await;
        let Some(generation) = self.current(id, &survey) else {
            return Err(Error::new(ErrorKind::NotFound, "describe blob").entity(id));
        };
        let verdicts = join_all(survey.of(generation).map(|(slot, name)| self.verify_shard(*slot, *name))).await;
        let verdicts: Vec<(u16, ShardName, Result<u64>)> =
            survey.of(generation).zip(verdicts).map(|((slot, name), verdict)| (*slot, *name, verdict)).collect();
        let shards = (0..self.config.shards()).map(|index| self.shard_place(index, &verdicts, &survey)).collect();
        Ok(BlobDescription {
            blob: id.to_string(),
            generation: generation.to_string(),
            k: self.config.k,
            m: self.config.m,
            len: verdicts.iter().find_map(|(_, _, verdict)| verdict.as_ref().ok().copied()),
            shards,
        })
    }

    /// The blob's length as the shard's header has it, when all of the shard verifies.
    async fn verify_shard(&self, slot: u16, name: ShardName) -> Result<u64> {
        let slot = self.slot(slot);
        let drive = slot.reach()?;
        let header = self.within(VERIFY_DEADLINE, drive.verify(name)).await.inspect_err(|e| {
            slot.failed(self.now(), e);
            if e.kind() == ErrorKind::Corrupt {
                self.counters.corrupt();
            }
        })?;
        Ok(header.identity().blob_len)
    }

    fn shard_place(&self, index: usize, verdicts: &[(u16, ShardName, Result<u64>)], survey: &Survey) -> ShardPlace {
        let held = || verdicts.iter().filter(|(_, name, _)| usize::from(name.index) == index);
        let best = held().find(|(_, _, verdict)| verdict.is_ok()).or_else(|| held().next());
        let state = match best.map(|(_, _, verdict)| verdict) {
            Some(Ok(_)) => ShardState::Ok,
            Some(Err(e)) if e.kind() == ErrorKind::Corrupt => ShardState::Corrupt,
            Some(Err(e)) if e.kind() == ErrorKind::NotFound => ShardState::Missing,
            Some(Err(_)) => ShardState::Unreachable,
            None if survey.unreachable.is_empty() => ShardState::Missing,
            None => ShardState::Unreachable,
        };
        let slot = best.map(|(slot, _, _)| *slot);
        ShardPlace { index, slot, path: slot.map(|slot| self.slot(slot).path.clone()), state }
    }
}
