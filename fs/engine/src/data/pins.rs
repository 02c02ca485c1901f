//! Pins: the segments that a reader is fetching from. Compaction deletes no blob that is pinned (I4, H66).

use std::collections::HashMap;

use cache_journal::SegmentId;
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Pins(Mutex<HashMap<SegmentId, usize>>);

impl Pins {
    pub(crate) fn is_pinned(&self, segment: SegmentId) -> bool {
        self.0.lock().contains_key(&segment)
    }
}

/// Held while its reader fetches.
pub(crate) struct Pin<'a> {
    pins: &'a Pins,
    segments: Vec<SegmentId>,
}

impl<'a> Pin<'a> {
    pub(crate) fn new(pins: &'a Pins, segments: impl Iterator<Item = SegmentId>) -> Self {
        let mut segments: Vec<_> = segments.collect();
        segments.dedup();
        let mut counts = pins.0.lock();
        for segment in &segments {
            *counts.entry(*segment).or_default() += 1;
        }
        drop(counts);
        Self { pins, segments }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut counts = self.pins.0.lock();
        for segment in &self.segments {
            if let Some(count) = counts.get_mut(segment) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(segment);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_pinned_until_its_last_reader_is_done() {
        let pins = Pins::default();
        let id = |n| SegmentId(n);
        let first = Pin::new(&pins, [id(1), id(1), id(2), id(1)].into_iter());
        let second = Pin::new(&pins, [id(2)].into_iter());
        drop(first);
        assert!(!pins.is_pinned(id(1)) && pins.is_pinned(id(2)));
        drop(second);
        assert!(!pins.is_pinned(id(2)));
    }
}
