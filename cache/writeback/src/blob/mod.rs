//! The blob of a segment: one file per structure of FORMAT.md, the writer, and nothing that does I/O.

mod codec;
mod cursor;
mod edges;
mod lineage;
mod metadata;
mod parts;
mod table;
mod writer;

pub use codec::Compression;
pub(crate) use codec::Unpacker;
pub use edges::SegmentHead;
pub(crate) use edges::{FOOTER_BYTES, Footer, HEADER_BYTES};
pub(crate) use lineage::RecordsCrc;
pub use lineage::{Lineage, SegmentLink};
pub(crate) use metadata::records_of_block;
pub use table::{FrameEntry, FrameTable};
pub use writer::{BlobWriter, BuiltBlob, FrameHead};

use cache_journal::SegmentId;
use crc_fast::{CrcAlgorithm, Digest};
use objstore_base::Error;

/// CRC-32C of `parts`, one after the other.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    // A 32-bit CRC in the low half of the algorithm-independent result.
    digest.finalize() as u32
}

/// The error of a structure that does not fit its checksum, magic, or neighbours.
pub(crate) fn corrupt(segment: SegmentId, why: impl Into<String>) -> Error {
    Error::corrupt("read segment blob", why).entity(segment)
}
