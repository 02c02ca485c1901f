//! F7: random operations at the limit, crashes among them. What is refused did not fit, what is taken never passes the
//! limit, and the use equals a recount.

use std::collections::BTreeMap;

use fs_api::{FallocateMode, Ino, NewNode, OpenFlags, ROOT_INO, RenameMode, Target, Vfs};
use objstore_base::ErrorKind;

use super::world::{World, noise};
use crate::QuotaLimits;

const OPERATIONS: u64 = 10_000;
const LIMITS: QuotaLimits = QuotaLimits { bytes: Some(1 << 20), inodes: Some(16) };
/// Operations between two recounts.
const RECOUNT: u64 = 250;

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Run {
    world: World,
    chance: Chance,
    top: Ino,
    /// Files under the quota and beside it, and what is open of them.
    open: BTreeMap<Ino, fs_api::HandleId>,
    refused: u64,
    crashes: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let top = world.mkdir(ROOT_INO, "top");
        world.mkdir(top, "inner");
        world.set_quota(top, LIMITS.bytes, LIMITS.inodes).expect("set");
        world.sync();
        Self { world, chance: Chance(seed), top, open: BTreeMap::new(), refused: 0, crashes: 0 }
    }

    fn place(&mut self) -> (Ino, String) {
        let inner = self.world.runtime.block_on(self.world.engine.lookup(&self.world.cx(), self.top, b"inner"));
        let inner = inner.map_or(self.top, |attr| attr.ino);
        let directory = [self.top, self.top, inner, inner, ROOT_INO][self.chance.below(5) as usize];
        (directory, format!("n{}", self.chance.below(10)))
    }

    /// A file at a random place; there or not.
    fn file(&mut self) -> Option<Ino> {
        let (directory, name) = self.place();
        let found = self.world.runtime.block_on(self.world.engine.lookup(&self.world.cx(), directory, name.as_bytes()));
        found.ok().filter(|attr| attr.kind == fs_api::FileKind::Regular).map(|attr| attr.ino)
    }

    fn offset(&mut self) -> u64 {
        match self.chance.below(3) {
            0 => self.chance.below(4) << 16,
            1 => self.chance.below(300_000),
            _ => self.chance.below(1 << 20),
        }
    }

    fn len(&mut self) -> u64 {
        1 + match self.chance.below(4) {
            0 => self.chance.below(300_000),
            1 => self.chance.below(70_000),
            _ => self.chance.below(4000),
        }
    }

    fn step(&mut self) {
        match self.chance.below(100) {
            0..20 => self.make(),
            20..46 => self.write(),
            46..52 => self.cut(),
            52..62 => self.allocate(),
            62..68 => self.copy(),
            68..76 => self.rename(),
            76..79 => {
                let ((to, name), file) = (self.place(), self.file());
                let linked = file.map_or(Ok(()), |file| self.world.link(file, to, &name));
                assert!(matches!(linked, Ok(()) | Err(ErrorKind::Exists | ErrorKind::CrossDevice)), "{linked:?}");
            }
            79..85 => {
                let (directory, name) = self.place();
                let gone = self.world.unlink_in(directory, &name);
                assert!(!matches!(gone, Err(ErrorKind::QuotaExceeded)), "a removal is never refused");
            }
            85..95 => self.open_or_close(),
            95..98 => self.world.sync(),
            98 => self.world.engine.drain_orphans().map(drop).expect("drained"),
            _ => self.compact(),
        }
    }

    fn make(&mut self) {
        let (directory, name) = self.place();
        let node = match self.chance.below(6) {
            0 => NewNode::Symlink("target".into()),
            1 => NewNode::Fifo,
            _ => NewNode::Regular,
        };
        let before = self.world.quota(self.top).inodes;
        if self.world.make(directory, &name, node) == Err(ErrorKind::QuotaExceeded) {
            self.refused += 1;
            assert!(directory != ROOT_INO && Some(before) >= LIMITS.inodes, "{before} inodes, and no more?");
        }
    }

    fn write(&mut self) {
        let Some(file) = self.file() else { return };
        let (offset, len, seed) = (self.offset(), self.len(), self.chance.0);
        let outcome = self.world.try_write(file, offset, &noise(seed, len as usize));
        self.judge(file, len, outcome, "write");
    }

    /// What was refused did not fit, whatever part of it was there already.
    fn judge(&mut self, file: Ino, wanted: u64, outcome: Result<(), ErrorKind>, what: &str) {
        match outcome {
            Ok(()) => {}
            Err(ErrorKind::QuotaExceeded) => {
                self.refused += 1;
                let quota = self.world.engine.quota(file).expect("it is there").expect("only a quota refuses");
                assert!(Some(quota.bytes + wanted) > LIMITS.bytes, "{what} of {wanted} refused at {quota:?}");
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    fn cut(&mut self) {
        let Some(file) = self.file() else { return };
        let size = self.offset();
        self.world.truncate(file, size);
    }

    fn allocate(&mut self) {
        let Some(file) = self.file() else { return };
        let (offset, len) = (self.offset(), self.len());
        let keep_size = self.chance.below(2) == 0;
        let mode = match self.chance.below(4) {
            0 => FallocateMode::Allocate { keep_size },
            1 => FallocateMode::ZeroRange { keep_size },
            _ => FallocateMode::PunchHole,
        };
        let outcome = self.world.fallocate(file, offset, len, mode);
        self.judge(file, len, outcome, "fallocate");
    }

    fn copy(&mut self) {
        let (Some(from), Some(to)) = (self.file(), self.file()) else { return };
        let (from_at, to_at, len) = (self.offset(), self.offset(), self.len());
        match self.world.copy(from, from_at, to, to_at, len) {
            // Source and target overlap.
            Err(ErrorKind::InvalidArgument) => assert_eq!(from, to),
            outcome => self.judge(to, len, outcome.map(drop), "copy"),
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.place(), self.place());
        let mode = [RenameMode::Replace, RenameMode::Exchange][self.chance.below(2) as usize];
        let outcome = self.world.rename((from.0, &from.1), (to.0, &to.1), mode);
        let across = (from.0 == ROOT_INO) != (to.0 == ROOT_INO);
        assert!(outcome != Err(ErrorKind::CrossDevice) || across, "{from:?} {to:?}");
        assert!(outcome != Err(ErrorKind::QuotaExceeded), "a rename takes nothing");
    }

    fn open_or_close(&mut self) {
        let Some(file) = self.file() else { return };
        let (engine, cx) = (&self.world.engine, self.world.cx());
        match self.open.remove(&file) {
            Some(handle) => self.world.runtime.block_on(engine.release(&cx, file, handle)).expect("closed"),
            None => {
                let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
                let handle = self.world.runtime.block_on(engine.open(&cx, file, flags)).expect("opened").id;
                let read = self.world.runtime.block_on(engine.read(&cx, Target::opened(file, handle), 0, 1 << 20));
                read.expect("what was accepted can be read");
                self.open.insert(file, handle);
            }
        }
    }

    fn compact(&self) {
        self.world.upload();
        for _ in 0..4 {
            self.world.runtime.block_on(self.world.engine.compact_step()).expect("compacted");
        }
    }

    fn restart(self, orderly: bool) -> Self {
        let Self { world, chance, top, refused, crashes, .. } = self;
        let crashes = crashes + u64::from(!orderly);
        Self { world: world.again(orderly), chance, top, open: BTreeMap::new(), refused, crashes }
    }

    /// The use is what a recount says, in memory as in the index.
    fn recount(&self) {
        self.world.check();
        let meta = &*self.world.engine.meta;
        let inodes = super::super::check::stored_inodes(meta).expect("read");
        let mine = || inodes.values().filter(|inode| inode.project == crate::ProjectId(1));
        let quota = self.world.quota(self.top);
        assert_eq!((quota.bytes, quota.inodes), (mine().map(|i| i.allocated).sum(), mine().count() as u64));
    }

    fn within_limits(&self) {
        let quota = self.world.quota(self.top);
        assert!(Some(quota.bytes) <= LIMITS.bytes && Some(quota.inodes) <= LIMITS.inodes, "{quota:?}");
    }
}

#[test]
fn f07_ten_thousand_operations_at_the_limit_and_the_recount_differs_by_nothing() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x7a11_5eed_u64);
    println!("SEED={seed}");
    let mut run = Run::new(seed | 1);
    for n in 1..=OPERATIONS {
        run.step();
        run.within_limits();
        if n % RECOUNT == 0 {
            run.recount();
        }
        if n % 700 == 0 {
            let orderly = run.chance.below(3) == 0;
            run = run.restart(orderly);
            run.within_limits();
            run.recount();
        }
    }
    run.recount();
    assert!(run.refused > 200 && run.crashes > 4, "{} refused, {} crashes: too tame", run.refused, run.crashes);
}
