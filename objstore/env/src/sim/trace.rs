//! A recorded run of a disk: every change in order, so that the disk of any moment, and what a power cut at that
//! moment leaves, can be made again.

use std::io;

use super::disk::SimDisk;
use super::state::{Change, State};
use super::survival::Survival;

/// What happened since recording began.
#[derive(Clone)]
pub struct Trace {
    pub(super) base: State,
    pub(super) changes: Vec<Change>,
}

impl Trace {
    /// The number of changes; a moment is the number of changes before it, `0..=len`.
    pub const fn len(&self) -> usize {
        self.changes.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The marks set with [`SimDisk::mark`], each with the first moment at which it was set.
    pub fn marks(&self) -> impl Iterator<Item = (usize, u64)> {
        self.changes.iter().enumerate().filter_map(|(index, change)| match change {
            Change::Mark(mark) => Some((index + 1, *mark)),
            _ => None,
        })
    }

    /// The moments right before and right after each sync of a file or directory: where what is durable changes.
    pub fn syncs(&self) -> impl Iterator<Item = usize> {
        self.changes
            .iter()
            .enumerate()
            .filter(|(_, change)| matches!(change, Change::Sync { .. } | Change::SyncDir { .. }))
            .flat_map(|(index, _)| [index, index + 1])
    }

    /// A replay that stands at moment 0.
    pub fn replay(&self) -> Replay<'_> {
        Replay { trace: self, state: self.base.clone(), moment: 0 }
    }
}

/// A trace on its way from one moment to the next.
pub struct Replay<'a> {
    trace: &'a Trace,
    state: State,
    moment: usize,
}

impl Replay<'_> {
    /// Goes on to `moment`, which is not before where the replay stands.
    ///
    /// # Errors
    /// The trace does not fit together: a defect of the simulation.
    pub fn advance(&mut self, moment: usize) -> io::Result<()> {
        assert!(self.moment <= moment && moment <= self.trace.len(), "{} -> {moment}", self.moment);
        for change in &self.trace.changes[self.moment..moment] {
            self.state.apply(change)?;
        }
        self.moment = moment;
        Ok(())
    }

    /// A disk as a crash at this moment leaves it, powered on again.
    pub fn image(&self, survival: Survival, seed: u64) -> SimDisk {
        SimDisk::with_state(self.state.crash(survival, seed), seed)
    }
}
