//! Time: the wall clock for timestamps that people see, the monotonic clock for everything that decides.

use std::time::Duration;

use objstore_base::BoxFuture;

/// Nanoseconds since the Unix epoch, as the wall clock shows them. May jump; no decision rests on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

pub trait Clock: Send + Sync {
    fn wall(&self) -> WallTime;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Completes when `monotonic` has grown by `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}
