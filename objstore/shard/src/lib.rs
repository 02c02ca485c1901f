//! objstore-shard
