//! The gather table: small writes wait here, per inode, until they are worth a frame.
//!
//! What is gathered is part of the file for every reader: bytes through [`Gathers::copy_into`], size and times through
//! the pending inode record kept beside them. Memory is bounded per inode and in total; nothing waits longer than a
//! second. An entry changes only with its inode's stripe held exclusively; the shard locks are leaves that make it
//! readable without the stripe. Gathered bytes have no LSN yet: `fsync` settles them first (D0 before, D2 after).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_journal::{FRAME_BYTES_MAX, FrameData};
use fs_api::Ino;
use objstore_base::Result;
use parking_lot::Mutex;

use super::extents::{Edit, place_frames};
use super::runs::Runs;
use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;

const SHARDS: usize = 64;
/// Bytes of one inode that are gathered: a frame full.
const INODE_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Requests remembered per inode; beyond, the entry is flushed, so that a stream of tiny writes stays bounded.
const REQUESTS_MAX: usize = 4096;
/// Inodes that could not be stored and are passed over in search of one that can.
const RELIEF_FAILURES_MAX: u32 = 8;
/// How long bytes wait.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Frames end at multiples of this file offset, so that neighbours written apart still meet.
pub(crate) const FRAME_BYTES: u64 = FRAME_BYTES_MAX as u64;

struct Gathered {
    /// The record as it will be once the runs are frames.
    inode: Inode,
    /// Bytes up to here may have been in the file when gathering began; what lies beyond surely takes new space.
    stored_size: u64,
    runs: Runs,
    requests: Vec<u64>,
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
    fn pending(&self, ino: Ino) -> Option<Inode> {
        self.shard(ino).lock().get(&ino).map(|gathered| gathered.inode.clone())
    }

    /// The record of `ino` as readers see it, where writes are gathered for it.
    pub(crate) fn shown(&self, ino: Ino) -> Option<Inode> {
        self.shard(ino).lock().get(&ino).map(Gathered::shown)
    }

