//! The blobs of a checkpoint: parts, which are encoded batches, and the manifest that makes them one.
//!
//! Little-endian; `FORMAT.md` beside the crate has the byte table. A part is compressed with zstd, its checksum names
//! the checkpoint and the part it belongs to. A checkpoint without a manifest does not exist.

use bytes::Bytes;
use cache_journal::{Lsn, SegmentId};
use cache_writeback::SegmentLink;
use crc_fast::{CrcAlgorithm, Digest};
use fs_meta::{Batch, Column};
use objstore_base::{BlobClass, BlobId, Error, ErrorKind, Result};

use super::records::SegmentKey;
use crate::{quota, system};

const PART_MAGIC: &[u8; 8] = b"TGCKPART";
const MANIFEST_MAGIC: &[u8; 8] = b"TGCKMANI";
const PART_VERSION: u32 = 1;
const MANIFEST_VERSION: u32 = 2;
/// Bytes of a part before compression: memory of a checkpoint and of a recovery, a few times over.
pub(crate) const PART_BYTES: usize = 4 << 20;
/// A part ends with the entry that filled it; the largest value is an extended attribute.
const PART_BYTES_MAX: usize = PART_BYTES + (1 << 20);
const LEVEL: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) number: u64,
    pub(crate) lsn: u64,
    pub(crate) parts: u32,
    pub(crate) entries: u64,
    pub(crate) place: Place,
}

/// Where in the history of segments a checkpoint stands. All 0 in version 1, where it was not noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// No segment below this one has a record behind the image's LSN.
    pub(crate) from_segment: u64,
    /// No segment had this number or a higher one when the checkpoint was finished.
    pub(crate) next_segment: u64,
    /// How the segment `from_segment` is named by its follower, if that was known.
    pub(crate) tail: Option<SegmentLink>,
}

pub(crate) const fn manifest_id(number: u64) -> BlobId {
    BlobId::new(BlobClass::CheckpointManifest, number)
}

pub(crate) const fn part_id(number: u64, part: u32) -> BlobId {
    BlobId::new(BlobClass::CheckpointPart, number << 24 | part as u64)
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut body = self.store_uuid.to_vec();
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.lsn.to_le_bytes());
        body.extend_from_slice(&self.parts.to_le_bytes());
        body.extend_from_slice(&self.entries.to_le_bytes());
        let Place { from_segment, next_segment, tail } = self.place;
        body.extend_from_slice(&from_segment.to_le_bytes());
        body.extend_from_slice(&next_segment.to_le_bytes());
        body.extend_from_slice(&tail.map_or(0, |tail| tail.last_lsn.0).to_le_bytes());
        body.extend_from_slice(&tail.map_or(0, |tail| tail.records_crc).to_le_bytes());
        sealed(MANIFEST_MAGIC, MANIFEST_VERSION, &[&body])
    }

    pub(crate) fn decode(number: u64, bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::corrupt("read checkpoint manifest", why).entity(manifest_id(number));
        let opened = open(MANIFEST_MAGIC, MANIFEST_VERSION, bytes);
        let (version, mut rest) = opened.map_err(|e| e.entity(manifest_id(number)))?;
        let fields = (|| {
            let store_uuid = take(&mut rest)?;
            let (number, lsn) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
            let (parts, entries) = (take_u32(&mut rest)?, take_u64(&mut rest)?);
            let place = if version == 1 { Place::default() } else { Place::decode(&mut rest)? };
            rest.is_empty().then_some(Self { store_uuid, number, lsn, parts, entries, place })
        })();
        let manifest = fields.ok_or_else(|| bad("its length does not fit"))?;
        if manifest.number == number { Ok(manifest) } else { Err(bad("it is of another checkpoint")) }
    }
}

impl Place {
    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let (from_segment, next_segment) = (take_u64(rest)?, take_u64(rest)?);
        let (last_lsn, records_crc) = (Lsn(take_u64(rest)?), take_u32(rest)?);
        let tail = SegmentLink { segment: SegmentId(from_segment), last_lsn, records_crc };
        Some(Self { from_segment, next_segment, tail: (last_lsn > Lsn::ZERO).then_some(tail) })
    }
}

/// The blob of one part.
pub(crate) fn encode_part(number: u64, part: u32, batch: &Batch) -> Result<Bytes> {
    let raw = batch.as_bytes();
    let packed = zstd::bulk::compress(raw, LEVEL)
        .map_err(|e| Error::new(ErrorKind::Internal, "compress checkpoint").source(e))?;
    let head = [&number.to_le_bytes()[..], &part.to_le_bytes(), &(raw.len() as u64).to_le_bytes()].concat();
    Ok(sealed(PART_MAGIC, PART_VERSION, &[&head, &packed]))
}

