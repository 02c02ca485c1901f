//! The journal: an ordered, checksummed, group-committed log of metadata batches and file bytes.
//!
//! Everything that must survive is a record here first; the index is its materialised form. The journal is a sequence
//! of segment files that are preallocated and reused. It knows positions, bytes and durability; it must not know what
//! a batch means, nor where a segment goes after it is sealed. It keeps I2 (a segment goes only when its frames and
//! its metadata are durable elsewhere) and I3 (after a crash: a prefix no older than the last commit). See `FORMAT.md`.

#![forbid(unsafe_code)]

mod ahead;
mod append;
mod checksum;
mod commit;
mod config;
mod files;
mod flights;
mod header;
mod ids;
mod info;
mod journal;
mod open;
mod read;
mod recent;
mod record;
mod recover;
mod repair;
mod retire;
mod scan;
mod seal;
mod segment;
mod table;
mod tail;

pub use checksum::{chunk_crc, chunks_of};
pub use config::JournalConfig;
pub use ids::{CHUNK_BYTES, FRAME_BYTES_MAX, FrameId, FrameNo, Lsn, SegmentId};
pub use info::{Appended, DirtyInfo, FrameData, Recovery, SegmentInfo, SegmentState};
pub use journal::Journal;
pub use read::{SealedRecord, SegmentReader};
pub use repair::segment_file_name;
pub use table::{FrameEntry, FrameTable};
