//! The suite every [`BlobStore`] passes: one function per promise of the trait, run from the implementation's tests.
//!
//! It asserts, so it belongs in tests only; it is compiled always because other crates' tests call it.

use bytes::Bytes;

use crate::{BlobClass, BlobId, BlobStore, ErrorKind};

/// Sizes around nothing, one byte, a checksum unit and a cell of 1 MiB.
const SIZES: [usize; 9] = [0, 1, 4095, 65_535, 65_536, 65_537, (1 << 20) - 1, 1 << 20, (4 << 20) + 3];

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    Bytes::from(out)
}

/// Runs the whole suite on an empty store.
///
/// # Panics
/// Where the store breaks the contract.
pub async fn blob_store(store: &dyn BlobStore) {
    missing_blobs(store).await;
    round_trips(store).await;
    ranges(store).await;
    replaces(store).await;
    lists(store).await;
    capacity(store).await;
    deletes(store).await;
}

async fn missing_blobs(store: &dyn BlobStore) {
    let id = BlobId::segment(404);
    assert_eq!(store.get(id, 0..0).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound), "get of nothing");
    assert_eq!(store.stat(id).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound), "stat of nothing");
    store.delete(id).await.expect("removing a blob that is not there succeeds");
    assert_eq!(store.list(BlobClass::Segment, None, 10).await.expect("list"), [], "an empty store lists nothing");
}

async fn round_trips(store: &dyn BlobStore) {
    for (n, size) in SIZES.into_iter().enumerate() {
        let id = BlobId::segment(n as u64 + 1);
        let whole = pattern(id.number, size);
        let cut = size / 3;
        let parts = vec![whole.slice(..cut), Bytes::new(), whole.slice(cut..)];
        store.put(id, parts).await.expect("put");
        assert_eq!(store.stat(id).await.expect("stat").len, size as u64);
        assert_eq!(store.get(id, 0..size as u64).await.expect("get"), whole, "{size} bytes");
    }
}

async fn ranges(store: &dyn BlobStore) {
    for (n, size) in SIZES.into_iter().enumerate() {
        let id = BlobId::segment(n as u64 + 1);
        let whole = pattern(id.number, size);
        for (start, end) in [(0, 1), (size / 2, size / 2), (size / 3, size / 2), (size.saturating_sub(7), size)] {
            let end = end.min(size);
            let start = start.min(end);
            let got = store.get(id, start as u64..end as u64).await.expect("range inside");
            assert_eq!(got, whole.slice(start..end), "{start}..{end} of {size}");
        }
        let past = store.get(id, 0..size as u64 + 1).await.map_err(|e| e.kind());
        assert_eq!(past, Err(ErrorKind::InvalidArgument), "past the end of {size}");
        let far = store.get(id, u64::MAX - 1..u64::MAX).await.map_err(|e| e.kind());
        assert_eq!(far, Err(ErrorKind::InvalidArgument), "far past the end of {size}");
    }
}

async fn replaces(store: &dyn BlobStore) {
    let id = BlobId::segment(3);
    for (seed, size) in [(77, 200_000), (78, 10), (79, 3_000_000)] {
        let whole = pattern(seed, size);
        store.put(id, vec![whole.clone()]).await.expect("a second put replaces the first");
        assert_eq!(store.get(id, 0..size as u64).await.expect("get"), whole);
        assert_eq!(store.stat(id).await.expect("stat").len, size as u64);
    }
}

async fn lists(store: &dyn BlobStore) {
    let other = BlobId::new(BlobClass::CheckpointPart, 2);
    store.put(other, vec![pattern(5, 50)]).await.expect("put in another class");
    let all = store.list(BlobClass::Segment, None, 100).await.expect("list");
    let expected: Vec<_> = (1..=SIZES.len() as u64).map(BlobId::segment).collect();
    assert_eq!(all, expected, "ascending, of this class only");
    let some = store.list(BlobClass::Segment, Some(2), 3).await.expect("list");
    assert_eq!(some, expected[2..5], "after is exclusive, limit holds");
    let none = store.list(BlobClass::Segment, Some(u64::MAX), 3).await.expect("list");
    assert_eq!(none, [], "nothing after the last");
    assert_eq!(store.list(BlobClass::CheckpointPart, None, 9).await.expect("list"), [other]);
    assert_eq!(store.list(BlobClass::CheckpointManifest, None, 9).await.expect("list"), []);
}

async fn capacity(store: &dyn BlobStore) {
    let capacity = store.capacity().await.expect("capacity");
    assert!(capacity.total > 0 && capacity.free <= capacity.total, "{capacity:?}");
}

async fn deletes(store: &dyn BlobStore) {
    let id = BlobId::segment(2);
    store.delete(id).await.expect("delete");
    store.delete(id).await.expect("delete again");
    assert_eq!(store.get(id, 0..0).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    assert_eq!(store.stat(id).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    let left = store.list(BlobClass::Segment, None, 100).await.expect("list");
    assert_eq!(left.len(), SIZES.len() - 1);
    assert!(!left.contains(&id));
    let again = pattern(99, 70_000);
    store.put(id, vec![again.clone()]).await.expect("put after delete");
    assert_eq!(store.get(id, 0..70_000).await.expect("get"), again);
}