pub(crate) fn decode_part(number: u64, part: u32, bytes: &[u8]) -> Result<Batch> {
    let id = part_id(number, part);
    let bad = |why: &str| Error::corrupt("read checkpoint part", why).entity(id);
    let (_, mut rest) = open(PART_MAGIC, PART_VERSION, bytes).map_err(|e| e.entity(id))?;
    let found = take(&mut rest).map(u64::from_le_bytes).zip(take(&mut rest).map(u32::from_le_bytes));
    if found != Some((number, part)) {
        return Err(bad("it is another part"));
    }
    let len = take(&mut rest).map(u64::from_le_bytes).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| *len <= PART_BYTES_MAX).ok_or_else(|| bad("its length does not fit"))?;
    let raw = zstd::bulk::decompress(rest, len).map_err(|e| bad("it does not decompress").source(e))?;
    if raw.len() != len {
        return Err(bad("its length does not fit"));
    }
    Batch::decode(&raw).map_err(|e| e.entity(id))
}

/// Puts one entry of the index into `batch` so that applying it to an empty index gives the entry again.
pub(crate) fn put_entry(batch: &mut Batch, column: Column, key: &[u8], value: &[u8]) -> Result<()> {
    if !is_counter(column, key)? {
        batch.put(column, key, value);
        return Ok(());
    }
    let value = value.try_into().map_err(|_| super::records::corrupt("read counter", key))?;
    batch.add(column, key, i64::from_le_bytes(value));
    Ok(())
}

fn is_counter(column: Column, key: &[u8]) -> Result<bool> {
    Ok(match column {
        Column::FrameRef => true,
        Column::Segment => matches!(SegmentKey::decode(key)?, SegmentKey::Live(_)),
        Column::System => key == system::INODES || key == system::BYTES || quota::is_counter(key)?,
        _ => false,
    })
}

/// Magic, version and checksum stay where they are in every later version; the checksum covers the version and all
/// that follows it. It is in the low half of what the digest gives.
fn start(version: &[u8]) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(version);
    digest
}

fn update(mut digest: Digest, part: &&[u8]) -> Digest {
    digest.update(part);
    digest
}

fn sealed(magic: &[u8; 8], version: u32, parts: &[&[u8]]) -> Bytes {
    let mut out = magic.to_vec();
    let version = version.to_le_bytes();
    out.extend_from_slice(&version);
    let sum = parts.iter().fold(start(&version), update).finalize() as u32;
    out.extend_from_slice(&sum.to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.into()
}

/// The version, `newest` at most, and what follows the checksum.
fn open<'a>(magic: &[u8; 8], newest: u32, bytes: &'a [u8]) -> Result<(u32, &'a [u8])> {
    let bad = |why: &str| Error::corrupt("read checkpoint", why);
    let mut rest = bytes.strip_prefix(magic).ok_or_else(|| bad("no magic"))?;
    let version: [u8; 4] = take(&mut rest).ok_or_else(|| bad("it is too short"))?;
    let sum = take(&mut rest).map(u32::from_le_bytes).ok_or_else(|| bad("it is too short"))?;
    if update(start(&version), &rest).finalize() as u32 != sum {
        return Err(bad("checksum mismatch"));
    }
    match u32::from_le_bytes(version) {
        0 => Err(bad("it has version 0")),
        version if version <= newest => Ok((version, rest)),
        _ => Err(bad("a newer program wrote it").with_kind(ErrorKind::NewerFormat)),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*head)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_version_1_is_read_for_ever() {
        let golden = include_bytes!("../../tests/golden/manifest-v1.blob");
        let manifest =
            Manifest { store_uuid: [9; 16], number: 3, lsn: 77, parts: 2, entries: 5, place: Place::default() };
        assert_eq!(Manifest::decode(3, golden).ok(), Some(manifest));
    }

    #[test]
    fn manifest_and_part_round_trip_and_every_flip_is_found() {
        let tail = Some(SegmentLink { segment: SegmentId(7), last_lsn: Lsn(80), records_crc: 6 });
        let place = Place { from_segment: 7, next_segment: 9, tail };
        let manifest = Manifest { store_uuid: [9; 16], number: 3, lsn: 77, parts: 2, entries: 5, place };
        let mut batch = Batch::new();
        batch.put(Column::Inode, b"k", b"value");
        batch.add(Column::FrameRef, &[0; 12], -3);
        let part = encode_part(3, 1, &batch).expect("compresses");
        assert_eq!(decode_part(3, 1, &part).ok(), Some(batch));
        assert_eq!(Manifest::decode(3, &manifest.encode()).ok(), Some(manifest));
        assert!(decode_part(3, 0, &part).is_err() && decode_part(2, 1, &part).is_err());
        assert!(Manifest::decode(4, &manifest.encode()).is_err());
        for (bytes, is_part) in [(part, true), (manifest.encode(), false)] {
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(if is_part { decode_part(3, 1, &bad).is_err() } else { Manifest::decode(3, &bad).is_err() });
            }
            for len in 0..bytes.len() {
                let bad = &bytes[..len];
                assert!(if is_part { decode_part(3, 1, bad).is_err() } else { Manifest::decode(3, bad).is_err() });
            }
        }
    }
}
