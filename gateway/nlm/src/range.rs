//! Byte ranges: from the wire and back, and the set of ranges that an owner has on one file.

use fs_api::LockRange;

use crate::protocol::Status;

/// The last byte that a file can have; a range that ends there goes on for ever.
const LAST: u64 = i64::MAX as u64;

/// The range of `length` bytes at `offset`; length 0 is to the end of the file, however it grows.
///
/// # Errors
/// `FileTooBig` where the range goes past what a file can have.
pub(crate) fn from_wire(offset: u64, length: u64) -> Result<LockRange, Status> {
    if offset > LAST {
        return Err(Status::FileTooBig);
    }
    let Some(beyond_first) = length.checked_sub(1) else { return Ok(LockRange { start: offset, end: u64::MAX }) };
    match offset.checked_add(beyond_first) {
        Some(last) if last < LAST => Ok(LockRange { start: offset, end: last + 1 }),
        Some(LAST) => Ok(LockRange { start: offset, end: u64::MAX }),
        _ => Err(Status::FileTooBig),
    }
}

/// Offset and length, as `from_wire` takes them.
pub(crate) const fn to_wire(range: LockRange) -> (u64, u64) {
    let length = if range.end == u64::MAX { 0 } else { range.end.saturating_sub(range.start) };
    (range.start, length)
}

pub(crate) const fn overlap(a: LockRange, b: LockRange) -> bool {
    a.start < b.end && b.start < a.end
}

/// Disjoint ranges in order, none touching the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<LockRange>);

impl Ranges {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether cutting `range` out makes two ranges of one.
    pub(crate) fn splits(&self, range: LockRange) -> bool {
        self.0.iter().any(|held| held.start < range.start && range.end < held.end)
    }

    pub(crate) fn add(&mut self, range: LockRange) {
        let mut joined = range;
        self.0.retain(|held| {
            let touches = held.start <= joined.end && joined.start <= held.end;
            if touches {
                joined = LockRange { start: joined.start.min(held.start), end: joined.end.max(held.end) };
            }
            !touches
        });
        self.0.push(joined);
        self.0.sort_by_key(|held| held.start);
    }

    pub(crate) fn cut(&mut self, range: LockRange) {
        let rests = |held: &LockRange| {
            let before = LockRange { start: held.start, end: held.end.min(range.start) };
            let after = LockRange { start: held.start.max(range.end), end: held.end };
            [before, after]
        };
        let kept = self.0.iter().flat_map(rests).filter(|rest| rest.start < rest.end).collect();
        self.0 = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> LockRange {
        LockRange { start, end }
    }

    #[test]
    fn h48_no_corner_of_offset_and_length_overflows() {
        assert_eq!(from_wire(0, 0), Ok(range(0, u64::MAX)));
        assert_eq!(from_wire(5, 1), Ok(range(5, 6)));
        assert_eq!(from_wire(LAST, 0), Ok(range(LAST, u64::MAX)));
        assert_eq!(from_wire(LAST, 1), Ok(range(LAST, u64::MAX)));
        assert_eq!(from_wire(0, LAST), Ok(range(0, LAST)));
        assert_eq!(from_wire(0, LAST + 1), Ok(range(0, u64::MAX)));
        for (offset, length) in [(LAST, 2), (LAST + 1, 0), (u64::MAX, u64::MAX), (1, u64::MAX), (0, LAST + 2)] {
            assert_eq!(from_wire(offset, length), Err(Status::FileTooBig), "{offset} {length}");
        }
        assert_eq!(to_wire(range(5, u64::MAX)), (5, 0));
        assert_eq!(to_wire(range(5, 9)), (5, 4));
    }

    #[test]
    fn ranges_join_where_they_touch_and_split_where_they_are_cut() {
        let mut held = Ranges::default();
        held.add(range(0, 10));
        held.add(range(20, 30));
        assert_eq!(held.count(), 2);
        held.add(range(10, 20));
        assert_eq!(held, Ranges(vec![range(0, 30)]));
        assert!(held.splits(range(5, 6)));
        for whole_or_end in [range(0, 6), range(5, 30), range(0, 30), range(30, 40), range(0, u64::MAX)] {
            assert!(!held.splits(whole_or_end), "{whole_or_end:?}");
        }
        held.cut(range(5, 6));
        assert_eq!(held, Ranges(vec![range(0, 5), range(6, 30)]));
        held.cut(range(0, u64::MAX));
        assert_eq!(held.count(), 0);
    }
}
