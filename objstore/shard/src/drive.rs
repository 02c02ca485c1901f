//! [`Drive`]: a place for shards. A local directory is one; a prefix in a bucket is another.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use objstore_base::{BlobClass, BlobId, BoxFuture, Result};

use crate::{DriveIdentity, ShardHeader, ShardIdentity, ShardName};

/// Bytes of a shard and what its header says of the whole.
#[derive(Clone, Debug)]
pub struct ShardRead {
    pub header: Arc<ShardHeader>,
    pub bytes: Bytes,
}

/// Room on a drive. Drives with one `filesystem` share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveSpace {
    pub total: u64,
    pub available: u64,
    pub filesystem: u64,
}

/// A place for shards. Shards are immutable; a name is written once and deleted once.
///
/// Errors of all methods: `Corrupt` where bytes do not fit their checksums or their place, `NotFound` where the drive
/// works and has no such shard, `Unavailable` where the drive itself is gone, else what the medium says. Work that has
/// begun goes on when a future is dropped.
pub trait Drive: Send + Sync {
    fn identity(&self) -> DriveIdentity;

    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Stores a shard: content and name are durable on return, or nothing is visible.
    fn put(&self, identity: ShardIdentity, body: Vec<Bytes>) -> BoxFuture<'_, Result<()>>;

    /// The bytes of `range` of the shard's body, verified.
    fn read(&self, name: ShardName, range: Range<u64>) -> BoxFuture<'_, Result<ShardRead>>;

    /// Reads the whole shard back and checks every unit.
    fn verify(&self, name: ShardName) -> BoxFuture<'_, Result<Arc<ShardHeader>>>;

    /// Removes a shard; one that is not there is no error. Durable on return.
    fn delete(&self, name: ShardName) -> BoxFuture<'_, Result<()>>;

    /// All shards of one blob on this drive, whatever their generation.
    fn find(&self, blob: BlobId) -> BoxFuture<'_, Result<Vec<ShardName>>>;

    /// Shards of `class` in order, of blobs with a number greater than `after`, up to the end of the blob with which
    /// `limit` shards are reached.
    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<ShardName>>>;

    fn space(&self) -> BoxFuture<'_, Result<DriveSpace>>;
}
