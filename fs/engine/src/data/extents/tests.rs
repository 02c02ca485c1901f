//! The extent map against a vector of bytes, and its accounts against a full recount.

use std::collections::BTreeMap;

use cache_journal::FrameNo;
use fs_meta::{MemoryStore, MetaStore};
use proptest::prelude::*;

use super::*;
use crate::data::records::{decode_counter, decode_frame_key};

const SPACE: u64 = 64;
const INOS: u64 = 2;

#[derive(Clone, Debug)]
enum Step {
    Write {
        ino: u64,
        ranges: Vec<Range<u64>>,
    },
    Reserve {
        ino: u64,
        range: Range<u64>,
    },
    Punch {
        ino: u64,
        ranges: Vec<Range<u64>>,
    },
    /// Every frame of this home moves.
    Compact {
        segment: u64,
    },
    Copy {
        from: u64,
        to: u64,
        at: u64,
        range: Range<u64>,
    },
}

/// What one byte of the model is: a hole, a reserved byte, or byte `n` of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Hole,
    Reserved,
    Byte(FrameId, u64),
}

fn range() -> impl Strategy<Value = Range<u64>> {
    (0..SPACE - 1, 1..=SPACE).prop_map(|(start, len)| start..(start + len).min(SPACE))
}

/// Ascending and disjoint, some of them touching.
fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    proptest::collection::btree_set(0..=SPACE, 2..8).prop_map(|cuts| {
        let cuts: Vec<u64> = cuts.into_iter().collect();
        cuts.windows(2).enumerate().filter(|(i, w)| (i + w[0] as usize) % 3 != 1).map(|(_, w)| w[0]..w[1]).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..INOS, ranges()).prop_map(|(ino, ranges)| Step::Write { ino, ranges }),
        1 => (0..INOS, range()).prop_map(|(ino, range)| Step::Reserve { ino, range }),
        1 => (0..INOS, ranges()).prop_map(|(ino, ranges)| Step::Punch { ino, ranges }),
        1 => (1..9u64).prop_map(|segment| Step::Compact { segment }),
        2 => (0..INOS, 0..INOS, range(), 0..SPACE).prop_map(|(from, to, range, at)| {
            let len = (range.end - range.start).min(SPACE - at);
            Step::Copy { from, to, at, range: range.start..range.start + len }
        }),
    ]
}

struct World {
    store: MemoryStore,
    known: KnownExtents,
    cells: Vec<Vec<Cell>>,
    frames: BTreeMap<(u64, u32), u64>,
    allocated: Vec<i64>,
    /// What compaction moved, and the next segment it fills.
    moved: BTreeMap<(u64, u32), u64>,
}

