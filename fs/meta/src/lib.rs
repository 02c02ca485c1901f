//! [`MetaStore`]: ordered keys and values in columns, atomic batches, snapshots. It knows nothing of files.
//!
//! The store is the journal's materialised index: it has no log of its own. What it has not flushed is replayed.

#![forbid(unsafe_code)]

mod batch;
mod column;
pub mod conformance;
mod memory;
mod store;

pub use batch::{Batch, BatchOp, BatchReader};
pub use column::Column;
pub use memory::{DurableImage, MemoryStore};
pub use store::{Direction, MetaRead, MetaStore, Visit};
