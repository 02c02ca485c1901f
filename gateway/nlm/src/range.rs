//! Byte ranges: from the wire and back, and the set of ranges that an owner has on one file.

use fs_api::{LockKind, LockRange};

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

/// Disjoint ranges in order, none touching the next of its kind: as many as the table of locks has of this owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(LockRange, LockKind)>);

impl Ranges {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether cutting `range` out makes two ranges of one.
    pub(crate) fn splits(&self, range: LockRange) -> bool {
        self.0.iter().any(|(held, _)| held.start < range.start && range.end < held.end)
    }

    /// Takes the place of what was held there as another kind.
    pub(crate) fn add(&mut self, range: LockRange, kind: LockKind) {
        let mut joined = range;
        let mut kept = Vec::with_capacity(self.0.len() + 2);
        for (held, held_as) in self.0.drain(..) {
            if held_as == kind && held.start <= joined.end && joined.start <= held.end {
                joined = LockRange { start: joined.start.min(held.start), end: joined.end.max(held.end) };
            } else {
                kept.extend(outside(held, range).map(|rest| (rest, held_as)));
            }
        }
        kept.push((joined, kind));
        kept.sort_by_key(|(held, _)| held.start);
        self.0 = kept;
    }

    pub(crate) fn cut(&mut self, range: LockRange) {
        let rests = |(held, held_as): &(LockRange, LockKind)| {
            let held_as = *held_as;
            outside(*held, range).map(move |rest| (rest, held_as))
        };
        self.0 = self.0.iter().flat_map(rests).collect();
    }
}

/// What is left of `held` when `range` is cut out of it.
fn outside(held: LockRange, range: LockRange) -> impl Iterator<Item = LockRange> {
    let before = LockRange { start: held.start, end: held.end.min(range.start) };
    let after = LockRange { start: held.start.max(range.end), end: held.end };
    [before, after].into_iter().filter(|rest| rest.start < rest.end)
}

#[cfg(test)]
mod tests {
    use fs_api::LockKind::{Exclusive, Shared};

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

    fn exclusive(ranges: &[(u64, u64)]) -> Ranges {
        Ranges(ranges.iter().map(|(start, end)| (range(*start, *end), Exclusive)).collect())
    }

    #[test]
    fn ranges_join_where_they_touch_and_split_where_they_are_cut() {
        let mut held = Ranges::default();
        held.add(range(0, 10), Exclusive);
        held.add(range(20, 30), Exclusive);
        assert_eq!(held.count(), 2);
        held.add(range(10, 20), Exclusive);
        assert_eq!(held, exclusive(&[(0, 30)]));
        assert!(held.splits(range(5, 6)));
        for whole_or_end in [range(0, 6), range(5, 30), range(0, 30), range(30, 40), range(0, u64::MAX)] {
            assert!(!held.splits(whole_or_end), "{whole_or_end:?}");
        }
        held.cut(range(5, 6));
        assert_eq!(held, exclusive(&[(0, 5), (6, 30)]));
        held.cut(range(0, u64::MAX));
        assert_eq!(held.count(), 0);
    }

    #[test]
    fn a_range_of_another_kind_takes_its_place_and_is_a_range_of_its_own() {
        let mut held = Ranges::default();
        held.add(range(0, 30), Shared);
        held.add(range(10, 20), Exclusive);
        let three = [(range(0, 10), Shared), (range(10, 20), Exclusive), (range(20, 30), Shared)];
        assert_eq!(held, Ranges(three.to_vec()));
        assert!(!held.splits(range(10, 20)));
        held.add(range(20, 25), Exclusive);
        held.add(range(5, 10), Exclusive);
        assert_eq!(held, Ranges(vec![(range(0, 5), Shared), (range(5, 25), Exclusive), (range(25, 30), Shared)]));
        held.add(range(0, 30), Shared);
        assert_eq!(held, Ranges(vec![(range(0, 30), Shared)]));
    }
}
