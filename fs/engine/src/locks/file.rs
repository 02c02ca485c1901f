//! The locks on one file in one space: who holds what, kept as disjoint ranges per owner, in order of their start.

use fs_api::{DoorId, LockKind, LockOwner, LockRange};

/// One held range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) owner: LockOwner,
    pub(super) range: LockRange,
    pub(super) kind: LockKind,
    pub(super) pid: u32,
}

/// All ranges held on one file, sorted by start; those of one owner never overlap.
#[derive(Debug, Default)]
pub(super) struct FileLocks {
    held: Vec<Held>,
}

const fn overlap(a: LockRange, b: LockRange) -> bool {
    a.start < b.end && b.start < a.end
}

const fn touch(a: LockRange, b: LockRange) -> bool {
    a.start <= b.end && b.start <= a.end
}

fn exclude(a: LockKind, b: LockKind) -> bool {
    a == LockKind::Exclusive || b == LockKind::Exclusive
}

impl FileLocks {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn ranges(&self) -> usize {
        self.held.len()
    }

    /// Whether freeing `range` makes two ranges of one: nothing else that is freed makes them more.
    pub(super) fn splits(&self, owner: LockOwner, range: LockRange) -> bool {
        self.held.iter().any(|h| h.owner == owner && h.range.start < range.start && range.end < h.range.end)
    }

    /// Locks of others that stand in the way, the lowest first.
    pub(super) fn conflicts(
        &self,
        owner: LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> impl Iterator<Item = &Held> + '_ {
        self.held.iter().filter(move |h| h.owner != owner && overlap(h.range, range) && exclude(h.kind, kind))
    }

    /// Gives `range` to `owner` as `kind` (`None` frees it), splitting, replacing and joining what it held there.
    pub(super) fn set(&mut self, owner: LockOwner, range: LockRange, kind: Option<LockKind>, pid: u32) {
        let mut wanted = range;
        let mut kept = Vec::with_capacity(self.held.len() + 2);
        for held in self.held.drain(..) {
            if held.owner != owner {
                kept.push(held);
            } else if kind == Some(held.kind) && touch(held.range, wanted) {
                wanted.start = wanted.start.min(held.range.start);
                wanted.end = wanted.end.max(held.range.end);
            } else {
                kept.extend(outside(held, range));
            }
        }
        if let Some(kind) = kind {
            kept.push(Held { owner, range: wanted, kind, pid });
        }
        kept.sort_by_key(|h| h.range.start);
        self.held = kept;
    }

    /// Frees everything of `owner`; whether there was anything.
    pub(super) fn drop_owner(&mut self, owner: LockOwner) -> bool {
        self.keep(|held| held.owner != owner)
    }

    /// Frees everything of all owners of `door`; whether there was anything.
    pub(super) fn drop_door(&mut self, door: DoorId) -> bool {
        self.keep(|held| held.owner.door != door.0)
    }

    fn keep(&mut self, keeps: impl Fn(&Held) -> bool) -> bool {
        let before = self.held.len();
        self.held.retain(keeps);
        self.held.len() != before
    }
}

/// What is left of `held` when `range` is cut out of it.
fn outside(held: Held, range: LockRange) -> impl Iterator<Item = Held> {
    let parts = if overlap(held.range, range) {
        let before = LockRange { start: held.range.start, end: range.start.min(held.range.end) };
        let after = LockRange { start: range.end.max(held.range.start), end: held.range.end };
        [before, after]
    } else {
        [held.range, LockRange { start: 0, end: 0 }]
    };
    parts.into_iter().filter(|r| r.start < r.end).map(move |range| Held { range, ..held })
}
