//! Drives that fail while a history runs.
//!
//! One or two drives are bad at a time, and stay the only ones until everything that they missed is made good. A blob put
//! before has all its shards and bears the loss of both; one put meanwhile has a shard on each of the others at least, or
//! was put on them alone: so no answer of the filesystem may differ.

use std::path::{Path, PathBuf};

use objstore_env::Rng;
use objstore_env::sim::{Effect, Fault, Ops, SimDisk, When};

use crate::store::{DRIVES, drive_path};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// The drives that are bad together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadDrives {
    first: usize,
    count: usize,
}

impl BadDrives {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        Self { first: rng.below(DRIVES as u64) as usize, count: 1 + rng.below(2) as usize }
    }

    fn paths(self) -> impl Iterator<Item = PathBuf> {
        (self.first..self.first + self.count).map(|drive| drive_path(drive % DRIVES))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveFault {
    Gone,
    ReadOnly,
    Full,
    FailsReads,
    FailsWrites,
    FailsSyncs,
    /// One call in five fails, whatever it is.
    Flaky,
    /// Reads have a wrong bit.
    Lies,
    /// Every call takes three seconds.
    Slow,
}

impl DriveFault {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        const ALL: [DriveFault; 9] = [
            DriveFault::Gone,
            DriveFault::ReadOnly,
            DriveFault::Full,
            DriveFault::FailsReads,
            DriveFault::FailsWrites,
            DriveFault::FailsSyncs,
            DriveFault::Flaky,
            DriveFault::Lies,
            DriveFault::Slow,
        ];
        ALL[rng.below(ALL.len() as u64) as usize]
    }

    fn fault(self, drive: &Path) -> Option<Fault> {
        let (ops, when, effect) = match self {
            Self::Gone => return None,
            Self::ReadOnly => return Some(Fault::read_only(drive)),
            Self::Full => (Ops::WRITE | Ops::RESIZE | Ops::CREATE, When::Always, Effect::Errno(ENOSPC)),
            Self::FailsReads => (Ops::READ, When::Always, Effect::Errno(EIO)),
            Self::FailsWrites => (Ops::WRITE, When::Always, Effect::Partial(EIO)),
            Self::FailsSyncs => (Ops::SYNC | Ops::SYNC_DIR, When::Always, Effect::Errno(EIO)),
            Self::Flaky => (Ops::ALL, When::PerMillion(200_000), Effect::Errno(EIO)),
            Self::Lies => (Ops::READ, When::Always, Effect::FlipBit),
            Self::Slow => (Ops::ALL, When::Always, Effect::Delay(std::time::Duration::from_secs(3))),
        };
        Some(Fault::new(drive, ops, when, effect))
    }
}

/// Makes `drives` bad and every other one good.
pub(crate) fn break_drives(disk: &SimDisk, drives: BadDrives, fault: DriveFault) {
    disk.clear_faults();
    for drive in drives.paths() {
        match fault.fault(&drive) {
            Some(fault) => drop(disk.arm(fault)),
            None => disk.vanish(drive),
        }
    }
}
