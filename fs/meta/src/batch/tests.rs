use objstore_base::ErrorKind;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put(Column, Vec<u8>, Vec<u8>),
    Delete(Column, Vec<u8>),
    Add(Column, Vec<u8>, i64),
    DeleteRange(Column, Vec<u8>, Vec<u8>),
}

impl Op {
    fn write(&self, batch: &mut Batch) {
        match self {
            Self::Put(column, key, value) => batch.put(*column, key, value),
            Self::Delete(column, key) => batch.delete(*column, key),
            Self::Add(column, key, delta) => batch.add(*column, key, *delta),
            Self::DeleteRange(column, start, end) => batch.delete_range(*column, start, end),
        }
    }

    fn view(&self) -> BatchOp<'_> {
        match self {
            Self::Put(column, key, value) => BatchOp::Put { column: *column, key, value },
            Self::Delete(column, key) => BatchOp::Delete { column: *column, key },
            Self::Add(column, key, delta) => BatchOp::Add { column: *column, key, delta: *delta },
            Self::DeleteRange(column, start, end) => BatchOp::DeleteRange { column: *column, start, end },
        }
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn op() -> impl Strategy<Value = Op> {
    let column = prop::sample::select(Column::ALL.as_slice());
    (column, 0..4, bytes(), bytes(), any::<i64>()).prop_map(|(column, tag, key, value, delta)| match tag {
        0 => Op::Put(column, key, value),
        1 => Op::Delete(column, key),
        2 => Op::Add(column, key, delta),
        _ => Op::DeleteRange(column, key, value),
    })
}

fn encode(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    ops.iter().for_each(|op| op.write(&mut batch));
    batch
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(ops in prop::collection::vec(op(), 0..20), cut in 0usize..20) {
        let whole = encode(&ops);
        let read = whole.ops().collect::<Result<Vec<_>>>().unwrap();
        prop_assert_eq!(read, ops.iter().map(Op::view).collect::<Vec<_>>());
        prop_assert_eq!(&Batch::decode(whole.as_bytes()).unwrap(), &whole);
        prop_assert_eq!(whole.is_empty(), ops.is_empty());

        let (head, tail) = ops.split_at(cut.min(ops.len()));
        let mut joined = encode(head);
        joined.append(&encode(tail));
        prop_assert_eq!(joined, whole);
    }

    #[test]
    fn garbage_is_an_error_or_a_batch_but_never_a_panic(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = Batch::decode(&garbage) {
            prop_assert!(batch.ops().all(|op| op.is_ok()));
            prop_assert_eq!(batch.as_bytes(), garbage);
        }
    }

    #[test]
    fn a_damaged_batch_is_an_error_or_a_batch_but_never_a_panic(
        ops in prop::collection::vec(op(), 1..8), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut encoded = encode(&ops).as_bytes().to_vec();
        let at = at.index(encoded.len());
        encoded[at] = to;
        if let Err(e) = Batch::decode(&encoded) {
            prop_assert_eq!(e.kind(), ErrorKind::Corrupt);
        }
    }

    /// An operation cut short never passes for a shorter one.
    #[test]
    fn a_truncated_operation_is_corrupt(op in op(), cut in any::<prop::sample::Index>()) {
        let encoded = encode(std::slice::from_ref(&op));
        let cut = cut.index(encoded.as_bytes().len());
        if cut > 0 {
            let e = Batch::decode(&encoded.as_bytes()[..cut]).unwrap_err();
            prop_assert_eq!(e.kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn reading_stops_at_the_first_error() {
    let mut batch = Batch::new();
    batch.delete(Column::Inode, b"k");
    let mut encoded = batch.as_bytes().to_vec();
    encoded.extend_from_slice(&[9, 1, 0, 0, 2, 1, 0, 0]);
    let ops: Vec<_> = BatchReader::new(&encoded).collect();
    assert_eq!(ops.len(), 2);
    assert_eq!(ops[1].as_ref().unwrap_err().to_string(), "decode batch: unknown operation at byte 9 of 13");
}

/// These bytes lie in journals and in the pool: they must decode for ever.
#[test]
fn encoding_of_version_1_is_fixed() {
    let mut batch = Batch::new();
    batch.put(Column::Inode, b"key", b"value");
    batch.delete(Column::DentryOrder, b"");
    batch.add(Column::System, b"n", -2);
    batch.delete_range(Column::Extent, b"a", b"zz");
    let golden = [
        b"\x01\x01\x03\x00key\x05\x00\x00\x00value".as_slice(),
        b"\x02\x03\x00\x00",
        b"\x03\x0a\x01\x00n\xfe\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x04\x01\x00a\x02\x00zz",
    ]
    .concat();
    assert_eq!(batch.as_bytes(), golden);
    for column in Column::ALL {
        assert_eq!(Column::from_tag(column as u8), Some(column));
        assert_eq!(Column::ALL[column.index()], column);
    }
    assert_eq!(Column::from_tag(0), None);
    assert_eq!(Column::from_tag(11), None);
}
