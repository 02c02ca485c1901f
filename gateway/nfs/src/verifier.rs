//! The write verifier: another value whenever unstable data may have been lost, so that clients send it again.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct WriteVerifier(AtomicU64);

impl WriteVerifier {
    /// `start` must differ from that of every earlier start of the service (chance, or a counter of starts).
    pub(crate) const fn new(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }

    pub(crate) fn current(&self) -> [u8; 8] {
        self.0.load(Ordering::Acquire).to_be_bytes()
    }

    /// Unstable data may be lost: an odd step visits every value before one comes again.
    pub(crate) fn renew(&self) {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::AcqRel);
    }
}
