//! Advisory locks: byte ranges (`fcntl`) and whole files (`flock`).

/// A door and its owner number (the kernel's `lock_owner`, an NLM owner's hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockOwner {
    /// Tells doors and mounts apart.
    pub door: u32,
    pub owner: u64,
}

/// `fcntl` and `flock` locks do not see each other, as on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockSpace {
    Posix,
    Flock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    Shared,
    Exclusive,
}

/// Bytes `start..end`, half-open; `end` is `u64::MAX` for "to the end of the file, however it grows".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    pub start: u64,
    pub end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRequest {
    pub space: LockSpace,
    pub owner: LockOwner,
    pub range: LockRange,
    /// `None` unlocks.
    pub kind: Option<LockKind>,
    /// Reported to those who ask who holds it.
    pub pid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// `WouldBlock` where someone else holds a conflicting lock.
    Fail,
    /// Wait; dropping the future gives up the place in the queue.
    Block,
}
