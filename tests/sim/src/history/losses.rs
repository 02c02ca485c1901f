//! Histories that lose more than power: the index, or the machine with its journal, again and again.
//!
//! A lost index costs nothing that a crash would have left. A lost machine leaves what was in the pool: a prefix of the
//! commits, from which the store goes on in a timeline of its own. The model knows the commits since the last start
//! only, so a machine is not lost before the pool has all that was there then. Nor is it lost while drives are bad, and
//! the next one heals the pool first: a segment that was being put has as few shards as happened to be written.

use std::cell::Cell;
use std::sync::Arc;

use objstore_env::sim::{SimRng, Survival};
use objstore_env::{Failpoints, Rng};

use super::{History, Summary};
use crate::doors::Straight;
use crate::generate::Step;
use crate::store::Loss;

/// The stream of the losses under a history's seed.
const STREAM: u64 = 102;
/// A step in so many loses something.
const LOSSES_ONE_IN: u64 = 12;
/// Changes of the disk within which a recovery is cut short.
const RECOVERY_CHANGES: u64 = 150;

impl History {
    /// As `run`, with losses between the steps, and that of the machine at the end, when everything is in the pool.
    ///
    /// # Panics
    /// As `run`.
    pub fn run_losing(seed: u64, steps: usize) -> Summary {
        let mut history = Self::begin(seed, Failpoints::none(), Arc::new(Straight));
        history.losing = Some(SimRng::stream(seed, STREAM));
        history.finish(steps);
        history.summary
    }

    /// Lost is what chance says, where this history loses anything.
    pub(super) fn lose_sometimes(&mut self) {
        let Some(rng) = &self.losing else { return };
        if self.store.disk().is_off() || !rng.one_in(LOSSES_ONE_IN) {
            return;
        }
        let loss = if rng.one_in(3) { Loss::Index } else { Loss::Machine };
        let survival = Survival::ALL[rng.below(4) as usize];
        let cut = rng.one_in(3).then(|| rng.below(RECOVERY_CHANGES));
        match loss {
            Loss::Machine if self.broken.is_some() => self.step(Step::Mend),
            Loss::Machine if self.in_pool() < self.base_lsn => self.step(Step::Flush),
            _ => self.lose(loss, survival, cut),
        }
    }

    /// Everything is in the pool, and then nowhere else.
    pub(super) fn lose_at_last(&mut self) {
        if self.losing.is_none() {
            return;
        }
        self.step(Step::Mend);
        self.step(Step::Flush);
        self.lose(Loss::Machine, Survival::Nothing, None);
        self.compare("on the last machine");
    }

    fn in_pool(&self) -> u64 {
        self.store.engine().write_back().status().in_pool.0
    }

    /// With `cut` the power goes again so many changes of the disk into the recovery, which is then made anew.
    fn lose(&mut self, loss: Loss, survival: Survival, cut: Option<u64>) {
        let how = format!("the loss of the {loss:?} ({survival:?}, cut {cut:?})").to_lowercase();
        self.log.push(format!("  {how}"));
        let commits = self.store.commits().commits();
        let in_pool = self.in_pool();
        let uploaded = commits.iter().take_while(|commit| commit.lsn <= in_pool).count();
        let due = match loss {
            Loss::Index => self.acknowledged.max(uploaded),
            Loss::Machine => uploaded,
        };
        self.doors.stopped();
        if let Some(changes) = cut {
            self.store.lose_while_recovering(loss, survival, changes);
        }
        let (lsn, timeline) = (Cell::new(0), Cell::new(0));
        let (recovered, tree) = self.start_after(&how, |store| {
            let report = store.lose(loss, survival)?;
            lsn.set(report.lsn);
            timeline.set(report.timeline);
            Ok(())
        });
        match loss {
            Loss::Index => {
                self.summary.indexes_lost += 1;
                self.go_on_from(&how, &commits, due, recovered, &tree);
            }
            Loss::Machine => {
                self.summary.machines_lost += 1;
                // Each timeline that was begun since, if only to be cut short, took the LSN of a commit that was lost.
                let begun = timeline.get() - self.timeline;
                self.timeline = timeline.get() + 1;
                self.go_on_from(&how, &commits, due, lsn.get() - begun, &tree);
                self.heal();
            }
        }
    }
}
