//! Chance, for ids, jitter and the simulation's schedule. Not for secrets.

pub trait Rng: Send + Sync {
    fn next_u64(&self) -> u64;

    /// A number in `0..bound`; `bound` is at least 1. The bias of the modulus does not matter to any user.
    fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }
}
