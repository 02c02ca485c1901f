//! How many bytes of user data fit: unequal drives, shared filesystems, parity deducted.
//!
//! A blob puts one shard on each of n different drives. If every drive gives at most t bytes, n drives of a mixed lot
//! can be filled evenly exactly as far as `sum over drives of min(room, t) >= n * t` holds; drives on one filesystem
//! have only its room between them. The largest such t, times k, is what fits.

use std::collections::BTreeMap;

use objstore_base::{Capacity, Error, ErrorKind, Result};
use objstore_shard::DriveSpace;

use crate::pool::Inner;
use crate::put::reserve;

/// One filesystem: how many drives it carries and the bytes they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filesystem {
    drives: u64,
    bytes: u64,
}

impl Inner {
    /// # Errors
    /// `Unavailable` where no drive answers.
    pub(crate) async fn capacity(&self) -> Result<Capacity> {
        let answers = self.ask_all(|drive| Box::pin(async move { drive.space().await })).await;
        let spaces: Vec<DriveSpace> = answers.into_iter().flatten().collect();
        if spaces.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "capacity").context("no drive answers"));
        }
        let (k, shards) = (self.config.k as u64, self.config.shards() as u64);
        // Drives that do not answer are away, not full: what waits for them is the cache's to bound. They are taken to
        // have what those that answer have.
        let answering = shards.min(spaces.len() as u64);
        let part = |bytes: u64| {
            let part = u128::from(bytes) * u128::from(answering) / u128::from(shards);
            u64::try_from(part).expect("a part of a u64 is one")
        };
        let total = part(usable(&filesystems(&spaces, |space| space.total), k, answering));
        let free = |space: &DriveSpace| space.available.saturating_sub(reserve(space));
        let free = part(usable(&filesystems(&spaces, free), k, answering));
        Ok(Capacity { total, free: free.min(total) })
    }
}

fn filesystems(spaces: &[DriveSpace], bytes: impl Fn(&DriveSpace) -> u64) -> Vec<Filesystem> {
    let mut by_device: BTreeMap<u64, Filesystem> = BTreeMap::new();
    for space in spaces {
        let entry = by_device.entry(space.filesystem).or_insert(Filesystem { drives: 0, bytes: bytes(space) });
        entry.drives += 1;
        entry.bytes = entry.bytes.min(bytes(space));
    }
    by_device.into_values().collect()
}

/// User bytes that fit at `k` of `n` shards.
fn usable(filesystems: &[Filesystem], k: u64, n: u64) -> u64 {
    let fits = |t: u64| {
        let taken = filesystems.iter().map(|fs| u128::from(fs.bytes).min(u128::from(fs.drives) * u128::from(t)));
        taken.sum::<u128>() >= u128::from(n) * u128::from(t)
    };
    let most = filesystems.iter().map(|fs| fs.bytes).max().unwrap_or(0);
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low.saturating_mul(k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable_of(drives: &[(u64, u64)], k: u64, n: u64) -> u64 {
        let space = |&(filesystem, total): &(u64, u64)| DriveSpace { total, available: total, filesystem };
        let spaces: Vec<DriveSpace> = drives.iter().map(space).collect();
        usable(&filesystems(&spaces, |space| space.total), k, n)
    }

    #[test]
    fn capacity_is_what_can_be_stored() {
        let own = |sizes: &[u64]| (0..).zip(sizes.iter().copied()).collect::<Vec<_>>();
        assert_eq!(usable_of(&own(&[100; 6]), 4, 6), 400, "equal drives");
        assert_eq!(usable_of(&[(1, 600); 6], 4, 6), 400, "six drives on one filesystem share it");
        assert_eq!(
            usable_of(&own(&[100, 100, 100, 100, 100, 10]), 4, 6),
            40,
            "the smallest of exactly n drives decides"
        );
        assert_eq!(usable_of(&own(&[100, 100, 100, 100, 100, 50, 50]), 4, 6), 400, "two small ones stand in for one");
        assert_eq!(usable_of(&own(&[1000, 10, 10]), 1, 2), 20, "a large drive needs partners");
        assert_eq!(usable_of(&own(&[0; 6]), 4, 6), 0);
        assert_eq!(usable_of(&own(&[u64::MAX; 6]), 1, 6), u64::MAX);
    }
}
