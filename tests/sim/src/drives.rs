//! Drives that fail while a history runs.
//!
//! At most one drive is bad at a time. Whatever a blob lacks from when it was put, and however its shards lie, a put
//! bears the loss of one more drive, which is the one that is bad now: so no answer of the filesystem may differ.

use objstore_env::Rng;
use objstore_env::sim::{Effect, Fault, Ops, SimDisk, When};

use crate::store::{DRIVES, drive_path};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

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

    fn fault(self, drive: usize) -> Option<Fault> {
        let (ops, when, effect) = match self {
            Self::Gone => return None,
            Self::ReadOnly => return Some(Fault::read_only(drive_path(drive))),
            Self::Full => (Ops::WRITE | Ops::RESIZE | Ops::CREATE, When::Always, Effect::Errno(ENOSPC)),
            Self::FailsReads => (Ops::READ, When::Always, Effect::Errno(EIO)),
            Self::FailsWrites => (Ops::WRITE, When::Always, Effect::Partial(EIO)),
            Self::FailsSyncs => (Ops::SYNC | Ops::SYNC_DIR, When::Always, Effect::Errno(EIO)),
            Self::Flaky => (Ops::ALL, When::PerMillion(200_000), Effect::Errno(EIO)),
            Self::Lies => (Ops::READ, When::Always, Effect::FlipBit),
            Self::Slow => (Ops::ALL, When::Always, Effect::Delay(std::time::Duration::from_secs(3))),
        };
        Some(Fault::new(drive_path(drive), ops, when, effect))
    }
}

/// Makes `drive` bad and every other one good.
pub(crate) fn break_drive(disk: &SimDisk, drive: usize, fault: DriveFault) {
    disk.clear_faults();
    match fault.fault(drive % DRIVES) {
        Some(fault) => drop(disk.arm(fault)),
        None => disk.vanish(drive_path(drive % DRIVES)),
    }
}
