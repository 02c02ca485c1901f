//! The shard header: a golden file, strictness, and what its checksums are bound to.

mod support;

use objstore_base::{BlobClass, BlobId, ErrorKind};
use objstore_shard::{Generation, HEADER_ALIGN, PoolUuid, ShardHeader, ShardIdentity, ShardName, UNIT_BYTES};
use proptest::prelude::*;
use support::{POOL, body, identity};

fn file(identity: ShardIdentity) -> Vec<u8> {
    let body = body(&identity);
    let mut out = ShardHeader::seal(identity, &body).expect("seal").encode();
    body.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Opens a shard file as a drive does and checks all of it.
fn open(file: &[u8]) -> objstore_base::Result<ShardHeader> {
    let page = file.get(..HEADER_ALIGN).unwrap_or(file);
    let len = ShardHeader::encoded_len(page, file.len() as u64)?;
    let header = ShardHeader::decode(file.get(..len).unwrap_or_default())?;
    header.check(0, file.get(len..).unwrap_or_default())?;
    Ok(header)
}

#[test]
fn the_released_format_is_still_read_and_written() {
    let golden = include_bytes!("golden/shard-v1");
    let header = open(golden).expect("version 1");
    let expected = ShardIdentity {
        name: ShardName {
            blob: BlobId::new(BlobClass::CheckpointPart, 0x0102_0304),
            index: 5,
            generation: Generation(0x0000_0002_dead_beef),
        },
        ..identity(0, 0, 3_000)
    };
    assert_eq!(*header.identity(), expected);
    assert!(file(expected) == golden, "the same shard gives the same file");
}

#[test]
fn a_shard_is_a_page_and_its_body() {
    for (blob_len, len) in [(0, 4096), (1, 4097), (4, 4097), (5, 4098), (512 << 10, 4096 + (128 << 10))] {
        let file = file(identity(1, 0, blob_len));
        assert_eq!(file.len(), len);
        assert_eq!(open(&file).expect("open").file_len(), len as u64);
    }
}

#[test]
fn a_table_of_more_than_a_page_is_read() {
    let units = 600;
    let long = identity(1, 0, units * 4 * UNIT_BYTES as u64);
    let file = file(long);
    let header = open(&file).expect("open");
    assert_eq!(header.body_at(), 8192);
    assert_eq!(*header.identity(), long);
}

#[test]
fn a_body_of_another_length_is_not_sealed() {
    let identity = identity(1, 0, 1000);
    let error = ShardHeader::seal(identity, &[]).expect_err("250 bytes are missing");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_header_says_where_it_belongs() {
    let header = open(&file(identity(1, 2, 1000))).expect("open");
    let own = header.identity().name;
    header.expect(POOL, own).expect("its own place");
    let other = PoolUuid([1; 16]);
    for (pool, name) in [
        (other, own),
        (POOL, ShardName { index: 3, ..own }),
        (POOL, ShardName { blob: BlobId::segment(2), ..own }),
        (POOL, ShardName { generation: Generation(1), ..own }),
    ] {
        assert_eq!(header.expect(pool, name).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    }
}

/// The body of a shard under the header of one that differs in a single field.
#[test]
fn units_verify_under_their_own_identity_only() {
    let own = identity(1, 2, 600_000);
    let shorter = 599_999;
    let content: Vec<u8> = body(&own).concat();
    let others = [
        ShardIdentity { pool: PoolUuid([9; 16]), ..own },
        ShardIdentity { epoch: 4, ..own },
        ShardIdentity { blob_len: shorter, ..own },
        ShardIdentity { m: 1, ..own },
        ShardIdentity { name: ShardName { index: 3, ..own.name }, ..own },
        ShardIdentity { name: ShardName { generation: Generation(1), ..own.name }, ..own },
        ShardIdentity { name: ShardName { blob: BlobId::segment(2), ..own.name }, ..own },
        ShardIdentity { name: ShardName { blob: BlobId::new(BlobClass::CheckpointPart, 1), ..own.name }, ..own },
    ];
    let header = ShardHeader::seal(own, &body(&own)).expect("seal");
    header.check(0, &content).expect("its own");
    header.check(1, &content[UNIT_BYTES..]).expect("from unit 1");
    assert!(header.check(0, &content[UNIT_BYTES..]).is_err(), "a unit out of place");
    assert!(header.check(1_000_000, &content).is_err(), "behind the end");
    for other in others {
        assert_ne!(other, own);
        // The same bytes under another identity have other checksums.
        let theirs = ShardHeader::seal(other, &[bytes::Bytes::from(content.clone())]).expect("seal");
        let (ours, theirs) = (header.encode(), theirs.encode());
        assert_ne!(ours[128..136], theirs[128..136], "{other:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_single_flip_is_found(blob_len in 0_u64..300_000, at: prop::sample::Index, bit in 0_u8..8) {
        let mut file = file(identity(7, 1, blob_len));
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert_eq!(open(&file).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn every_other_length_is_found(blob_len in 0_u64..300_000, len: prop::sample::Index, more in 1_usize..5000) {
        let file = file(identity(7, 1, blob_len));
        let longer = [file.clone(), vec![0; more]].concat();
        prop_assert_eq!(open(&file[..len.index(file.len())]).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
        prop_assert_eq!(open(&longer).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_and_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..9000), magic: bool, len: u64) {
        if magic && bytes.len() > 10 {
            bytes[..10].copy_from_slice(b"TGSHARD\0\x01\0");
        }
        prop_assert!(ShardHeader::encoded_len(&bytes, len).is_err());
        prop_assert!(ShardHeader::decode(&bytes).is_err());
    }
}