impl World {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            known: KnownExtents::default(),
            cells: vec![vec![Cell::Hole; SPACE as usize]; INOS as usize],
            frames: BTreeMap::new(),
            allocated: vec![0; INOS as usize],
            moved: BTreeMap::new(),
        }
    }

    fn home(&self, frame: FrameId) -> FrameId {
        let segment = self.moved.get(&(frame.segment.0, frame.frame.0)).copied().unwrap_or(frame.segment.0);
        FrameId { segment: SegmentId(segment), frame: frame.frame }
    }

    fn frame(&mut self, len: u64) -> FrameId {
        let n = self.frames.len() as u32;
        let id = FrameId { segment: SegmentId(1 + u64::from(n % 3)), frame: FrameNo(n) };
        self.frames.insert((id.segment.0, id.frame.0), len);
        id
    }

    fn commit(&mut self, edit: &Edit, ino: u64) {
        self.commit_frames(edit, ino, &[]);
    }

    fn commit_frames(&mut self, edit: &Edit, ino: u64, ids: &[FrameId]) {
        let (mut batch, mut unnamed) = (Batch::new(), Unnamed::default());
        edit.encode(&|frame| Ok(self.home(frame)), &mut batch, &mut unnamed).expect("encode");
        unnamed.encode(ids, &mut batch);
        self.store.apply(&batch).expect("memory store");
        self.known.follow(std::slice::from_ref(edit), ids);
        self.allocated[ino as usize] += edit.allocated();
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write { ino, ranges } => {
                let mut edit = Edit::new(ino);
                edit.clear(&self.store, &self.known, &ranges).expect("clear");
                let bytes = [0; SPACE as usize];
                let mut ids = Vec::new();
                for range in &ranges {
                    let len = range.end - range.start;
                    let frame = self.frame(len);
                    ids.push(frame);
                    edit.fill(&[FrameData { ino, offset: range.start, bytes: &bytes[..len as usize], origin: None }]);
                    for at in range.clone() {
                        self.cells[ino as usize][at as usize] = Cell::Byte(frame, at - range.start);
                    }
                }
                self.commit_frames(&edit, ino, &ids);
            }
            Step::Reserve { ino, range } => {
                let mut edit = Edit::new(ino);
                edit.clear(&self.store, &self.known, std::slice::from_ref(&range)).expect("clear");
                let extent = Extent::Reserved { len: range.end - range.start };
                edit.place(Placed { offset: range.start, extent });
                range.for_each(|at| self.cells[ino as usize][at as usize] = Cell::Reserved);
                self.commit(&edit, ino);
            }
            Step::Punch { ino, ranges } => {
                let mut edit = Edit::new(ino);
                edit.clear(&self.store, &self.known, &ranges).expect("clear");
                ranges.into_iter().flatten().for_each(|at| self.cells[ino as usize][at as usize] = Cell::Hole);
                self.commit(&edit, ino);
            }
            Step::Compact { segment } => {
                let mut batch = Batch::new();
                for (id, len) in &self.frames {
                    let frame = FrameId { segment: SegmentId(id.0), frame: FrameNo(id.1) };
                    let stored = self.store.get(Column::FrameRef, &frame_key(frame)).expect("get");
                    let change = FrameUse::stored(b"", stored.as_deref()).expect("decodes");
                    if self.home(frame).segment.0 == segment && !change.is_dead() {
                        let live = *len as i64 + change.bytes;
                        batch.add(Column::Segment, &segment_key(SegmentId(segment)), -live);
                        batch.add(Column::Segment, &segment_key(SegmentId(segment + 1)), live);
                        self.moved.insert(*id, segment + 1);
                    }
                }
                self.store.apply(&batch).expect("memory store");
            }
            Step::Copy { from, to, at, range } => {
                let target = at..at + (range.end - range.start);
                if from == to && range.start < target.end && target.start < range.end {
                    return;
                }
                let mut edit = Edit::new(to);
                edit.clear(&self.store, &self.known, std::slice::from_ref(&target)).expect("clear");
                for placed in overlapping(&self.store, from, range.clone()).expect("lookup") {
                    let mut cut = placed.cut(range.start, range.end);
                    cut.offset = cut.offset - range.start + at;
                    edit.place(cut);
                }
                let cells = self.cells[from as usize][range.start as usize..range.end as usize].to_vec();
                self.cells[to as usize][target.start as usize..target.end as usize].copy_from_slice(&cells);
                self.commit(&edit, to);
            }
        }
    }

    fn check(&self) {
        let mut uses: BTreeMap<(u64, u32), FrameUse> = BTreeMap::new();
        let mut live: BTreeMap<u64, i64> = BTreeMap::new();
        for ino in 0..INOS {
            let mut cells = vec![Cell::Hole; SPACE as usize];
            let mut allocated = 0;
            let all = starting_in(&self.store, ino, 0..u64::MAX, usize::MAX).expect("scan");
            for pair in all.windows(2) {
                assert!(pair[0].end() <= pair[1].offset, "extents overlap: {pair:?}");
            }
            for placed in all {
                allocated += placed.extent.len() as i64;
                for at in placed.offset..placed.end() {
                    cells[at as usize] = match placed.extent {
                        Extent::Reserved { .. } => Cell::Reserved,
                        Extent::Data { frame, skip, .. } => Cell::Byte(frame, at - placed.offset + u64::from(skip)),
                    };
                }
                if let Extent::Data { frame, len, skip } = placed.extent {
                    assert!(u64::from(skip + len) <= self.frames[&(frame.segment.0, frame.frame.0)]);
                    let count = uses.entry((frame.segment.0, frame.frame.0)).or_default();
                    count.refs += 1;
                    count.bytes += i64::from(len);
                    *live.entry(self.home(frame).segment.0).or_default() += i64::from(len);
                }
            }
            assert_eq!(cells, self.cells[ino as usize], "inode {ino}");
            assert_eq!(allocated, self.allocated[ino as usize], "allocated of inode {ino}");
        }
        for (id, len) in &self.frames {
            let frame = FrameId { segment: SegmentId(id.0), frame: FrameNo(id.1) };
            let stored = self.store.get(Column::FrameRef, &frame_key(frame)).expect("get");
            let change = FrameUse::stored(b"", stored.as_deref()).expect("decodes");
            let counted = uses.get(id).copied().unwrap_or_default();
            assert_eq!((change.refs + 1, change.bytes + *len as i64), (counted.refs, counted.bytes), "{frame:?}");
            assert_eq!(change.is_dead(), counted.refs == 0);
        }
        let mut stored = BTreeMap::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            let segment = u64::from_be_bytes(key.try_into().expect("a segment key"));
            stored.insert(segment, decode_counter(key, value).expect("a counter"));
            ControlFlow::Continue(())
        };
        self.store.scan(Column::Segment, &[]..&[0xff; 9], Direction::Forward, visit).expect("scan");
        stored.retain(|_, bytes| *bytes != 0);
        assert_eq!(stored, live);
        decode_frame_key(&frame_key(FrameId { segment: SegmentId(1), frame: FrameNo(2) })).expect("a frame key");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_the_bytes_of_the_model_and_exact_accounts(steps in proptest::collection::vec(step(), 1..30)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
            world.check();
        }
    }
}
