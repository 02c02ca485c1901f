use super::*;
use crate::conformance::Place;

impl Place for DurableImage {
    fn open(&self) -> Box<dyn MetaStore> {
        Box::new(DurableImage::open(self))
    }
}

crate::conformance_tests!(DurableImage::new);

#[test]
fn a_store_from_before_the_crash_cannot_flush_any_more() {
    let store = MemoryStore::new();
    let after = store.crash();
    store.begin_flush(9).unwrap();
    assert_eq!(store.finish_flush().unwrap_err().kind(), ErrorKind::StoreLocked);
    assert_eq!(after.flushed_lsn(), 0);
}

#[test]
fn adding_to_what_is_no_counter_fails_and_changes_nothing() {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    batch.put(Column::Segment, b"text", b"no counter");
    store.apply(&batch).unwrap();
    batch.clear();
    batch.put(Column::Inode, b"a", b"1");
    batch.add(Column::Segment, b"text", 1);
    assert_eq!(store.apply(&batch).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.get(Column::Inode, b"a").unwrap(), None);
}
