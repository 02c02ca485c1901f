//! The words every floor shares: blob ids, the one error type, and the [`BlobStore`] contract.
//!
//! This crate stands at the bottom of the house; it knows nothing of drives, journals or files.

#![forbid(unsafe_code)]

mod blob;
mod buffer;
pub mod conformance;
mod error;
mod memory;
mod pending;
mod store;

pub use blob::{BlobClass, BlobId};
pub use buffer::zeroed;
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use memory::MemoryBlobStore;
pub use pending::pending_once;
pub use store::{BlobStat, BlobStore, Capacity};

/// A boxed future that may move between threads: the shape of every asynchronous trait method in the house.
pub type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;
