//! Chance from the system: one seed from the kernel, then ChaCha.

use std::fs::File;
use std::io::{self, Read};

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Rng;

/// A generator seeded once from the kernel, so that a number costs no system call.
pub struct OsRng(Mutex<ChaCha12Rng>);

impl OsRng {
    /// # Errors
    /// `/dev/urandom` cannot be read.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self(Mutex::new(ChaCha12Rng::from_seed(seed))))
    }
}

impl Rng for OsRng {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}
