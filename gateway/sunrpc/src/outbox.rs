//! Replies on their way out: small ones gathered into one buffer, payloads kept as they are, sent by vectored writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::message::Answer;
use crate::xdr::Body;

/// Below this a copy is cheaper than one more piece of a vectored write.
const COPY_BYTES_MAX: usize = 4096;
const SLICES_MAX: usize = 64;
/// Set aside for the replies of one wake-up: sixteen small calls without growing.
const GATHER_BYTES: usize = 4096;

#[derive(Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Bytes>,
    gathered: BytesMut,
    bytes: usize,
}

impl Outbox {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn answer(&mut self, xid: u32, answer: Answer, body: Option<Body>) {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(GATHER_BYTES);
        }
        let before = self.gathered.len();
        answer.put(xid, body.as_ref().map_or(0, Body::len), &mut self.gathered);
        self.bytes += self.gathered.len() - before;
        for chunk in body.into_iter().flat_map(Body::into_chunks) {
            self.bytes += chunk.len();
            if chunk.len() <= COPY_BYTES_MAX {
                self.gathered.extend_from_slice(&chunk);
            } else {
                self.pieces.push_back(self.gathered.split().freeze());
                self.pieces.push_back(chunk);
            }
        }
    }

    /// Sends what the socket takes: Ok(bytes sent) with `bytes()` left for later.
    pub(crate) fn send(&mut self, stream: &TcpStream) -> io::Result<usize> {
        if !self.gathered.is_empty() {
            self.pieces.push_back(self.gathered.split().freeze());
        }
        let mut sent = 0;
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
                *slot = IoSlice::new(piece);
                count += 1;
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    sent += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Takes `first` back, what is left of it before everything else.
    pub(crate) fn return_first(&mut self, mut first: Self) {
        if self.bytes == 0 {
            *self = first;
        } else if first.bytes > 0 {
            // Sending has left no gathered bytes.
            first.pieces.append(&mut self.pieces);
            self.pieces = first.pieces;
            self.bytes += first.bytes;
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.pieces.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.pieces.pop_front();
        }
    }

    /// Gives the memory of a silent connection back.
    pub(crate) fn rest(&mut self) {
        if self.bytes == 0 && (self.gathered.capacity() > 0 || self.pieces.capacity() > 0) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::Encoder;

    fn reply(xid: u32, bytes: usize) -> Outbox {
        let mut body = Encoder::new();
        body.payload(Bytes::from(vec![xid as u8; bytes]));
        let mut outbox = Outbox::default();
        outbox.answer(xid, Answer::Success, Some(body.finish()));
        outbox
    }

    fn all(outbox: &Outbox) -> Vec<u8> {
        let bytes = outbox.pieces.iter().flatten().chain(&outbox.gathered).copied().collect::<Vec<u8>>();
        assert_eq!(bytes.len(), outbox.bytes());
        bytes
    }

    #[test]
    fn what_the_socket_did_not_take_goes_before_what_came_meanwhile() {
        for (first_bytes, sent, later_bytes) in [(10_000, 3_000, 20), (100, 7, 10_000), (9_000, 9_001, 9_000)] {
            let (mut first, mut later) = (reply(1, first_bytes), reply(2, later_bytes));
            // As sending does.
            first.pieces.push_back(first.gathered.split().freeze());
            first.advance(sent);
            let expected = [all(&first), all(&later)].concat();
            later.return_first(first);
            assert_eq!(all(&later), expected);
        }
        let mut none = Outbox::default();
        none.return_first(reply(1, 100));
        assert_eq!(all(&none), all(&reply(1, 100)));
    }
}
