//! [`Slot`]: one drive's place in the pool, mounted or not, with its health.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use objstore_base::{Error, ErrorKind};
use objstore_shard::{Drive, DriveSpace, DriveUuid};
use parking_lot::Mutex;

use crate::health::Health;

/// Late shards with which a drive takes no other, whatever the need. A put makes it late with at most m of them.
const LATE_WRITES_MAX: u32 = 4;

pub(crate) struct Slot {
    pub(crate) number: u16,
    pub(crate) path: PathBuf,
    /// Shard writes that outlived their put and are still going on.
    pub(crate) late_writes: AtomicU32,
    mount: Mutex<Mount>,
    health: Mutex<Health>,
}

enum Mount {
    Mounted {
        drive: Arc<dyn Drive>,
        weight: u64,
    },
    /// Why the drive could not be opened.
    Away {
        why: String,
    },
}

impl Slot {
    pub(crate) fn away(number: u16, path: PathBuf, why: String) -> Self {
        Self {
            number,
            path,
            late_writes: AtomicU32::new(0),
            mount: Mutex::new(Mount::Away { why }),
            health: Mutex::default(),
        }
    }

    /// `space` is what the drive said when it was mounted: placement must not move with every put.
    pub(crate) fn mount(&self, drive: Arc<dyn Drive>, space: Option<DriveSpace>) {
        let weight = space.map_or(1, |space| space.total).max(1);
        *self.mount.lock() = Mount::Mounted { drive, weight };
        *self.health.lock() = Health::default();
    }

    pub(crate) fn unmount(&self, why: String) {
        *self.mount.lock() = Mount::Away { why };
    }

    pub(crate) fn drive(&self) -> Option<Arc<dyn Drive>> {
        match &*self.mount.lock() {
            Mount::Mounted { drive, .. } => Some(Arc::clone(drive)),
            Mount::Away { .. } => None,
        }
    }

    /// The drive, or the error of using one that is not there.
    pub(crate) fn reach(&self) -> Result<Arc<dyn Drive>, Error> {
        self.drive().ok_or_else(|| {
            let why = self.why_away().unwrap_or_default();
            Error::new(ErrorKind::Unavailable, "use drive").entity(self.path.display()).context(why)
        })
    }

    /// As [`Self::reach`], for a shard: what a hanging drive holds in memory stays bounded.
    pub(crate) fn reach_for_write(&self) -> Result<Arc<dyn Drive>, Error> {
        if self.late_writes.load(Ordering::Acquire) >= LATE_WRITES_MAX {
            let why = "it is behind with earlier shards";
            return Err(Error::new(ErrorKind::TimedOut, "put shard").entity(self.path.display()).context(why));
        }
        self.reach()
    }

    /// Whether it is still busy with a shard of an earlier put. Such a drive is given another only where the put would
    /// fail without it: it may have recovered while the old call still hangs.
    pub(crate) fn is_behind(&self) -> bool {
        self.late_writes.load(Ordering::Acquire) > 0
    }

    pub(crate) fn why_away(&self) -> Option<String> {
        match &*self.mount.lock() {
            Mount::Mounted { .. } => None,
            Mount::Away { why } => Some(why.clone()),
        }
    }

    /// Uuid and weight for placement.
    pub(crate) fn weight(&self) -> Option<(DriveUuid, u64)> {
        match &*self.mount.lock() {
            Mount::Mounted { drive, weight } => Some((drive.identity().drive, *weight)),
            Mount::Away { .. } => None,
        }
    }

    /// Counts a failed call. A missing or corrupt shard, a full drive and a caller's mistake say nothing of the drive.
    pub(crate) fn failed(&self, now: Duration, error: &Error) {
        let of_the_drive = !matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::NoSpace | ErrorKind::InvalidArgument
        );
        if of_the_drive {
            let mut health = self.health.lock();
            let before = health.is_suspect(now);
            health.error(now, error.to_string());
            if !before && health.is_suspect(now) {
                tracing::warn!(drive = %self.path.display(), %error, "drive is suspect: reads avoid it for a minute");
            }
        }
    }

    /// Counts a read that others overtook.
    pub(crate) fn slow(&self, now: Duration) {
        self.health.lock().slow(now);
    }

    pub(crate) fn is_suspect(&self, now: Duration) -> bool {
        self.health.lock().is_suspect(now)
    }

    /// Mounted, trusted, and not behind with a write.
    pub(crate) fn is_well(&self, now: Duration) -> bool {
        self.drive().is_some() && !self.is_suspect(now) && !self.is_behind()
    }

    pub(crate) fn errors(&self) -> (u64, Option<String>) {
        let health = self.health.lock();
        (health.errors_total, health.last_error.clone())
    }
}
