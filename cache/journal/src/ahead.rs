//! Zeros ahead of the log: small commits overwrite pages that were written before.
//!
//! The sync of a page that is reserved but was never written also has to store that it is written now: on ext4 it takes
//! twice as long as one that only overwrites. So where commits are small, the pages that the next hundred of them will
//! fill are written with zeros, which is what they read as already. Nothing depends on it but speed.

use std::io::IoSlice;
use std::ops::Range;

use crate::files::ZEROS;
use crate::header::PAGE_BYTES;
use crate::journal::{Appender, Journal};
use crate::segment::Segment;

/// A round with fewer bytes is a small commit.
const SMALL_BYTES: u64 = 256 << 10;
/// So many small ones in a row are a habit.
const STREAK: u32 = 16;
/// A hundred commits of a small write each, and a quarter of a millisecond once among them.
const AHEAD_BYTES: u64 = 1 << 20;

/// How the rounds were of late.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    streak: u32,
    appended_before: u64,
    /// Zeros are on their way to the file: bytes must not be written past the tail buffer meanwhile.
    pub(crate) zeroing: bool,
}

impl Appender {
    /// Called once per round, with everything before `position` taken; gives what to zero now. The caller holds the
    /// writer and says when it is done.
    pub(crate) fn begin_zeroing(&mut self, segment_bytes: u64) -> Option<Range<u64>> {
        let bytes = self.appended_bytes - std::mem::replace(&mut self.habit.appended_before, self.appended_bytes);
        self.habit.streak = if bytes < SMALL_BYTES { self.habit.streak.saturating_add(1) } else { 0 };
        let zeroed = self.active.zeroed_to();
        if self.habit.streak < STREAK || self.position + SMALL_BYTES <= zeroed {
            return None;
        }
        // Whatever was appended lies before the first whole page behind the position.
        let start = self.position.next_multiple_of(PAGE_BYTES).max(zeroed);
        let range = start..segment_bytes.min(start + AHEAD_BYTES);
        self.habit.zeroing = !range.is_empty();
        self.habit.zeroing.then_some(range)
    }
}

impl Journal {
    /// Writes zeros to `range` of `segment`, which nobody else writes to meanwhile. The caller holds the writer.
    pub(crate) fn zero_ahead(&self, segment: &Segment, range: Range<u64>) {
        let zeros = &ZEROS[..(range.end - range.start) as usize];
        let file = segment.file();
        match file.write_all_at(&[IoSlice::new(zeros)], range.start) {
            Ok(()) => segment.note_zeroed(range.end),
            // The record that needs the place will say so.
            Err(error) => tracing::debug!(%error, segment = segment.id.0, "the log is not zeroed ahead"),
        }
        self.appender.lock().habit.zeroing = false;
        self.thaw.notify_all();
    }
}
