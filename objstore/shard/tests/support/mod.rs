//! Identities and bodies for the tests of shards.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use objstore_base::conformance::pattern;
use objstore_base::{BlobClass, BlobId};
use objstore_shard::{Generation, PoolUuid, ShardIdentity, ShardName};

pub const POOL: PoolUuid = PoolUuid(*b"the pool of test");

pub fn identity(number: u64, index: u8, blob_len: u64) -> ShardIdentity {
    let name = ShardName { blob: BlobId::segment(number), index, generation: Generation(1 << 32 | 77) };
    ShardIdentity { pool: POOL, name, k: 4, m: 2, epoch: 3, blob_len, cell_bytes: 128 << 10 }
}

pub fn name(class: BlobClass, number: u64, index: u8) -> ShardName {
    ShardName { blob: BlobId::new(class, number), index, generation: Generation(1 << 32 | 77) }
}

/// A body of the length that `identity` asks for, in pieces of uneven length.
pub fn body(identity: &ShardIdentity) -> Vec<Bytes> {
    let len = identity.stripe().expect("a stripe").shard_len() as usize;
    let whole = pattern(identity.name.blob.number, len);
    let cuts = [0, len / 7, len / 7, len / 2, len];
    cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect()
}
