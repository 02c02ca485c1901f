//! Random steps that fit the filesystem as it is: most of them succeed, some of them meet.

use std::time::Duration;

use fs_api::XattrMode;
use fs_api::{Context, Credentials, Durability, FallocateMode, FileKind, Ino, ROOT_INO, RenameMode, Target, Vfs};
use futures::FutureExt;
use objstore_env::Rng;
use objstore_env::sim::{SimRng, Survival};
use tests_model::Model;

use crate::drives::{BadDrives, DriveFault};
use crate::op::{Action, Actor, Fill, Key, Make, Op, Slot, Via};

const NAMES: &[u8] = b"abcdef";
const SLOTS: u64 = 3;

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Call(Op),
    /// Everything into the pool.
    Flush,
    Compact,
    Checkpoint,
    /// A quota on everything, which nothing reaches, or none: what is there is counted for it, and all that comes.
    Quota(Option<u64>),
    /// Lets background work happen.
    Pass(Duration),
    JumpWall(i64),
    Break(BadDrives, DriveFault),
    /// All drives are good again and get what they missed.
    Mend,
    Restart,
    Crash(Survival),
    /// The power goes at one of the next changes of the disk, in the middle of whatever runs then.
    Doom(u64),
}

/// What there is to choose from.
#[derive(Debug, Default)]
pub(crate) struct Known {
    dirs: Vec<Key>,
    files: Vec<Key>,
    all: Vec<Key>,
    names: Vec<(Key, u8)>,
    slots: Vec<Slot>,
}

impl Known {
    /// Walks the model; `key` says which node an inode is.
    pub(crate) fn of(model: &Model, key: impl Fn(Ino) -> Option<Key>, slots: Vec<Slot>) -> Self {
        let mut known = Self { slots, ..Self::default() };
        let cx = Context::new(0, Credentials::root());
        let mut pending = vec![(ROOT_INO, FileKind::Directory)];
        let mut seen = std::collections::BTreeSet::new();
        while let Some((ino, kind)) = pending.pop() {
            let Some(key_here) = key(ino).filter(|key| seen.insert(*key)) else { continue };
            known.all.push(key_here);
            match kind {
                FileKind::Regular => known.files.push(key_here),
                FileKind::Directory => {
                    known.dirs.push(key_here);
                    let listed = model.readdir(&cx, Target::inode(ino), 0, usize::MAX, false).now_or_never();
                    let listing = listed.and_then(Result::ok).unwrap_or_default();
                    for entry in listing.entries.into_iter().filter(|e| !e.name.starts_with(b".")) {
                        known.names.extend(entry.name.first().map(|name| (key_here, *name)));
                        pending.push((entry.ino, entry.kind));
                    }
                }
                _ => {}
            }
        }
        known
    }
}

