//! What went through the doors: a generator or a wording that stopped doing what matters would pass everything.

use std::collections::BTreeMap;
use std::ops::AddAssign;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that went straight.
    pub straight: u64,
    /// Operations that went through the NFS door.
    pub nfs: u64,
    /// Calls of the NFS door by procedure.
    pub procedures: BTreeMap<String, u64>,
    /// Handles used that were given out before the last start.
    pub old_handles: u64,
    /// Calls that were sent a second time.
    pub repeats: u64,
    /// Handles asked for that lead nowhere any more.
    pub dead_handles: u64,
    /// Files read or written by their owner against their mode, as the protocol must allow.
    pub overrides: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.straight += other.straight;
        self.nfs += other.nfs;
        for (procedure, count) in other.procedures {
            *self.procedures.entry(procedure).or_default() += count;
        }
        self.old_handles += other.old_handles;
        self.repeats += other.repeats;
        self.dead_handles += other.dead_handles;
        self.overrides += other.overrides;
    }
}
