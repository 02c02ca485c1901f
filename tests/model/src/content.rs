//! The bytes of a file: runs of data and of reserved zeros, holes between them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    Data(Bytes),
    /// Reads as zeros and takes space; a hole for `seek`.
    Reserved(u64),
}

impl Run {
    fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Reserved(len) => *len,
        }
    }

    /// The part of a run that starts at `start` which lies in `range`.
    fn cut(&self, start: u64, range: Range<u64>) -> Self {
        let (from, to) = (range.start - start, range.end - start);
        match self {
            Self::Data(bytes) => Self::Data(bytes.slice(from as usize..to as usize)),
            Self::Reserved(_) => Self::Reserved(to - from),
        }
    }
}

/// Size and runs; no two runs overlap, none is empty. Runs may lie past the size (`fallocate` with keep-size).
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    runs: BTreeMap<u64, Run>,
}

impl Content {
    fn overlapping(&self, range: Range<u64>) -> Vec<(Range<u64>, Run)> {
        let runs = self.runs.range(..range.end).map(|(start, run)| (*start..start + run.len(), run));
        runs.filter(|(run, _)| run.end > range.start)
            .map(|(at, run)| {
                let cut = at.start.max(range.start)..at.end.min(range.end);
                (cut.clone(), run.cut(at.start, cut))
            })
            .collect()
    }

    /// Makes `range` a hole.
    pub(crate) fn punch(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let before = self.overlapping(0..range.start);
        let after = self.overlapping(range.end..u64::MAX);
        self.runs = before.into_iter().chain(after).map(|(at, run)| (at.start, run)).collect();
    }

    fn place(&mut self, start: u64, run: Run) {
        self.punch(start..start + run.len());
        self.runs.insert(start, run);
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        self.place(offset, Run::Data(Bytes::copy_from_slice(data)));
        self.size = self.size.max(offset + data.len() as u64);
    }

    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let range = range.start..range.end.min(self.size).max(range.start);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        for (at, run) in self.overlapping(range.clone()) {
            if let Run::Data(data) = run {
                bytes[(at.start - range.start) as usize..(at.end - range.start) as usize].copy_from_slice(&data);
            }
        }
        bytes
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if size <= self.size {
            self.punch(size..u64::MAX);
        }
        self.size = size;
    }

    /// Reserves what of `range` is a hole.
    pub(crate) fn reserve(&mut self, range: Range<u64>) {
        let taken = self.overlapping(range.clone());
        self.place(range.start, Run::Reserved(range.end - range.start));
        for (at, run) in taken {
            self.place(at.start, run);
        }
    }

    /// `range` reads as zeros and is reserved.
    pub(crate) fn zero(&mut self, range: Range<u64>) {
        self.place(range.start, Run::Reserved(range.end - range.start));
    }

    /// Copies the data of `range` of `source`, holes as holes.
    pub(crate) fn copy_from(&mut self, source: &Self, range: Range<u64>, to: u64) {
        let runs = source.overlapping(range.clone());
        let len = range.end - range.start;
        self.punch(to..to + len);
        for (at, run) in runs {
            if matches!(run, Run::Data(_)) {
                self.place(to + (at.start - range.start), run);
            }
        }
        self.size = self.size.max(to + len);
    }

    pub(crate) fn allocated(&self) -> u64 {
        self.runs.values().map(Run::len).sum()
    }

    fn data(&self) -> impl Iterator<Item = Range<u64>> {
        let runs = self.runs.iter().filter(|(_, run)| matches!(run, Run::Data(_)));
        runs.map(|(start, run)| *start..(start + run.len()).min(self.size)).filter(|run| !run.is_empty())
    }

    /// The first byte of data at or after `at`.
    pub(crate) fn seek_data(&self, at: u64) -> Option<u64> {
        self.data().find(|run| run.end > at).map(|run| run.start.max(at))
    }

    /// The first byte of a hole at or after `at`; the end of the file is one.
    pub(crate) fn seek_hole(&self, at: u64) -> u64 {
        let mut end = at;
        for run in self.data().filter(|run| run.end > at) {
            if run.start > end {
                break;
            }
            end = run.end;
        }
        end.min(self.size).max(at)
    }
}

/// Equal where every read and every `stat` is; how the data is cut into runs does not show.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        let same = |runs: Range<u64>| self.read(runs.clone()) == other.read(runs);
        self.size == other.size && self.allocated() == other.allocated() && self.data().chain(other.data()).all(same)
    }
}
