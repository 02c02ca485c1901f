//! objstore-pool
