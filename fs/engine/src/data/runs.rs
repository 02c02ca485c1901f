//! [`Runs`]: byte runs of one file in memory, merged where they touch or overlap.

use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.end()
    }
}

/// Ascending, disjoint and not touching each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    bytes: usize,
}

impl Runs {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Puts `data` (not empty) at `offset`, over what is there; gives the end of the run that it became part of.
    pub(crate) fn insert(&mut self, offset: u64, data: &[u8]) -> u64 {
        let end = offset + data.len() as u64;
        let first = self.runs.partition_point(|run| run.end() < offset);
        let touched = self.runs.iter().skip(first).take_while(|run| run.offset <= end).count();
        let before: usize = self.runs.iter().skip(first).take(touched).map(|run| run.bytes.len()).sum();
        match self.runs.get_mut(first) {
            Some(run) if touched == 1 && run.offset <= offset => overwrite(run, offset, data),
            _ => {
                let run = merge(self.runs.drain(first..first + touched), offset, data);
                self.runs.insert(first, run);
            }
        }
        let run = self.runs.get(first).map_or(0..0, Run::range);
        self.bytes = self.bytes + (run.end - run.start) as usize - before;
        run.end
    }

    /// The parts of the runs inside `range`, ascending, each with its offset.
    pub(crate) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.runs.partition_point(|run| run.end() <= range.start);
        self.runs.iter().skip(first).take_while(move |run| run.offset < range.end).map(move |run| {
            let (from, to) = (range.start.max(run.offset), range.end.min(run.end()));
            // Both lie in the run by the choice of runs.
            (from, run.bytes.get((from - run.offset) as usize..(to - run.offset) as usize).unwrap_or_default())
        })
    }
}

/// `data` begins in `run` or right behind it.
fn overwrite(run: &mut Run, offset: u64, data: &[u8]) {
    let at = (offset - run.offset) as usize;
    let inside = data.len().min(run.bytes.len() - at);
    let (over, behind) = data.split_at(inside);
    run.bytes[at..at + inside].copy_from_slice(over);
    run.bytes.extend_from_slice(behind);
}

/// One run of `data` and of what `old` (ascending, each touching `data`) has beyond it.
fn merge(old: impl Iterator<Item = Run>, offset: u64, data: &[u8]) -> Run {
    let mut merged = Run { offset, bytes: Vec::new() };
    let end = offset + data.len() as u64;
    for run in old {
        if run.offset < offset {
            merged.offset = run.offset;
            merged.bytes.extend_from_slice(&run.bytes[..(offset - run.offset) as usize]);
        }
        if run.end() > end {
            // The last one: it reaches beyond the data, all others end inside.
            merged.bytes.extend_from_slice(data);
            merged.bytes.extend_from_slice(&run.bytes[(end - run.offset) as usize..]);
            return merged;
        }
    }
    merged.bytes.extend_from_slice(data);
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn runs_hold_the_last_bytes_written_and_never_touch(
            writes in proptest::collection::vec((0..60u64, 1..20usize, any::<u8>()), 1..20),
            from in 0..80u64, len in 0..80u64,
        ) {
            let mut runs = Runs::default();
            let mut model = vec![None; 80];
            for (offset, len, byte) in writes {
                let end = runs.insert(offset, &vec![byte; len]);
                model[offset as usize..offset as usize + len].fill(Some(byte));
                let expected = (offset as usize..80).find(|at| model[*at].is_none()).unwrap_or(80);
                prop_assert_eq!(end as usize, expected);
            }
            let mut seen = vec![None; 80];
            for run in runs.iter() {
                for (at, byte) in run.range().zip(&run.bytes) {
                    seen[at as usize] = Some(*byte);
                }
            }
            prop_assert_eq!(&seen, &model);
            prop_assert_eq!(runs.bytes(), model.iter().flatten().count());
            let all: Vec<_> = runs.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].end() < pair[1].offset));
            let mut part = [None; 80];
            for (offset, bytes) in runs.within(from..from + len) {
                part[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes.iter().map(|b| Some(*b)).collect::<Vec<_>>());
            }
            for at in 0..80u64 {
                let expected = if (from..from + len).contains(&at) { model[at as usize] } else { None };
                prop_assert_eq!(part[at as usize], expected);
            }
        }
    }
}
