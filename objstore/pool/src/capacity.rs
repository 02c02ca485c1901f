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
        let away = (self.slots.len() - spaces.len()) as u64;
        let total = with_away(filesystems(&spaces, |space| space.total), away, k, shards);
        let free = |space: &DriveSpace| space.available.saturating_sub(reserve(space));
        let free = with_away(filesystems(&spaces, free), away, k, shards);
        Ok(Capacity { total, free: free.min(total) })
    }
}

/// User bytes that fit, with drives that are away: they are away, not full, and what waits for them is the cache's to
/// bound. Where drives share a filesystem, those that are away had their part of the one that most of them share, and
/// those that are left do not inherit it. Else they are taken to have what those that answer have.
fn with_away(mut filesystems: Vec<Filesystem>, away: u64, k: u64, shards: u64) -> u64 {
    let answering: u64 = filesystems.iter().map(|fs| fs.drives).sum();
    // Of those that carry the most, the smallest.
    let most_shared = filesystems.iter_mut().min_by_key(|fs| (std::cmp::Reverse(fs.drives), fs.bytes));
    if let Some(shared) = most_shared.filter(|fs| fs.drives > 1) {
        shared.drives += away;
        return usable(&filesystems, k, shards);
    }
    let n = shards.min(answering);
    let part = u128::from(usable(&filesystems, k, n)) * u128::from(n) / u128::from(shards);
    u64::try_from(part).expect("a part of a u64 is one")
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
    // All drives full: with more drives than shards that is more than any one of them has.
    let all: u128 = filesystems.iter().map(|fs| u128::from(fs.bytes)).sum();
    let (mut low, mut high) = (0, u64::try_from(all / u128::from(n.max(1))).unwrap_or(u64::MAX));
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
        assert_eq!(usable_of(&own(&[100; 12]), 4, 6), 800, "twice as many drives hold twice as much");
        assert_eq!(usable_of(&own(&[0; 6]), 4, 6), 0);
        assert_eq!(usable_of(&own(&[u64::MAX; 6]), 1, 6), u64::MAX);
    }

    #[test]
    fn capacity_does_not_grow_when_a_drive_goes() {
        let fs = |drives, bytes| Filesystem { drives, bytes };
        let of = |filesystems: &[Filesystem], away| with_away(filesystems.to_vec(), away, 4, 6);
        assert_eq!(of(&[fs(6, 600)], 0), 400);
        assert_eq!(of(&[fs(5, 600)], 1), 400, "the folder is gone, the disk is as large as before");
        assert_eq!(of(&[fs(5, 100), fs(1, 1000)], 0), 80);
        assert_eq!(of(&[fs(4, 100), fs(1, 1000)], 1), 80, "four do not get what five had");
        let own = |count: usize| vec![fs(1, 100); count];
        assert_eq!(of(&own(6), 0), 400);
        assert!(of(&own(5), 1) <= 400 && of(&own(4), 2) <= 400);
        assert_eq!(with_away(own(4), 0, 1, 2), 200, "more drives than shards");
        assert!(with_away(own(3), 1, 1, 2) <= 200);
    }
}
