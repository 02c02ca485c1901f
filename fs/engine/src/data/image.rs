//! The blobs of a checkpoint: parts, which are encoded batches, and the manifest that makes them one.
//!
//! Little-endian; `FORMAT.md` beside the crate has the byte table. A part is compressed with zstd, its checksum names
//! the checkpoint and the part it belongs to. A checkpoint without a manifest does not exist.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use fs_meta::{Batch, Column};
use objstore_base::{BlobClass, BlobId, Error, ErrorKind, Result};

use super::records::SegmentKey;
use crate::system;

const PART_MAGIC: &[u8; 8] = b"TGCKPART";
const MANIFEST_MAGIC: &[u8; 8] = b"TGCKMANI";
const VERSION: u32 = 1;
/// Magic, version, checksum.
const HEAD_BYTES: usize = 16;
const MANIFEST_BYTES: usize = HEAD_BYTES + 16 + 8 + 8 + 4 + 8;
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
        sealed(MANIFEST_MAGIC, &[&body])
    }

    pub(crate) fn decode(number: u64, bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::corrupt("read checkpoint manifest", why).entity(manifest_id(number));
        let body = open(MANIFEST_MAGIC, bytes).map_err(|e| e.entity(manifest_id(number)))?;
        if bytes.len() != MANIFEST_BYTES {
            return Err(bad("its length does not fit"));
        }
        let mut rest = body;
        let manifest = Self {
            store_uuid: take(&mut rest).ok_or_else(|| bad("it is too short"))?,
            number: u64::from_le_bytes(take(&mut rest).ok_or_else(|| bad("it is too short"))?),
            lsn: u64::from_le_bytes(take(&mut rest).ok_or_else(|| bad("it is too short"))?),
            parts: u32::from_le_bytes(take(&mut rest).ok_or_else(|| bad("it is too short"))?),
            entries: u64::from_le_bytes(take(&mut rest).ok_or_else(|| bad("it is too short"))?),
        };
        if manifest.number == number { Ok(manifest) } else { Err(bad("it is of another checkpoint")) }
    }
}

/// The blob of one part.
pub(crate) fn encode_part(number: u64, part: u32, batch: &Batch) -> Result<Bytes> {
    let raw = batch.as_bytes();
    let packed = zstd::bulk::compress(raw, LEVEL)
        .map_err(|e| Error::new(ErrorKind::Internal, "compress checkpoint").source(e))?;
    let head = [&number.to_le_bytes()[..], &part.to_le_bytes(), &(raw.len() as u64).to_le_bytes()].concat();
    Ok(sealed(PART_MAGIC, &[&head, &packed]))
}

pub(crate) fn decode_part(number: u64, part: u32, bytes: &[u8]) -> Result<Batch> {
    let id = part_id(number, part);
    let bad = |why: &str| Error::corrupt("read checkpoint part", why).entity(id);
    let mut rest = open(PART_MAGIC, bytes).map_err(|e| e.entity(id))?;
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
        Column::System => key == system::INODES || key == system::BYTES,
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

fn sealed(magic: &[u8; 8], parts: &[&[u8]]) -> Bytes {
    let mut out = magic.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    let version = VERSION.to_le_bytes();
    let sum = parts.iter().fold(start(&version), update).finalize() as u32;
    out.extend_from_slice(&sum.to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.into()
}

fn open<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Result<&'a [u8]> {
    let bad = |why: &str| Error::corrupt("read checkpoint", why);
    let mut rest = bytes.strip_prefix(magic).ok_or_else(|| bad("no magic"))?;
    let version: [u8; 4] = take(&mut rest).ok_or_else(|| bad("it is too short"))?;
    let sum = take(&mut rest).map(u32::from_le_bytes).ok_or_else(|| bad("it is too short"))?;
    if update(start(&version), &rest).finalize() as u32 != sum {
        return Err(bad("checksum mismatch"));
    }
    match u32::from_le_bytes(version) {
        VERSION => Ok(rest),
        _ => Err(bad("a newer program wrote it").with_kind(ErrorKind::NewerFormat)),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_and_part_round_trip_and_every_flip_is_found() {
        let manifest = Manifest { store_uuid: [9; 16], number: 3, lsn: 77, parts: 2, entries: 5 };
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
