//! Collects bytes into parts of a few MiB, so that a blob of thousands of small frames is a short list of buffers.

use bytes::Bytes;

/// A part is closed when it has grown past this: large enough that a put has few parts, small enough that growing the
/// last one by doubling wastes little.
const PART_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Parts {
    closed: Vec<Bytes>,
    open: Vec<u8>,
    len: u64,
}

impl Parts {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        if self.open.len() >= PART_BYTES {
            self.close();
        }
    }

    /// Bytes pushed so far.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.closed
    }
}
