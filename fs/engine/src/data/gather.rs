//! The gather table: small writes wait here, per inode, until they are worth a frame. `settle.rs` makes frames of them.
//!
//! What is gathered is part of the file for every reader: bytes through [`Gathers::copy_into`], size and times through
//! the pending inode record kept beside them. Memory is bounded per inode and in total; nothing waits longer than a
//! second. An entry changes only with its inode's stripe held exclusively; the shard locks are leaves that make it
//! readable without the stripe. Gathered bytes have no LSN yet: `fsync` settles them first (D0 before, D2 after).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_journal::FRAME_BYTES_MAX;
use fs_api::Ino;
use parking_lot::Mutex;

use super::runs::Runs;
use crate::records::Inode;

const SHARDS: usize = 64;
/// Bytes of one inode that are gathered: a frame full.
const INODE_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Requests remembered per inode; beyond, the entry is flushed, so that a stream of tiny writes stays bounded.
const REQUESTS_MAX: usize = 4096;

/// Frames end at multiples of this file offset, so that neighbours written apart still meet.
pub(crate) const FRAME_BYTES: u64 = FRAME_BYTES_MAX as u64;

struct Gathered {
    /// The record as it will be once the runs are frames.
    inode: Inode,
    /// Bytes up to here may have been in the file when gathering began; what lies beyond surely takes new space.
    stored_size: u64,
    runs: Runs,
    requests: Vec<u64>,
    /// Bytes that the quota of the inode has taken for the runs already.
    reserved: u64,
}

/// What is gathered for an inode, on its way into the log.
pub(super) struct Settling {
    pub(super) inode: Inode,
    pub(super) runs: Runs,
    pub(super) requests: Vec<u64>,
    pub(super) reserved: u64,
}

/// A small write that may be gathered.
pub(super) struct SmallWrite<'a> {
    /// The record with this write in it.
    pub(super) inode: Inode,
    /// The size without anything that is gathered.
    pub(super) stored_size: u64,
    pub(super) offset: u64,
    pub(super) data: &'a [u8],
    pub(super) request: u64,
    /// What the quota of the inode has taken for it.
    pub(super) reserved: u64,
}

impl Gathered {
    fn shown(&self) -> Inode {
        let beyond = self.runs.iter().map(|run| run.end().saturating_sub(run.offset.max(self.stored_size)));
        let mut inode = self.inode.clone();
        inode.allocated += beyond.sum::<u64>();
        inode
    }
}

/// What has to happen after bytes were gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Room,
    Full,
}

