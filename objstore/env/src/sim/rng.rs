//! Chance that repeats: everything follows from one seed.

use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Rng;

/// A generator whose numbers are a function of its seed, its stream, and how many were drawn before.
pub struct SimRng {
    seed: u64,
    generator: Mutex<ChaCha8Rng>,
}

impl SimRng {
    pub fn new(seed: u64) -> Self {
        Self::stream(seed, 0)
    }

    /// One of many independent generators under the same seed, so that a component that draws more or fewer numbers
    /// does not change what its neighbours see.
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self { seed, generator: Mutex::new(generator) }
    }

    /// What a failing test prints.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        self.generator.lock().next_u64()
    }
}
