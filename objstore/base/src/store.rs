//! [`BlobStore`]: immutable bytes by id. The pool implements it; so do an S3 bucket and a map in memory.

use std::ops::Range;

use bytes::Bytes;

use crate::{BlobClass, BlobId, BoxFuture, Result};

/// What a store knows of a blob without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStat {
    /// Length of the blob's bytes, parity not counted.
    pub len: u64,
}

/// Bytes of user data (parity already deducted) that a store holds and can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub total: u64,
    pub free: u64,
}

/// Immutable blobs, named by id.
pub trait BlobStore: Send + Sync {
    /// Stores the concatenation of `parts` under `id`, replacing whatever an earlier, unfinished put of the same id
    /// left. Readers see all of the new blob or what was there before.
    ///
    /// # Durability
    /// Returns when the promised number of copies or shards is synced; what is missing is on a durable heal list.
    ///
    /// # Cancel
    /// Dropping the future may leave an unreachable partial blob that a later put or delete of the id removes.
    fn put(&self, id: BlobId, parts: Vec<Bytes>) -> BoxFuture<'_, Result<()>>;

    /// Has a blob that can be read bear what every answered put bears: the machine that put it may have died before it was.
    ///
    /// # Errors
    /// What kept it from that; then what is missing is on the heal list.
    fn make_whole(&self, id: BlobId) -> BoxFuture<'_, Result<()>>;

    /// The bytes of `range` (half-open, inside the blob), verified against their checksums.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a range past the end; `Damaged` naming blob and drives when more is lost
    /// than can be rebuilt; `Unavailable`, `TimedOut`. Never zeros in place of bytes, never a short answer.
    fn get(&self, id: BlobId, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>>;

    /// # Errors
    /// `NotFound`, `Damaged`, `Unavailable`.
    fn stat(&self, id: BlobId) -> BoxFuture<'_, Result<BlobStat>>;

    /// Removes the blob; removing one that is not there succeeds.
    fn delete(&self, id: BlobId) -> BoxFuture<'_, Result<()>>;

    /// Up to `limit` ids of `class` with a number greater than `after`, ascending. A blob of which any shard is found
    /// is listed, readable or not.
    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<BlobId>>>;

    fn capacity(&self) -> BoxFuture<'_, Result<Capacity>>;
}