    /// Gathers `data` at `offset`; `inode` is the record with this write in it, `stored_size` the size without any
    /// that is gathered. The caller holds the stripe exclusively.
    fn add(&self, inode: Inode, stored_size: u64, offset: u64, data: &[u8], request: u64, now: Duration) -> Fill {
        let ino = inode.ino;
        let mut shard = self.shard(ino).lock();
        let fresh = !shard.contains_key(&ino);
        let gathered = shard.entry(ino).or_insert_with(|| Gathered {
            inode: inode.clone(),
            stored_size,
            runs: Runs::default(),
            requests: Vec::new(),
        });
        gathered.inode = inode;
        gathered.requests.push(request);
        let before = gathered.runs.bytes();
        let end = gathered.runs.insert(offset, data);
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
    fn begin(&self, ino: Ino) -> Option<(Inode, Runs, Vec<u64>)> {
        let mut shard = self.shard(ino).lock();
        let gathered = shard.get_mut(&ino)?;
        let requests = std::mem::take(&mut gathered.requests);
        Some((gathered.inode.clone(), std::mem::take(&mut gathered.runs), requests))
    }

    /// Puts back what [`Gathers::begin`] took: it could not be stored.
    fn undo(&self, ino: Ino, runs: Runs, requests: Vec<u64>) {
        if let Some(gathered) = self.shard(ino).lock().get_mut(&ino) {
            gathered.runs = runs;
            gathered.requests = requests;
        }
    }

    /// Forgets the entry, of which `bytes` were taken.
    fn end(&self, ino: Ino, bytes: usize) {
        self.shard(ino).lock().remove(&ino);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Everything that gathers now, ascending.
    fn inos(&self) -> Vec<Ino> {
        let mut inos: Vec<Ino> =
            self.shards.iter().flat_map(|s| s.lock().keys().copied().collect::<Vec<_>>()).collect();
        inos.sort_unstable();
        inos
    }

    fn over_bound(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// The inode that began to gather first, if that was before `until`.
    fn oldest(&self, until: Duration) -> Option<Ino> {
        let mut queue = self.queue.lock();
        let (since, ino) = *queue.front()?;
        if since > until {
            return None;
        }
        queue.pop_front();
        Some(ino)
    }

    /// Its turn comes again after all others.
    fn requeue(&self, since: Duration, ino: Ino) {
        self.queue.lock().push_back((since, ino));
    }

    /// Whether nothing more may be gathered for `ino` before what is there has become frames.
    fn is_full(&self, ino: Ino) -> bool {
        let shard = self.shard(ino).lock();
        let full =
            |gathered: &Gathered| gathered.runs.bytes() >= INODE_BYTES_MAX || gathered.requests.len() >= REQUESTS_MAX;
        shard.get(&ino).is_some_and(full)
    }
}

impl Engine {
    /// The record that a write of `ino` starts from. The caller holds the stripe exclusively.
    pub(crate) fn pending_inode_locked(&self, ino: Ino) -> Result<Inode> {
        match self.data.gathers.pending(ino) {
            Some(inode) => Ok(inode),
            None => self.inode_locked(ino),
        }
    }

    /// Makes room for another small write of `ino`, where an earlier attempt to store what is gathered failed: memory
    /// stays bounded, and the writer hears why. The caller holds the stripe exclusively.
    pub(crate) fn make_gather_room_locked(&self, ino: Ino) -> Result<()> {
        if self.data.gathers.is_full(ino) { self.flush_gathered_locked(ino) } else { Ok(()) }
    }

    /// Gathers a small write, and makes frames of what is gathered where that is enough.
    pub(crate) fn gather_locked(&self, inode: Inode, offset: u64, data: &[u8], request: u64) -> Result<()> {
        let ino = inode.ino;
        let stored_size = self.inode_locked(ino)?.size;
        let now = self.env.clock.monotonic();
        match self.data.gathers.add(inode, stored_size, offset, data, request, now) {
            Fill::Room => Ok(()),
            Fill::Full => self.flush_gathered_locked(ino),
        }
    }

    /// Makes frames of what is gathered for `ino`: one record. The caller holds the stripe exclusively. On an error
    /// the bytes stay gathered.
    pub(crate) fn flush_gathered_locked(&self, ino: Ino) -> Result<()> {
        let Some((inode, runs, requests)) = self.data.gathers.begin(ino) else { return Ok(()) };
        match self.store_runs(inode, &runs, &requests) {
            Ok(()) => {
                self.data.gathers.end(ino, runs.bytes());
                Ok(())
            }
            Err(error) => {
                self.data.gathers.undo(ino, runs, requests);
                Err(error)
            }
        }
    }

    fn store_runs(&self, mut inode: Inode, runs: &Runs, requests: &[u64]) -> Result<()> {
        self.hit("engine.gather.store")?;
        let ino = inode.ino.0;
        let ranges: Vec<Range<u64>> = runs.iter().map(|run| run.range()).collect();
        let mut edit = Edit::new(ino);
        edit.clear(&*self.meta, &ranges)?;
        let mut frames = Vec::with_capacity(runs.bytes() / FRAME_BYTES_MAX + ranges.len());
        for run in runs.iter() {
            split_frames(ino, run.offset, &run.bytes, &mut frames);
        }
        let places: Vec<(u64, u32)> = frames.iter().map(|f| (f.offset, f.bytes.len() as u32)).collect();
        let allocated = edit.allocated() + runs.bytes() as i64;
        inode.allocated = inode.allocated.saturating_add_signed(allocated);
        let mut change = Change::of_requests(requests.to_vec());
        change.count_bytes(allocated);
        change.put_inode(&inode);
        change.edit(edit);
        self.apply_frames(&frames, change, &mut |ids, batch| place_frames(ino, &places, ids, batch))?;
        Ok(())
    }

    /// Forgets what is gathered for an inode that goes. The caller holds the stripe exclusively.
    pub(crate) fn drop_gathered_locked(&self, ino: Ino) {
        if let Some((_, runs, _)) = self.data.gathers.begin(ino) {
            self.data.gathers.end(ino, runs.bytes());
        }
    }

    /// Brings memory under its bound again, oldest first. What cannot be stored is passed over a few times. The caller
    /// holds no stripe.
    pub(crate) async fn relieve_gathers(&self) -> Result<()> {
        let mut failures = 0;
        while self.data.gathers.over_bound() {
            let Some(ino) = self.data.gathers.oldest(Duration::MAX) else { return Ok(()) };
            if let Err(error) = self.settle_paced(ino).await {
                failures += 1;
                if failures == RELIEF_FAILURES_MAX {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Settles what has waited long enough. What cannot be stored keeps nothing else waiting.
    ///
    /// # Errors
    /// Of the first inode that could not be settled.
    pub(crate) async fn gather_tick(&self) -> Result<()> {
        let Some(until) = self.env.clock.monotonic().checked_sub(AGE_MAX) else { return Ok(()) };
        let mut first = None;
        while let Some(ino) = self.data.gathers.oldest(until) {
            // One that fails is queued again as of now, so that this ends.
            if let Err(error) = self.settle_paced(ino).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Settles everything that was gathered before the call, also what another thread has taken from the queue and
    /// not stored yet: its stripe is waited for.
    pub(crate) fn flush_gathered_all(&self) -> Result<()> {
        for ino in self.data.gathers.inos() {
            let _stripe = self.stripes.write_one(ino);
            self.flush_gathered_locked(ino)?;
        }
        Ok(())
    }

    /// Settling of many is bulk data too: it is held to what may be unsynced.
    async fn settle_paced(&self, ino: Ino) -> Result<()> {
        if let Some(synced) = self.journal.pace() {
            synced.await;
        }
        self.settle_one(ino)
    }

    fn settle_one(&self, ino: Ino) -> Result<()> {
        let _stripe = self.stripes.write_one(ino);
        let settled = self.flush_gathered_locked(ino);
        settled.inspect_err(|_| self.data.gathers.requeue(self.env.clock.monotonic(), ino))
    }
}

/// Cuts `bytes` at `offset` into frames that end at multiples of [`FRAME_BYTES`] of the file.
pub(crate) fn split_frames<'a>(ino: u64, offset: u64, bytes: &'a [u8], frames: &mut Vec<FrameData<'a>>) {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = (FRAME_BYTES - at % FRAME_BYTES) as usize;
        let (frame, behind) = rest.split_at(room.min(rest.len()));
        frames.push(FrameData { ino, offset: at, bytes: frame, origin: None });
        at += frame.len() as u64;
        rest = behind;
    }
}
