//! Read-ahead: a handle that reads forward gets what comes next before it asks.
//!
//! Only reads that reach the pool count; local segments are fast enough. The window doubles with each such read up to
//! a limit and closes with the first jump. A queue of bounded length feeds the workers; what does not fit is not read
//! ahead.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use fs_api::{HandleId, Ino};
use objstore_base::Result;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::pins::Pin;
use crate::engine::Engine;

/// One ranged get of a pool of a few drives is worth it from here on; a few of them hide its latency.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
const WINDOW_BYTES_MAX: u64 = 8 << 20;
const QUEUE_MAX: usize = 64;
const HANDLES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reader {
    /// Where the last read ended.
    next: u64,
    window: u64,
    /// Everything up to here is read or asked for.
    until: u64,
}

impl Reader {
    /// Notes a read; gives what to read ahead.
    fn note(&mut self, range: Range<u64>) -> Option<Range<u64>> {
        if range.start != self.next {
            *self = Self { next: range.end, window: 0, until: range.end };
            return None;
        }
        self.next = range.end;
        self.window = (self.window * 2).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        self.until = self.until.max(range.end);
        // Asking again when half of the window is used up keeps the next part on its way.
        if self.until - range.end > self.window / 2 {
            return None;
        }
        let wanted = self.until..range.end + self.window;
        self.until = wanted.end;
        Some(wanted)
    }
}

#[derive(Default)]
pub(crate) struct ReadAhead {
    readers: Mutex<HashMap<HandleId, Reader>>,
    queue: Mutex<VecDeque<(Ino, Range<u64>)>>,
    pub(crate) wake: Notify,
}

impl ReadAhead {
    /// Notes that `handle` read `range` of `ino` from the pool.
    pub(crate) fn note(&self, ino: Ino, handle: HandleId, range: Range<u64>) {
        let wanted = {
            let mut readers = self.readers.lock();
            if readers.len() >= HANDLES_MAX && !readers.contains_key(&handle) {
                return;
            }
            readers.entry(handle).or_default().note(range)
        };
        let Some(wanted) = wanted else { return };
        let mut queue = self.queue.lock();
        if queue.len() < QUEUE_MAX {
            queue.push_back((ino, wanted));
            drop(queue);
            self.wake.notify_one();
        }
    }

    pub(crate) fn forget(&self, handle: HandleId) {
        self.readers.lock().remove(&handle);
    }

    fn pop(&self) -> Option<(Ino, Range<u64>)> {
        self.queue.lock().pop_front()
    }
}

impl Engine {
    /// Reads ahead what is asked for.
    pub(crate) async fn read_ahead(&self) {
        while let Some((ino, range)) = self.data.ahead.pop() {
            if let Err(error) = self.read_ahead_of(ino, range).await {
                // Whoever reads the bytes will hear of it.
                tracing::debug!(%ino, %error, "read-ahead failed");
            }
        }
    }

    async fn read_ahead_of(&self, ino: Ino, range: Range<u64>) -> Result<()> {
        let mut pieces = self.pieces(ino, range)?;
        pieces.retain(|piece| self.journal.segment(piece.frame.segment).is_none());
        if pieces.is_empty() {
            return Ok(());
        }
        let _pin = Pin::new(&self.data.pins, pieces.iter().map(|piece| piece.frame.segment));
        self.fetch_frames(&pieces).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_forward_reads_and_closes_with_a_jump() {
        const MIB: u64 = 1 << 20;
        let mut reader = Reader::default();
        assert_eq!(reader.note(0..MIB), Some(MIB..2 * MIB));
        assert_eq!(reader.note(MIB..2 * MIB), Some(2 * MIB..4 * MIB));
        assert_eq!(reader.note(2 * MIB..3 * MIB), Some(4 * MIB..7 * MIB));
        assert_eq!(reader.note(9 * MIB..10 * MIB), None);
        assert_eq!(reader.note(10 * MIB..11 * MIB), Some(11 * MIB..12 * MIB));
        let mut asked = 0;
        for n in 11..100 {
            asked += u64::from(reader.note(n * MIB..(n + 1) * MIB).is_some());
        }
        assert!(asked < 40, "a wide window is asked for in large parts: {asked}");
    }
}
