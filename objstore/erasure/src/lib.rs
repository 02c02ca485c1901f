//! objstore-erasure
