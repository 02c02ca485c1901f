//! XDR (RFC 4506): a decoder that trusts no count, and an encoder that does not copy payloads.

use bytes::{Buf, Bytes, BytesMut};

/// The bytes do not say what was asked for: too few of them, a count over its bound, or a value outside its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage;

/// Reads values off the front of received bytes. Variable-length values come as slices of the received record: they
/// keep the whole record alive, so what is stored for long has to be copied.
#[derive(Debug, Clone)]
pub struct Decoder {
    bytes: Bytes,
}

/// Zero bytes that bring `length` up to a multiple of four.
const fn pad(length: usize) -> usize {
    (4 - length % 4) % 4
}

impl Decoder {
    pub const fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub fn u32(&mut self) -> Result<u32, Garbage> {
        self.bytes.try_get_u32().map_err(|_| Garbage)
    }

    pub fn i32(&mut self) -> Result<i32, Garbage> {
        self.bytes.try_get_i32().map_err(|_| Garbage)
    }

    pub fn u64(&mut self) -> Result<u64, Garbage> {
        self.bytes.try_get_u64().map_err(|_| Garbage)
    }

    pub fn bool(&mut self) -> Result<bool, Garbage> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbage),
        }
    }

    /// Variable-length opaque data of at most `max` bytes: a slice, nothing is allocated.
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, Garbage> {
        let length = usize::try_from(self.u32()?).map_err(|_| Garbage)?;
        if length > max || length > self.bytes.len() {
            return Err(Garbage);
        }
        self.take(length)
    }

    /// A string as its bytes: RFC 4506 asks for ASCII, file names are not.
    pub fn string(&mut self, max: usize) -> Result<Bytes, Garbage> {
        self.opaque(max)
    }

    /// Fixed-length opaque data.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(&taken[..]).map_err(|_| Garbage)
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// What is not decoded yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// # Errors
    /// Bytes are left over.
    pub fn finish(self) -> Result<(), Garbage> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Garbage) }
    }

    /// The pad's value is not looked at, as other servers do not either; its presence is demanded.
    fn take(&mut self, length: usize) -> Result<Bytes, Garbage> {
        let padded = length.checked_add(pad(length)).ok_or(Garbage)?;
        if padded > self.bytes.len() {
            return Err(Garbage);
        }
        let taken = self.bytes.split_to(length);
        self.bytes.advance(padded - length);
        Ok(taken)
    }
}

/// Encoded bytes in pieces, to be sent in order.
#[derive(Debug, Clone, Default)]
pub struct Body {
    first: Bytes,
    rest: Vec<Bytes>,
    length: usize,
}

impl Body {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(crate) fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.first).chain(self.rest)
    }

    /// One contiguous copy, for tests and small bodies.
    pub fn to_bytes(&self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.length);
        for chunk in self.chunks() {
            joined.extend_from_slice(chunk);
        }
        joined.freeze()
    }
}

/// Appends values. A payload becomes a piece of its own, all else is gathered.
#[derive(Debug, Default)]
pub struct Encoder {
    pieces: Vec<Bytes>,
    gathered: Vec<u8>,
    length: usize,
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `bytes` of values, payloads not counted, without growing.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { gathered: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub fn u32(&mut self, value: u32) {
        self.append(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.append(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.append(&value.to_be_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// # Panics
    /// `value` is 4 GiB or longer: what is sent comes from here, not from the wire.
    pub fn opaque(&mut self, value: &[u8]) {
        self.count(value.len());
        self.fixed(value);
    }

    pub fn fixed(&mut self, value: &[u8]) {
        self.append(value);
        self.append(&[0; 3][..pad(value.len())]);
    }

    /// Length and bytes, the bytes not copied.
    ///
    /// # Panics
    /// As `opaque`.
    pub fn payload(&mut self, value: Bytes) {
        self.count(value.len());
        let padding = pad(value.len());
        self.length += value.len();
        self.pieces.push(std::mem::take(&mut self.gathered).into());
        self.pieces.push(value);
        self.append(&[0; 3][..padding]);
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn finish(self) -> Body {
        let last = Bytes::from(self.gathered);
        let mut pieces = self.pieces.into_iter();
        let Some(first) = pieces.next() else {
            return Body { first: last, rest: Vec::new(), length: self.length };
        };
        let mut rest: Vec<Bytes> = pieces.collect();
        rest.push(last);
        Body { first, rest, length: self.length }
    }

    fn count(&mut self, length: usize) {
        self.u32(u32::try_from(length).expect("what is sent is far below 4 GiB"));
    }

    fn append(&mut self, value: &[u8]) {
        self.gathered.extend_from_slice(value);
        self.length += value.len();
    }
}
