//! What a power cut leaves of what was not synced.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// How much of the unsynced a crash keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// The process died, the machine lives: the page cache is intact (`kill -9`).
    Everything,
    /// Only what was synced.
    Nothing,
    /// A prefix of the order in which things were done, the last write torn between sectors.
    Prefix,
    /// Every sector, length and name on its own: kept or lost in any combination.
    Scattered,
}

impl Survival {
    pub const ALL: [Self; 4] = [Self::Everything, Self::Nothing, Self::Prefix, Self::Scattered];

    /// The power cuts.
    pub const POWER_CUTS: [Self; 3] = [Self::Nothing, Self::Prefix, Self::Scattered];
}

/// Decides, thing by thing, what one crash keeps; a function of the seed.
pub(super) struct Chooser {
    survival: Survival,
    generator: ChaCha8Rng,
    /// Under `Prefix`: the first operation in the order of the whole disk that is not kept in full.
    cut: u64,
}

impl Chooser {
    /// `unsynced` is the range of sequence numbers that anything unsynced may carry.
    pub(super) fn new(survival: Survival, seed: u64, unsynced: std::ops::Range<u64>) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let cut = unsynced.start + generator.next_u64() % (unsynced.end.saturating_sub(unsynced.start) + 1);
        Self { survival, generator, cut }
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.generator.next_u64() % bound) as usize
    }

    /// How many of these operations, in their order, last in full.
    pub(super) fn lasting(&mut self, sequences: impl ExactSizeIterator<Item = u64>) -> usize {
        let count = sequences.len();
        match self.survival {
            Survival::Everything => count,
            Survival::Nothing => 0,
            Survival::Prefix => sequences.take_while(|&sequence| sequence < self.cut).count(),
            Survival::Scattered => self.below(count as u64 + 1),
        }
    }

    /// Which state of a sector lasts: 0 for the one before all of these writes, `n` for the one after the n-th.
    pub(super) fn version(&mut self, sequences: impl ExactSizeIterator<Item = u64>) -> usize {
        let count = sequences.len();
        match self.survival {
            Survival::Prefix => {
                let whole: Vec<u64> = sequences.take_while(|&sequence| sequence <= self.cut).collect();
                let torn = whole.last() == Some(&self.cut) && self.below(2) == 0;
                whole.len() - usize::from(torn)
            }
            _ => self.lasting(sequences_of(count)),
        }
    }
}

/// Stand-ins where only the number of operations matters.
fn sequences_of(count: usize) -> impl ExactSizeIterator<Item = u64> {
    std::iter::repeat_n(0, count)
}