pub(crate) struct Generator {
    rng: SimRng,
    next_request: u64,
    /// How this history is inclined: some are all names, some all bytes.
    bytes_percent: u64,
    crash_percent: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = SimRng::stream(seed, 100);
        let (bytes_percent, crash_percent) = (10 + rng.below(80), rng.below(7));
        Self { rng, next_request: 1, bytes_percent, crash_percent }
    }

    fn percent(&self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn pick<T: Copy>(&self, choices: &[T]) -> Option<T> {
        (!choices.is_empty()).then(|| choices[self.rng.below(choices.len() as u64) as usize])
    }

    pub(crate) fn step(&mut self, known: &Known) -> Step {
        if self.percent(self.crash_percent) {
            return self.crash();
        }
        if self.percent(12) {
            return self.background();
        }
        let action = if self.percent(self.bytes_percent) { self.bytes(known) } else { self.names(known) };
        let request = self.next_request;
        self.next_request += 1;
        // Through a handle only root works: a replay has no handles, and asks for permission anew.
        let actor = if self.percent(10) && !action.uses_handle() { Actor::User } else { Actor::Root };
        let durability = if self.percent(8) { Durability::Synced } else { Durability::Buffered };
        Step::Call(Op { request, actor, durability, action })
    }

    fn crash(&self) -> Step {
        match self.rng.below(3) {
            0 => Step::Doom(self.rng.below(120)),
            _ => Step::Crash(Survival::ALL[self.rng.below(4) as usize]),
        }
    }

    fn background(&self) -> Step {
        match self.rng.below(22) {
            0..3 => Step::Flush,
            3..5 => Step::Compact,
            5..8 => Step::Checkpoint,
            8..12 => Step::Pass(Duration::from_millis(self.rng.below(1500))),
            12 => Step::Pass(Duration::from_secs(self.rng.below(100))),
            13 => Step::JumpWall(self.rng.below(14_400_000_000_000) as i64 - 7_200_000_000_000),
            14..17 => Step::Break(BadDrives::random(&self.rng), DriveFault::random(&self.rng)),
            17 | 18 => Step::Mend,
            19 | 20 => Step::Quota(self.percent(80).then_some(1 << 50)),
            _ => Step::Restart,
        }
    }

    fn parent(&self, known: &Known) -> Key {
        self.pick(&known.dirs).unwrap_or(0)
    }

    fn name(&self) -> u8 {
        NAMES[self.rng.below(NAMES.len() as u64) as usize]
    }

    /// A name, of something that is there for the most part.
    fn there(&self, known: &Known) -> (Key, u8) {
        match self.pick(&known.names) {
            Some(place) if self.percent(85) => place,
            _ => (self.parent(known), self.name()),
        }
    }

    fn mode(&self) -> u32 {
        self.pick(&[0o644, 0o666, 0o600, 0o777, 0o4755, 0o2775, 0o1777, 0]).unwrap_or(0o644)
    }

    fn names(&self, known: &Known) -> Action {
        let node = self.pick(&known.all).unwrap_or(0);
        match self.rng.below(100) {
            0..20 => {
                let slot = self.percent(30).then(|| self.rng.below(SLOTS) as Slot);
                let slot = slot.filter(|slot| !known.slots.contains(slot));
                let exclusive = self.percent(30);
                Action::Create { parent: self.parent(known), name: self.name(), mode: self.mode(), exclusive, slot }
            }
            20..36 => {
                let what = self.pick(&[Make::Directory, Make::Directory, Make::Symlink, Make::Fifo, Make::Regular]);
                let what = what.unwrap_or(Make::Directory);
                Action::Make { parent: self.parent(known), name: self.name(), what, mode: self.mode() }
            }
            36..44 => Action::Link { node, parent: self.parent(known), name: self.name() },
            44..54 => {
                let (parent, name) = self.there(known);
                Action::Unlink { parent, name }
            }
            54..59 => {
                let (parent, name) = self.there(known);
                Action::Rmdir { parent, name }
            }
            59..76 => {
                let mode =
                    self.pick(&[RenameMode::Replace, RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange]);
                let to = if self.percent(50) { self.there(known) } else { (self.parent(known), self.name()) };
                Action::Rename { from: self.there(known), to, mode: mode.unwrap_or(RenameMode::Replace) }
            }
            76..79 => Action::Chmod { node, mode: self.mode() },
            79..81 => Action::Chown { node, uid: self.rng.below(3) as u32 * 500, gid: self.rng.below(3) as u32 * 500 },
            81..86 => {
                let mode = self.pick(&[XattrMode::Set, XattrMode::Create, XattrMode::Replace]);
                let len = self.rng.below(300) as u32;
                Action::Setxattr { node, name: self.name(), len, mode: mode.unwrap_or(XattrMode::Set) }
            }
            86..88 => Action::Removexattr { node, name: self.name() },
            88..90 => Action::Getxattr { node, name: self.name() },
            90..91 => Action::Listxattr { node },
            91..93 => Action::Readlink { node },
            93..95 => Action::Readdir { node: self.parent(known) },
            95..97 => Action::Getattr { node },
            97..99 => {
                let (parent, name) = self.there(known);
                Action::Lookup { parent, name }
            }
            _ => Action::Fsync { via: Via::Node(node), data_only: false },
        }
    }

    fn offset(&self) -> u64 {
        match self.rng.below(10) {
            0..4 => self.rng.below(8 << 10),
            4..6 => self.rng.below(128) << 12,
            6..8 => self.rng.below(600 << 10),
            8 => (256 << 10) - 3 + self.rng.below(6),
            _ => self.rng.below(1 << 40),
        }
    }

    fn fill(&self) -> Fill {
        let len = match self.rng.below(20) {
            0..12 => self.rng.below(5000),
            12..17 => self.rng.below(70_000),
            17 => 64 << 10,
            _ => self.rng.below(400_000),
        };
        Fill { len: len as u32, plain: self.percent(50) }
    }

    fn bytes(&self, known: &Known) -> Action {
        let Some(file) = self.pick(&known.files) else {
            let slot = None;
            return Action::Create {
                parent: self.parent(known),
                name: self.name(),
                mode: 0o644,
                exclusive: false,
                slot,
            };
        };
        let via = match self.pick(&known.slots) {
            Some(slot) if self.percent(40) => Via::Handle(slot),
            _ => Via::Node(file),
        };
        match self.rng.below(100) {
            0..40 => Action::Write { via, offset: self.offset(), fill: self.fill() },
            40..54 => Action::Read { via, offset: self.offset(), len: self.rng.below(400_000) as u32 },
            54..60 => Action::Truncate { via, size: self.offset() },
            60..68 => self.fallocate(via),
            68..76 => {
                // An unlinked source would be gone when a history is replayed in the order of its commits.
                let (from, to) = (Via::Node(file), Via::Node(self.pick(&known.files).unwrap_or(file)));
                let len = 1 + self.rng.below(300_000);
                Action::CopyRange { from, from_offset: self.offset(), to, to_offset: self.offset(), len }
            }
            76..84 => Action::Fsync { via, data_only: self.percent(50) },
            84..86 => Action::Sync,
            86..92 => {
                let slot = self.rng.below(SLOTS) as Slot;
                let (append, sync) = (self.percent(30), self.percent(20));
                match known.slots.contains(&slot) {
                    true => Action::Close { slot },
                    false => Action::Open { node: file, slot, append, sync },
                }
            }
            92..97 => Action::Getattr { node: file },
            _ => self.pick(&known.slots).map_or(Action::Sync, |slot| Action::Close { slot }),
        }
    }

    fn fallocate(&self, via: Via) -> Action {
        let mode = match self.rng.below(4) {
            0 => FallocateMode::Allocate { keep_size: self.percent(50) },
            1 => FallocateMode::ZeroRange { keep_size: self.percent(50) },
            _ => FallocateMode::PunchHole,
        };
        Action::Fallocate { via, offset: self.offset(), len: 1 + self.rng.below(500_000), mode }
    }
}
