use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;

fn fed(records: &mut Records, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = records.room();
        let now = rest.len().min(room.capacity() - room.len());
        room.put_slice(&rest[..now]);
        rest = &rest[now..];
    }
}

#[test]
fn h39_an_announced_length_allocates_nothing() {
    let mut records = Records::new(1 << 20);
    fed(&mut records, &0x7fff_ffffu32.to_be_bytes());
    assert_eq!(records.next(), Err(Broken::RecordTooLong));
    let mut records = Records::new(1 << 20);
    fed(&mut records, &(0x8000_0000u32 | (1 << 20)).to_be_bytes());
    assert_eq!(records.next(), Ok(None));
    assert!(records.room().capacity() <= 2 * CHUNK_BYTES);
}

#[test]
fn h39_empty_and_countless_fragments_are_refused() {
    let mut records = Records::new(1 << 20);
    fed(&mut records, &[0; 4]);
    assert_eq!(records.next(), Err(Broken::FragmentEmpty));
    let mut records = Records::new(1 << 20);
    let mut outcome = Ok(None);
    for _ in 0..100_000 {
        fed(&mut records, &[0, 0, 0, 1, 7]);
        outcome = records.next();
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(Broken::TooManyFragments));
}

proptest! {
    #[test]
    fn fragments_of_any_cut_make_the_same_record(
        body in proptest::collection::vec(any::<u8>(), 1..60_000),
        cut in 1usize..20_000,
        step in 1usize..30_000,
    ) {
        let mut wire = BytesMut::new();
        let mut chunks = body.chunks(cut.max(body.len() / 500)).peekable();
        while let Some(chunk) = chunks.next() {
            let last = if chunks.peek().is_none() { LAST } else { 0 };
            wire.put_u32(chunk.len() as u32 | last);
            wire.put_slice(chunk);
        }
        let mut records = Records::new(1 << 20);
        let mut found = None;
        for part in wire.chunks(step) {
            let mut rest = part;
            while !rest.is_empty() {
                let room = records.room();
                let now = rest.len().min(room.capacity() - room.len());
                prop_assert!(now > 0);
                room.put_slice(&rest[..now]);
                rest = &rest[now..];
                if let Some(record) = records.next().unwrap() {
                    found = Some(record);
                }
            }
        }
        prop_assert_eq!(&found.unwrap()[..], &body[..]);
        prop_assert!(!records.is_partial());
    }

    #[test]
    fn random_bytes_neither_panic_nor_grow(bytes in proptest::collection::vec(any::<u8>(), 0..5_000)) {
        let mut records = Records::new(1 << 20);
        fed(&mut records, &bytes);
        while let Ok(Some(_)) = records.next() {}
        prop_assert!(records.room().capacity() <= CHUNK_BYTES * 6);
    }
}
