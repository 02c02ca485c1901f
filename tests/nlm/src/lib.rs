//! The lock manager in front of the real engine or the reference filesystem, called as its clients call it, and clients
//! that it can call back.
//!
//! [`World`] is one store with its lock manager; [`Client`] one machine, with a portmapper, a lock manager and a status
//! monitor of its own on a loopback address. Time stands still until a test moves it: no deadline decides.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a test crate; its own waits have real deadlines")]

mod client;
mod clock;
mod world;

pub use client::{Client, Lock, Peer, holder, status};
pub use clock::ManualClock;
pub use world::{Store, World, handle, local};

use std::time::Duration;

pub const DEADLINE: Duration = Duration::from_secs(20);

pub const GRANTED: u32 = 0;
pub const DENIED: u32 = 1;
pub const NO_LOCKS: u32 = 2;
pub const BLOCKED: u32 = 3;
pub const GRACE: u32 = 4;
pub const DEADLOCK: u32 = 5;
pub const READ_ONLY: u32 = 6;
pub const STALE: u32 = 7;
pub const TOO_BIG: u32 = 8;
pub const FAILED: u32 = 9;

/// Waits until `true`, at most until the deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
