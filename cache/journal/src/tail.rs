//! The tail buffer: encoded records on their way to the page cache, with holes where payloads go directly.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::header::PAGE_BYTES;
use crate::segment::Segment;

const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// What follows the end of a piece in its last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filler {
    /// Nothing that counts: the page is filled with zeros, so that it need not be read first.
    Zeros,
    /// Something that stays.
    Keep,
}

struct Piece {
    segment: Arc<Segment>,
    position: u64,
    len: usize,
    filler: Filler,
}

impl Piece {
    fn end(&self) -> u64 {
        self.position + self.len as u64
    }
}

/// Runs of bytes in the order of their writing.
#[derive(Default)]
pub(crate) struct Tail {
    pub(crate) bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Tail {
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Says that the last `len` bytes pushed to `bytes` belong at `position`.
    pub(crate) fn placed(&mut self, segment: &Arc<Segment>, position: u64, len: usize, filler: Filler) {
        match self.pieces.last_mut() {
            Some(last) if last.end() == position && last.filler == filler && last.segment.id == segment.id => {
                last.len += len;
            }
            _ => self.pieces.push(Piece { segment: segment.clone(), position, len, filler }),
        }
    }

    /// Takes everything from `newer`, which follows what is here.
    pub(crate) fn take(&mut self, newer: &mut Tail) {
        if self.is_empty() {
            self.bytes.clear();
            std::mem::swap(self, newer);
            return;
        }
        self.bytes.append(&mut newer.bytes);
        for piece in newer.pieces.drain(..) {
            self.placed(&piece.segment, piece.position, piece.len, piece.filler);
        }
    }

    /// Writes all pieces to their files. On an error everything stays, to be written again.
    pub(crate) fn write(&mut self) -> Result<(), (Arc<Segment>, io::Error)> {
        let mut start = 0;
        for piece in &self.pieces {
            let bytes = self.bytes.get(start..start + piece.len).unwrap_or_default();
            debug_assert_eq!(bytes.len(), piece.len, "pieces and bytes are pushed together");
            start += piece.len;
            let gap = match piece.filler {
                Filler::Zeros => (piece.end().next_multiple_of(PAGE_BYTES) - piece.end()) as usize,
                Filler::Keep => 0,
            };
            let bufs = [IoSlice::new(bytes), IoSlice::new(ZEROS.get(..gap).unwrap_or_default())];
            let bufs = bufs.get(..if gap == 0 { 1 } else { 2 }).unwrap_or_default();
            piece.segment.file().write_all_at(bufs, piece.position).map_err(|e| (piece.segment.clone(), e))?;
        }
        for piece in self.pieces.drain(..) {
            piece.segment.note_tail_written(piece.end());
        }
        self.bytes.clear();
        Ok(())
    }
}
