//! Record marking (RFC 5531 section 11): cuts a stream of bytes into records. No input or output here.
//!
//! Memory follows the bytes that have come, never what a header announces: the buffer grows by a factor, up to the
//! announced length, as it fills. A record of one fragment is handed on as a slice of the buffer.

use bytes::{Buf, Bytes, BytesMut};

/// One read of small calls, and what a connection may hold without asking the shared budget.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
/// How far ahead of the received bytes a buffer may be: two growth steps bring 16 KiB past 256 KiB, so that little is
/// copied, and an attacker must send a quarter of what is set aside.
const GROWTH: usize = 4;
/// Less room than this is not worth a read.
const ROOM_BYTES_MIN: usize = CHUNK_BYTES / 8;
/// A 1 MiB record in the 1 KiB fragments of the smallest known encoders.
const FRAGMENTS_MAX: usize = 1024;
const LAST: u32 = 0x8000_0000;
const MARK_BYTES: usize = 4;

/// Why a stream cannot go on: it is no RPC, or a client that means harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    RecordTooLong,
    FragmentEmpty,
    TooManyFragments,
}

pub(crate) struct Records {
    buffer: BytesMut,
    /// Fragments of a record that came in more than one.
    assembled: BytesMut,
    fragments: usize,
    record_bytes_max: usize,
}

impl Records {
    pub(crate) fn new(record_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), assembled: BytesMut::new(), fragments: 0, record_bytes_max }
    }

    /// The length and last-fragment flag that stand at the front.
    fn mark(&self) -> Option<(usize, bool)> {
        let mark = self.buffer.first_chunk::<MARK_BYTES>()?;
        let mark = u32::from_be_bytes(*mark);
        // A usize holds 31 bits on every machine this runs on.
        Some(((mark & !LAST) as usize, mark & LAST != 0))
    }

    /// Whether part of a record is here: the client owes the rest.
    pub(crate) fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.fragments > 0
    }

    /// Bytes that the record in progress needs beyond the free chunk, by what its header announces (checked already
    /// by `next`), once the free chunk is nearly used up. None where the free chunk will do.
    pub(crate) fn wants(&self) -> Option<usize> {
        let (length, last) = self.mark()?;
        // How much follows an unfinished record's fragment nobody knows: it gets what the largest would.
        let needed = if last { self.assembled.len() + length + MARK_BYTES } else { self.record_bytes_max };
        let held = self.assembled.len() + self.buffer.len();
        (needed > CHUNK_BYTES && held * 2 >= CHUNK_BYTES).then_some(needed)
    }

    /// The buffer with room to read into.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let held = self.buffer.len();
        if self.buffer.capacity() - held < ROOM_BYTES_MIN {
            let wanted = self.mark().map_or(0, |(length, _)| length + MARK_BYTES);
            let ahead = wanted.min(held * GROWTH).max(held + ROOM_BYTES_MIN).max(CHUNK_BYTES);
            self.buffer.reserve(ahead - held);
        }
        &mut self.buffer
    }

    /// Gives the memory of a silent connection back.
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.buffer = BytesMut::new();
        }
    }

    /// The next whole record, if it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        while let Some((length, last)) = self.mark() {
            // Both are below 2^31: no overflow.
            if self.assembled.len() + length > self.record_bytes_max {
                return Err(Broken::RecordTooLong);
            }
            if length == 0 && !last {
                return Err(Broken::FragmentEmpty);
            }
            if self.buffer.len() < MARK_BYTES + length {
                return Ok(None);
            }
            self.buffer.advance(MARK_BYTES);
            let fragment = self.buffer.split_to(length);
            if last && self.fragments == 0 {
                return Ok(Some(fragment.freeze()));
            }
            self.fragments += 1;
            if self.fragments > FRAGMENTS_MAX {
                return Err(Broken::TooManyFragments);
            }
            self.assembled.extend_from_slice(&fragment);
            if last {
                self.fragments = 0;
                return Ok(Some(self.assembled.split().freeze()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
