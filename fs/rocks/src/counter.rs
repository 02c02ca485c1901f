//! Counters: the merge operator behind [`Batch::add`](fs_meta::Batch::add).
//!
//! A counter's value and an operand look alike, 8 bytes little-endian, and addition wraps: so any grouping gives the
//! same sum, and RocksDB may merge operands early, late or not at all.

use rocksdb::MergeOperands;

/// Recorded in the store; another name would make RocksDB refuse to open it.
pub(crate) const NAME: &str = "tidegate.add.1";

/// The sum. `None`, which RocksDB turns into a corruption error of the read, where anything is no counter.
pub(crate) fn add(_key: &[u8], value: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    sum(value.into_iter().chain(operands)).map(|sum| sum.to_le_bytes().to_vec())
}

fn sum<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<i64> {
    parts.try_fold(0i64, |sum, part| Some(sum.wrapping_add(i64::from_le_bytes(part.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_operands_are_no_sum_and_no_panic() {
        let parts = |parts: &[&'static [u8]]| sum(parts.iter().copied());
        assert_eq!(parts(&[]), Some(0));
        assert_eq!(parts(&[&[1, 0, 0, 0, 0, 0, 0, 0], &[255; 8], &[5, 0, 0, 0, 0, 0, 0, 0]]), Some(5));
        assert_eq!(parts(&[&[255, 255, 255, 255, 255, 255, 255, 127], &[1, 0, 0, 0, 0, 0, 0, 0]]), Some(i64::MIN));
        for bad in [&[] as &[u8], &[1], &[0; 7], &[0; 9]] {
            assert_eq!(parts(&[&[0; 8], bad]), None);
        }
    }
}