pub(crate) struct Gathers {
    shards: [Mutex<HashMap<Ino, Gathered>>; SHARDS],
    /// Inodes in the order in which they began to gather; some are settled already.
    queue: Mutex<VecDeque<(Duration, Ino)>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Gathers {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, queue: Mutex::default(), bytes: AtomicUsize::new(0), bytes_max }
    }

    fn shard(&self, ino: Ino) -> &Mutex<HashMap<Ino, Gathered>> {
        &self.shards[(ino.0 % SHARDS as u64) as usize]
    }

    /// The record that the next change of `ino` starts from, where writes are gathered for it.
    pub(super) fn pending(&self, ino: Ino) -> Option<Inode> {
        self.shard(ino).lock().get(&ino).map(|gathered| gathered.inode.clone())
    }

    /// The record of `ino` as readers see it, where writes are gathered for it.
    pub(crate) fn shown(&self, ino: Ino) -> Option<Inode> {
        self.shard(ino).lock().get(&ino).map(Gathered::shown)
    }

    /// Gathers `write`, at `now`. The caller holds the stripe exclusively.
    pub(super) fn add(&self, write: SmallWrite<'_>, now: Duration) -> Fill {
        let ino = write.inode.ino;
        let mut shard = self.shard(ino).lock();
        let fresh = !shard.contains_key(&ino);
        let gathered = shard.entry(ino).or_insert_with(|| Gathered {
            inode: write.inode.clone(),
            stored_size: write.stored_size,
            runs: Runs::default(),
            requests: Vec::new(),
            reserved: 0,
        });
        gathered.inode = write.inode;
        gathered.requests.push(write.request);
        gathered.reserved += write.reserved;
        let before = gathered.runs.bytes();
        let end = gathered.runs.insert(write.offset, write.data);
        let bytes = gathered.runs.bytes();
        let full =
            bytes >= INODE_BYTES_MAX || end.is_multiple_of(FRAME_BYTES) || gathered.requests.len() >= REQUESTS_MAX;
        drop(shard);
        self.bytes.fetch_add(bytes - before, Ordering::Relaxed);
        if fresh {
            self.queue.lock().push_back((now, ino));
        }
        if full { Fill::Full } else { Fill::Room }
    }

    /// Copies what is gathered of `range` into `out`, which stands for that range, and hands each part to `covered`.
    /// The caller holds the stripe, shared at least.
    pub(crate) fn copy_into(&self, ino: Ino, range: Range<u64>, out: &mut [u8], covered: &mut dyn FnMut(Range<u64>)) {
        let shard = self.shard(ino).lock();
        let Some(gathered) = shard.get(&ino) else { return };
        for (offset, bytes) in gathered.runs.within(range.clone()) {
            let at = (offset - range.start) as usize;
            if let Some(place) = out.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            covered(offset..offset + bytes.len() as u64);
        }
    }

    /// The ranges that are gathered, ascending. The caller holds the stripe, shared at least.
    pub(crate) fn ranges(&self, ino: Ino) -> Vec<Range<u64>> {
        let shard = self.shard(ino).lock();
        shard.get(&ino).map(|gathered| gathered.runs.iter().map(|run| run.range()).collect()).unwrap_or_default()
    }

    /// Takes the bytes out; the record stays visible until [`Gathers::end`].
    pub(super) fn begin(&self, ino: Ino) -> Option<Settling> {
        let mut shard = self.shard(ino).lock();
        let gathered = shard.get_mut(&ino)?;
        let requests = std::mem::take(&mut gathered.requests);
        let runs = std::mem::take(&mut gathered.runs);
        Some(Settling { inode: gathered.inode.clone(), runs, requests, reserved: gathered.reserved })
    }

    /// Puts back what [`Gathers::begin`] took: it could not be stored.
    pub(super) fn undo(&self, settling: Settling) {
        if let Some(gathered) = self.shard(settling.inode.ino).lock().get_mut(&settling.inode.ino) {
            gathered.runs = settling.runs;
            gathered.requests = settling.requests;
        }
    }

    /// Forgets the entry, of which `bytes` were taken.
    pub(super) fn end(&self, ino: Ino, bytes: usize) {
        self.shard(ino).lock().remove(&ino);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Everything that gathers now, ascending.
    pub(super) fn inos(&self) -> Vec<Ino> {
        let mut inos: Vec<Ino> =
            self.shards.iter().flat_map(|s| s.lock().keys().copied().collect::<Vec<_>>()).collect();
        inos.sort_unstable();
        inos
    }

    pub(super) fn over_bound(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// The inode that began to gather first, if that was before `until`.
    pub(super) fn oldest(&self, until: Duration) -> Option<Ino> {
        let mut queue = self.queue.lock();
        let (since, ino) = *queue.front()?;
        if since > until {
            return None;
        }
        queue.pop_front();
        Some(ino)
    }

    /// Its turn comes again after all others.
    pub(super) fn requeue(&self, since: Duration, ino: Ino) {
        self.queue.lock().push_back((since, ino));
    }

    /// Whether nothing more may be gathered for `ino` before what is there has become frames.
    pub(super) fn is_full(&self, ino: Ino) -> bool {
        let shard = self.shard(ino).lock();
        let full =
            |gathered: &Gathered| gathered.runs.bytes() >= INODE_BYTES_MAX || gathered.requests.len() >= REQUESTS_MAX;
        shard.get(&ino).is_some_and(full)
    }
}
