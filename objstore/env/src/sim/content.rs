//! A file as a process sees it, as the medium holds it, and everything between the two.
//!
//! Unsynced writes are kept as operations: what a power cut leaves is computed from them. A sector is never torn; every
//! sector ends in any of the states it went through since the last sync, independently of its neighbours, as page
//! write-back in any order can leave it. The length ends in any state it went through, and a shrink that lasts
//! takes the bytes of before with it (a journalling filesystem orders the metadata of one inode).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use super::pages::{PAGE_BYTES, Pages, SECTOR_BYTES, Sector, touched};
use super::survival::Chooser;

#[derive(Clone)]
enum Unsynced {
    Write { offset: u64, bytes: Bytes },
    SetLen(u64),
}

#[derive(Clone, Default)]
pub(super) struct Content {
    live: Pages,
    durable: Pages,
    /// In the order of the calls, each with its place in the order of the whole disk.
    unsynced: Vec<(u64, Unsynced)>,
    /// Page ranges with blocks reserved, apart from each other, ascending.
    reserved: Vec<Range<u64>>,
    /// Pages that are reserved or hold bytes.
    occupied: u64,
}

impl Content {
    pub(super) const fn len(&self) -> u64 {
        self.live.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        self.live.read(buf, offset)
    }

    pub(super) fn write(&mut self, sequence: u64, offset: u64, bytes: &Bytes) {
        self.occupied += self.growth(offset..offset + bytes.len() as u64);
        self.live.write(bytes, offset);
        self.unsynced.push((sequence, Unsynced::Write { offset, bytes: bytes.clone() }));
    }

    pub(super) fn set_len(&mut self, sequence: u64, len: u64) {
        if len < self.live.len() {
            let keep = len.div_ceil(PAGE_BYTES as u64);
            self.reserved.retain_mut(|range| {
                range.end = range.end.min(keep);
                range.start < range.end
            });
        }
        let shrinks = len < self.live.len();
        self.live.set_len(len);
        if shrinks {
            self.occupied = self.recount();
        }
        self.unsynced.push((sequence, Unsynced::SetLen(len)));
    }

    pub(super) fn reserve(&mut self, sequence: u64, range: Range<u64>) {
        self.occupied += self.growth(range.clone());
        let mut merged = pages_of(&range);
        self.reserved.retain(|old| {
            let apart = old.end < merged.start || merged.end < old.start;
            if !apart {
                merged = merged.start.min(old.start)..merged.end.max(old.end);
            }
            apart
        });
        let at = self.reserved.partition_point(|old| old.start < merged.start);
        self.reserved.insert(at, merged);
        if range.end > self.live.len() {
            self.set_len(sequence, range.end);
        }
    }

    /// Pages of blocks that the file occupies.
    pub(super) const fn occupied(&self) -> u64 {
        self.occupied
    }

    /// Pages that writing or reserving `range` would add.
    pub(super) fn growth(&self, range: Range<u64>) -> u64 {
        let pages = pages_of(&range);
        pages.filter(|&page| !self.is_reserved(page) && !self.live.has(page)).count() as u64
    }

    fn recount(&self) -> u64 {
        let reserved: u64 = self.reserved.iter().map(|range| range.end - range.start).sum();
        reserved + self.live.numbers().filter(|&page| !self.is_reserved(page)).count() as u64
    }

    fn is_reserved(&self, page: u64) -> bool {
        let after = self.reserved.partition_point(|range| range.start <= page);
        after > 0 && page < self.reserved[after - 1].end
    }

    pub(super) fn sync(&mut self) {
        let mut pages = BTreeSet::new();
        for (_, change) in self.unsynced.drain(..) {
            match change {
                Unsynced::Write { offset, bytes } => pages.extend(touched(offset, bytes.len(), PAGE_BYTES)),
                Unsynced::SetLen(len) => {
                    // A shrink in between must not leave old pages behind that a later growth would show.
                    self.durable.set_len(len);
                    pages.insert(len / PAGE_BYTES as u64);
                }
            }
        }
        for page in pages {
            self.durable.take_page(&self.live, page);
        }
        self.durable.cut(self.live.len());
    }

    /// The medium after a failed sync: some of the unsynced bytes arrived, the rest never will, and the cache calls
    /// all of them clean. Reads still see them.
    pub(super) fn lose(&mut self, chooser: &mut Chooser) {
        self.durable = self.survivor(chooser);
        self.unsynced.clear();
    }

