//! The journal: an ordered, checksummed, group-committed log of metadata batches and file bytes.
//!
//! Everything that must survive is a record here first; the index is its materialised form. The journal is a sequence
//! of segment files that are preallocated and reused. It knows positions, bytes and durability; it must not know what
//! a batch means, nor where a segment goes after it is sealed. It keeps I2 (a segment goes only when its frames and
//! its metadata are durable elsewhere) and I3 (after a crash: a prefix no older than the last commit). See `FORMAT.md`.

#![forbid(unsafe_code)]

mod config;
mod ids;
mod info;

pub use config::JournalConfig;
pub use ids::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};
pub use info::{Appended, DirtyInfo, FrameData, Recovery, SegmentInfo, SegmentState};
