//! Which moments of a trace to cut the power at, and what to keep there.

use objstore_env::Rng;
use objstore_env::sim::{SimRng, Survival, Trace};

/// One crash: after this many changes, with this much kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub at: usize,
    pub survival: SurvivalRank,
    pub seed: u64,
}

/// A [`Survival`] in an order, so that moments can be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SurvivalRank(usize);

impl SurvivalRank {
    pub const fn survival(self) -> Survival {
        Survival::POWER_CUTS[self.0]
    }
}

/// `count` crashes of a trace, in the order of time: half around its syncs, where what is durable changes, half
/// anywhere.
pub fn moments(trace: &Trace, count: usize, seed: u64) -> Vec<Moment> {
    let rng = SimRng::new(seed);
    let syncs: Vec<usize> = trace.syncs().collect();
    let mut moments: Vec<Moment> = (0..count)
        .map(|index| {
            let anywhere = rng.below(trace.len() as u64 + 1) as usize;
            let at = match syncs.len() as u64 {
                0 => anywhere,
                _ if index % 2 == 0 => anywhere,
                some => syncs[rng.below(some) as usize],
            };
            let survival = SurvivalRank(index / 2 % Survival::POWER_CUTS.len());
            Moment { at, survival, seed: rng.next_u64() }
        })
        .collect();
    moments.sort();
    moments
}
