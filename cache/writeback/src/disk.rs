//! Watches the filesystem under the journal: writers stop before it is full, because the journal must not be the one
//! to find out.

use std::path::PathBuf;
use std::time::Duration;

use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Env;
use parking_lot::Mutex;

use crate::DiskReserve;

/// Between two looks: a filesystem fills by some hundred MiB in this time at most, which the reserve covers.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Default)]
struct Seen {
    at: Option<Duration>,
    available: u64,
    reserve: u64,
}

pub(crate) struct DiskGuard {
    env: Env,
    dir: PathBuf,
    reserve: DiskReserve,
    seen: Mutex<Seen>,
}

impl DiskGuard {
    pub(crate) fn new(env: Env, dir: PathBuf, reserve: DiskReserve) -> Self {
        Self { env, dir, reserve, seen: Mutex::default() }
    }

    pub(crate) fn due(&self) -> bool {
        let now = self.env.clock.monotonic();
        self.seen.lock().at.is_none_or(|at| now.saturating_sub(at) >= LOOK_EVERY)
    }

    /// Bytes that are missing from the reserve now; 0 where all is well.
    pub(crate) async fn missing(&self) -> Result<u64> {
        let (disk, dir) = (self.env.disk.clone(), self.dir.clone());
        let space = self.env.blocking(move || disk.space(&dir)).await;
        let at = Some(self.env.clock.monotonic());
        self.seen.lock().at = at;
        let space = space.map_err(|e| Error::io("look at the space left", e).entity(self.dir.display()))?;
        let seen = Seen { at, available: space.available, reserve: self.reserve.of(space.total) };
        *self.seen.lock() = seen;
        Ok(seen.reserve.saturating_sub(seen.available))
    }

    /// Bytes that were available at the last look, and the reserve.
    pub(crate) fn seen(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.available, seen.reserve)
    }

    /// What a writer is told whose patience ended on a full filesystem.
    pub(crate) fn full(&self) -> Error {
        let Seen { available, reserve, .. } = *self.seen.lock();
        let why = format!(
            "the filesystem has {} MiB left and {} MiB are kept in reserve; free some space there, or move the store",
            available >> 20,
            reserve >> 20
        );
        Error::new(ErrorKind::NoSpace, "write to the cache").entity(self.dir.display()).context(why)
    }
}
