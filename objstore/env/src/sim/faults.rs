//! Faults by rule: where, on which calls, when, and what happens.

use std::ops::BitOr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;

/// A set of kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ops(u16);

impl Ops {
    /// Opening what is there.
    pub const OPEN: Self = Self(1);
    pub const CREATE: Self = Self(1 << 1);
    pub const READ: Self = Self(1 << 2);
    pub const WRITE: Self = Self(1 << 3);
    /// `allocate` and `set_len`.
    pub const RESIZE: Self = Self(1 << 4);
    pub const SYNC: Self = Self(1 << 5);
    pub const SYNC_DIR: Self = Self(1 << 6);
    /// `metadata`, `list`, `len` and `space`.
    pub const LOOK: Self = Self(1 << 7);
    pub const REMOVE: Self = Self(1 << 8);
    pub const RENAME: Self = Self(1 << 9);
    pub const MAKE_DIR: Self = Self(1 << 10);
    pub const LOCK: Self = Self(1 << 11);
    pub const ALL: Self = Self((1 << 12) - 1);
    /// What a filesystem that is mounted read-only refuses.
    pub const CHANGES: Self =
        Self(Self::CREATE.0 | Self::WRITE.0 | Self::RESIZE.0 | Self::REMOVE.0 | Self::RENAME.0 | Self::MAKE_DIR.0);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Ops {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which of the matching calls are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The n-th, counted from 1, and no other.
    Nth(u64),
    /// The n-th, counted from 1, and all after it.
    From(u64),
    /// Each with this chance in a million.
    PerMillion(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call fails and does nothing.
    Errno(i32),
    /// A write fails after a part of it was done; another call fails as by `Errno`.
    Partial(i32),
    /// A sync fails with EIO and takes unsynced content with it: reads still see it, later syncs succeed, and it
    /// is gone after a crash. Another call fails with EIO.
    LoseSync,
    /// A sync says that it succeeded and does nothing: a disk with a volatile cache that lies. No program survives it;
    /// a test that does not notice it tests nothing. Another call fails with EIO.
    IgnoreSync,
    /// A read gives one wrong bit; the medium is as it was.
    FlipBit,
    /// The call takes this much longer (see `SimTasks::blocking`).
    Delay(Duration),
}

impl Effect {
    /// What a call reports that has no special part in the effect.
    pub(super) const fn errno(self) -> i32 {
        match self {
            Self::Errno(code) | Self::Partial(code) => code,
            Self::LoseSync | Self::IgnoreSync | Self::FlipBit | Self::Delay(_) => libc::EIO,
        }
    }
}

/// One rule; the first one that hits decides.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Paths under it.
    pub under: PathBuf,
    pub ops: Ops,
    pub when: When,
    pub effect: Effect,
}

impl Fault {
    pub fn new(under: impl Into<PathBuf>, ops: Ops, when: When, effect: Effect) -> Self {
        Self { under: under.into(), ops, when, effect }
    }

    /// The filesystem under a path has become read-only, as ext4 does after an error.
    pub fn read_only(under: impl Into<PathBuf>) -> Self {
        Self::new(under, Ops::CHANGES, When::Always, Effect::Errno(libc::EROFS))
    }
}

/// Names a rule, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(u64);

struct Armed {
    id: FaultId,
    fault: Fault,
    seen: u64,
    hits: u64,
}

#[derive(Default)]
pub(super) struct Faults {
    armed: Vec<Armed>,
    next: u64,
    vanished: Vec<PathBuf>,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault) -> FaultId {
        self.next += 1;
        let id = FaultId(self.next);
        self.armed.push(Armed { id, fault, seen: 0, hits: 0 });
        id
    }

    /// Disarms a rule and tells how often it hit.
    pub(super) fn disarm(&mut self, id: FaultId) -> u64 {
        let hits = self.hits(id);
        self.armed.retain(|armed| armed.id != id);
        hits
    }

    pub(super) fn hits(&self, id: FaultId) -> u64 {
        self.armed.iter().find(|armed| armed.id == id).map_or(0, |armed| armed.hits)
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
        self.vanished.clear();
    }

    pub(super) fn vanish(&mut self, under: &Path) {
        self.vanished.push(under.to_owned());
    }

    pub(super) fn reappear(&mut self, under: &Path) {
        self.vanished.retain(|path| path != under);
    }

    pub(super) fn has_vanished(&self, path: &Path) -> bool {
        self.vanished.iter().any(|under| path.starts_with(under))
    }

    /// What happens to this call; `chance` draws below a million.
    pub(super) fn check(&mut self, op: Ops, path: &Path, chance: &mut dyn FnMut() -> u32) -> Option<Effect> {
        for armed in &mut self.armed {
            if !armed.fault.ops.has(op) || !path.starts_with(&armed.fault.under) {
                continue;
            }
            armed.seen += 1;
            let hit = match armed.fault.when {
                When::Always => true,
                When::Nth(n) => armed.seen == n,
                When::From(n) => armed.seen >= n,
                When::PerMillion(limit) => chance() < limit,
            };
            if hit {
                armed.hits += 1;
                return Some(armed.fault.effect);
            }
        }
        None
    }
}