    /// Reads see the medium again, plus what is unsynced: as after memory pressure.
    pub(super) fn drop_cache(&mut self) {
        let mut live = self.durable.clone();
        for (_, change) in &self.unsynced {
            match change {
                Unsynced::Write { offset, bytes } => live.write(bytes, *offset),
                Unsynced::SetLen(len) => live.set_len(*len),
            }
        }
        self.live = live;
        self.occupied = self.recount();
    }

    /// Changes bytes on the medium and in the cache alike, as rot or a meddling hand does.
    pub(super) fn poke(&mut self, offset: u64, bytes: &[u8]) {
        for pages in [&mut self.durable, &mut self.live] {
            let len = pages.len();
            pages.write(bytes, offset);
            pages.set_len(len);
        }
        self.occupied = self.recount();
    }

    pub(super) fn first_unsynced(&self) -> Option<u64> {
        self.unsynced.first().map(|(sequence, _)| *sequence)
    }

    /// The file after a power cut: nothing is unsynced any more.
    pub(super) fn crash(&self, chooser: &mut Chooser) -> Self {
        let durable = self.survivor(chooser);
        let mut reserved = self.reserved.clone();
        let keep = durable.len().div_ceil(PAGE_BYTES as u64);
        reserved.retain_mut(|range| {
            range.end = range.end.min(keep);
            range.start < range.end
        });
        let mut after = Self { live: durable.clone(), durable, unsynced: Vec::new(), reserved, occupied: 0 };
        after.occupied = after.recount();
        after
    }

    fn survivor(&self, chooser: &mut Chooser) -> Pages {
        if self.unsynced.is_empty() {
            return self.durable.clone();
        }
        // Length and shrinks come from one prefix of the operations; sectors each choose for themselves.
        let lasting = chooser.lasting(self.unsynced.iter().map(|(sequence, _)| *sequence));
        let mut base = self.durable.clone();
        let mut working = self.durable.clone();
        let mut versions: BTreeMap<u64, Vec<(u64, Sector)>> = BTreeMap::new();
        let mut len = base.len();
        for (index, (sequence, change)) in self.unsynced.iter().enumerate() {
            let lasts = index < lasting;
            match change {
                Unsynced::Write { offset, bytes } => {
                    working.write(bytes, *offset);
                    for sector in touched(*offset, bytes.len(), SECTOR_BYTES) {
                        versions.entry(sector).or_default().push((*sequence, working.sector(sector)));
                    }
                }
                Unsynced::SetLen(new) => {
                    let shrinks = *new < working.len();
                    working.set_len(*new);
                    if lasts && shrinks {
                        base.set_len((*new).min(base.len()));
                        forget_after(&mut versions, *new, &working);
                    }
                }
            }
            if lasts {
                len = working.len();
            }
        }
        for (sector, versions) in versions {
            let kept = chooser.version(versions.iter().map(|(sequence, _)| *sequence));
            if let Some((_, bytes)) = kept.checked_sub(1).and_then(|last| versions.get(last)) {
                base.put_sector(sector, bytes);
            }
        }
        base.cut(len);
        base
    }
}

fn pages_of(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64)
}

/// A lasting shrink to `len`: what was written past it before is gone; the sector it cuts keeps its first part.
fn forget_after(versions: &mut BTreeMap<u64, Vec<(u64, Sector)>>, len: u64, working: &Pages) {
    versions.split_off(&len.div_ceil(SECTOR_BYTES as u64));
    if let Some(cut) = versions.get_mut(&(len / SECTOR_BYTES as u64)) {
        // Each earlier state of the sector ends where the file now ends.
        let tail = (len % SECTOR_BYTES as u64) as usize;
        for (_, bytes) in cut.iter_mut() {
            bytes[tail..].fill(0);
        }
        debug_assert!(working.sector(len / SECTOR_BYTES as u64)[tail..].iter().all(|&byte| byte == 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::sim::SimRng;

    #[test]
    fn occupied_pages_equal_a_recount_after_any_history() {
        for seed in 0..200 {
            let rng = SimRng::new(seed);
            let mut content = Content::default();
            for sequence in 0..40 {
                let (offset, len) = (rng.below(60_000), rng.below(20_000));
                match rng.below(5) {
                    0 | 1 => content.write(sequence, offset, &Bytes::from(vec![1; len as usize])),
                    2 => content.set_len(sequence, offset),
                    3 => content.reserve(sequence, offset..offset + len + 1),
                    _ => content.sync(),
                }
                assert_eq!(content.occupied, content.recount(), "seed {seed} step {sequence}");
                assert!(content.reserved.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", content.reserved);
            }
        }
    }
}
