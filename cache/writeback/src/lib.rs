//! What is dirty, and how it gets into the pool.
//!
//! A sealed segment of the journal becomes one blob under the same id ([`BlobWriter`], [`SegmentBlobs`]; byte layout in
//! FORMAT.md). [`WriteBack`] uploads segments in the order of their LSNs, lets the journal retire what is in the pool,
//! and holds writers back where the dirty part of the cache nears its limit. Nothing dirty is ever dropped (I2). This
//! crate knows frames and opaque metadata batches, not files.

#![forbid(unsafe_code)]

mod activity;
mod blob;
mod blobs;
mod build;
mod config;
mod disk;
mod flush;
mod links;
mod liveness;
mod pressure;
mod progress;
mod rate;
mod status;
mod upload;
mod writeback;

pub use blob::{
    BlobWriter, BuiltBlob, Compression, FrameEntry, FrameHead, FrameTable, Lineage, SegmentHead, SegmentLink,
};
pub use blobs::{Batches, SegmentBlobs};
pub use build::build_blob;
pub use config::{DiskReserve, WriteBackConfig};
pub use liveness::Liveness;
pub use pressure::Band;
pub use status::{LastError, UploadState, UploadTotals, WriteBackStatus};
pub use upload::Step;
pub use writeback::WriteBack;
