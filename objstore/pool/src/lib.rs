//! The pool: immutable blobs, erasure-coded over drives.
//!
//! A put writes k + m shards in parallel and returns when k + 1 are synced; what is missing is on a durable heal list.
//! While drives are away their shards go beside others on the drives that are left, at most m on each, and the put
//! returns when the loss of any one more would leave k: writing goes on with ceil((k + m) / m) drives (3 for 4+2; all
//! where m < 2) and is refused with fewer. A heal gives such displaced shards a drive of their own again.
//! A get reads the cells it needs and rebuilds what is missing, corrupt or slow from any k others. More than m lost is
//! `Damaged`, never zeros. The drives' directories are the only index: nothing here is needed to read a blob but the
//! drives. The pool knows nothing of segments, files or doors.

#![forbid(unsafe_code)]

mod ask;
mod capacity;
mod config;
mod deleting;
mod distribution;
mod encode;
mod get;
mod heal;
mod heal_log;
mod healer;
mod health;
mod latency;
mod layout;
mod listing;
mod locks;
mod mend;
mod placement;
mod plan;
mod pool;
mod put;
mod row;
mod slot;
mod status;
mod straggler;

pub use config::PoolConfig;
pub use heal::{HealProgress, HealReport};
pub use pool::Pool;
pub use status::{BlobDescription, DriveState, DriveStatus, PoolStatus, ShardPlace, ShardState};
