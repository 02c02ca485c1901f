//! The store's contract.

use std::ops::ControlFlow;
use std::ops::Range;

use objstore_base::Result;

use crate::{Batch, Column};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Called per entry of a scan with key and value; `Break` ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reading, on the live store or on a snapshot.
pub trait MetaRead: Send + Sync {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the entries with keys in `range` (half-open, bytewise order), from its start or, backward, from its
    /// end. What is visited is one state of the column. A counter (see [`Batch::add`]) is 8 bytes, little-endian.
    fn scan(&self, column: Column, range: Range<&[u8]>, direction: Direction, visit: Visit<'_>) -> Result<()>;
}

pub trait MetaStore: MetaRead {
    /// Applies all of `batch` or nothing; readers see it at once when this returns. Not durable.
    ///
    /// # Concurrency
    /// Batches that touch a common key (counters excepted) must not be applied at the same time.
    fn apply(&self, batch: &Batch) -> Result<()>;

    /// A fixed view of all columns at this moment.
    fn snapshot(&self) -> Result<Box<dyn MetaRead + '_>>;

    /// Freezes everything applied so far as the next state to be made durable, stamped `lsn`. The caller lets no
    /// `apply` run at the same time and has made the journal durable up to `lsn`, so that the index can never be ahead
    /// of the log. Cheap: no I/O of consequence.
    fn begin_flush(&self, lsn: u64) -> Result<()>;

    /// Blocks until the last frozen state is durable and gives its LSN. `apply` may run meanwhile.
    fn finish_flush(&self) -> Result<u64>;

    /// The LSN of the durable state: on open, what the journal has to be replayed after (0 in a new store).
    fn flushed_lsn(&self) -> u64;

    /// Approximate bytes applied since the last `begin_flush`: they are in memory and lengthen the replay.
    fn unflushed_bytes(&self) -> u64;
}
