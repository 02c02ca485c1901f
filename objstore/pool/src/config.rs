//! [`PoolConfig`]: the code, the drives, and the bounds a pool keeps.

use std::path::{Component, Path, PathBuf};

use objstore_base::{Error, ErrorKind, Result};
use objstore_erasure::{DATA_CELLS_MAX, PARITY_CELLS_MAX};
use objstore_shard::{PoolUuid, Stripe};

/// Drives of one pool: every blob is looked for on all of them.
const DRIVES_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Chosen and recorded by the caller before the pool is created, so that a creation cut short can be repeated.
    pub uuid: PoolUuid,
    pub k: usize,
    pub m: usize,
    /// Bytes of a cell of a full row: a multiple of 64 KiB.
    pub cell_bytes: u32,
    /// In slot order; at least k + m.
    pub drives: Vec<PathBuf>,
    /// Counts changes of the set of drives.
    pub epoch: u64,
    /// The directory of `heal.log`.
    pub heal_dir: PathBuf,
    /// Bytes of puts and heals, and as many of gets, that are in memory at once.
    pub in_flight_bytes_max: u64,
    /// Blobs healed at once.
    pub heal_concurrency: usize,
}

impl PoolConfig {
    /// Cells of 1 MiB: a range of one frame touches one drive, a segment of 64 MiB has 16 rows at 4+2. 256 MiB in
    /// flight hold two whole segments with their parity on the way out.
    pub fn new(uuid: PoolUuid, k: usize, m: usize, drives: Vec<PathBuf>, heal_dir: PathBuf) -> Self {
        Self {
            uuid,
            k,
            m,
            cell_bytes: 1 << 20,
            drives,
            epoch: 1,
            heal_dir,
            in_flight_bytes_max: 256 << 20,
            heal_concurrency: 2,
        }
    }

    pub(crate) const fn shards(&self) -> usize {
        self.k + self.m
    }

    /// Shards on as many drives that have to be durable before a put returns: one more than a read needs, so that a
    /// single loss right after it costs nothing. Where a drive holds several it takes more ([`Self::bears_a_loss`]).
    pub(crate) const fn quorum(&self) -> usize {
        if self.m == 0 { self.k } else { self.k + 1 }
    }

    /// Drives that a put needs: on fewer, one of them would hold more shards than the code can lose.
    pub(crate) const fn drives_min(&self) -> usize {
        if self.m == 0 { self.k } else { self.shards().div_ceil(self.m) }
    }

    /// Whether `held` shards of a put, at most `most_on_one` of them on one drive, are what a put promises: the loss of
    /// any one drive leaves enough to read it. Without parity it is all that a put can do to store every shard.
    pub(crate) const fn bears_a_loss(&self, held: usize, most_on_one: usize) -> bool {
        if self.m == 0 { held >= self.k } else { held >= self.k + most_on_one }
    }

    /// # Errors
    /// `InvalidArgument` saying which value does not fit and what would.
    pub(crate) fn validate(&self) -> Result<()> {
        let (k, m, drives) = (self.k, self.m, self.drives.len());
        let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, "configure pool").context(why));
        if k == 0 || k > DATA_CELLS_MAX || m > PARITY_CELLS_MAX {
            return refuse(format!("code {k}+{m} is outside 1+0 .. {DATA_CELLS_MAX}+{PARITY_CELLS_MAX}"));
        }
        if drives < k + m {
            return refuse(format!("code {k}+{m} needs at least {} drives, {drives} given", k + m));
        }
        if drives > DRIVES_MAX {
            return refuse(format!("{drives} drives given, a pool has at most {DRIVES_MAX}"));
        }
        if self.in_flight_bytes_max < u64::from(self.cell_bytes) || self.heal_concurrency == 0 {
            return refuse("bounds too small for one cell and one heal".into());
        }
        Stripe::new(k as u8, self.cell_bytes, 0)?;
        let paths: Vec<PathBuf> = self.drives.iter().map(|path| plain(path)).collect();
        for (slot, path) in paths.iter().enumerate() {
            for (other_slot, other) in paths.iter().enumerate().skip(slot + 1) {
                if path == other {
                    return refuse(format!("drive {} is given twice, as {slot} and {other_slot}", path.display()));
                }
                if path.starts_with(other) || other.starts_with(path) {
                    return refuse(format!("drives {} and {} lie in each other", path.display(), other.display()));
                }
            }
        }
        Ok(())
    }
}

/// The path without `.` and with `..` taken out where it only undoes a name.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
        plain
    })
}
