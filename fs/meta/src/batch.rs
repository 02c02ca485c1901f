//! [`Batch`]: the encoded form of one atomic change; the journal stores these very bytes.
//!
//! An operation is `tag u8, column u8, key len u16, key` and, for a put, `value len u32, value`; for an add, `delta i64`;
//! for a range delete, `end len u16, end`. All little-endian. See `FORMAT.md`.

use objstore_base::{Error, Result};

use crate::Column;

const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;
const TAG_ADD: u8 = 3;
const TAG_DELETE_RANGE: u8 = 4;

/// One decoded operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOp<'a> {
    Put {
        column: Column,
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        column: Column,
        key: &'a [u8],
    },
    /// Adds to a counter; a counter that is not there counts as 0.
    Add {
        column: Column,
        key: &'a [u8],
        delta: i64,
    },
    /// Deletes `start..end`.
    DeleteRange {
        column: Column,
        start: &'a [u8],
        end: &'a [u8],
    },
}

/// Operations to apply together, in order. Keys are at most 65,535 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    encoded: Vec<u8>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        self.head(TAG_PUT, column, key);
        let len = u32::try_from(value.len()).expect("values are far below 4 GiB: the largest is an xattr of 64 KiB");
        self.encoded.extend_from_slice(&len.to_le_bytes());
        self.encoded.extend_from_slice(value);
    }

    pub fn delete(&mut self, column: Column, key: &[u8]) {
        self.head(TAG_DELETE, column, key);
    }

    /// Adds `delta` to a counter. A key that was ever added to is only ever added to or deleted.
    pub fn add(&mut self, column: Column, key: &[u8], delta: i64) {
        self.head(TAG_ADD, column, key);
        self.encoded.extend_from_slice(&delta.to_le_bytes());
    }

    pub fn delete_range(&mut self, column: Column, start: &[u8], end: &[u8]) {
        self.head(TAG_DELETE_RANGE, column, start);
        self.key(end);
    }

    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    pub fn clear(&mut self) {
        self.encoded.clear();
    }

    /// Appends the operations of `other`.
    pub fn append(&mut self, other: &Batch) {
        self.encoded.extend_from_slice(&other.encoded);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The batch that `encoded` holds.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are no batch.
    pub fn decode(encoded: &[u8]) -> Result<Self> {
        for op in BatchReader::new(encoded) {
            op?;
        }
        Ok(Self { encoded: encoded.to_vec() })
    }

    pub fn ops(&self) -> BatchReader<'_> {
        BatchReader::new(&self.encoded)
    }

    fn head(&mut self, tag: u8, column: Column, key: &[u8]) {
        self.encoded.extend_from_slice(&[tag, column as u8]);
        self.key(key);
    }

    fn key(&mut self, key: &[u8]) {
        let len = u16::try_from(key.len()).expect("keys are ids and names of at most 255 bytes");
        self.encoded.extend_from_slice(&len.to_le_bytes());
        self.encoded.extend_from_slice(key);
    }
}

/// Iterates over the operations of encoded bytes; stops after the first error.
#[derive(Clone, Debug)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> BatchReader<'a> {
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self { rest: encoded, len: encoded.len() }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            return Err(self.bad("it ends inside an operation"));
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives N bytes"))
    }

    fn key(&mut self) -> Result<&'a [u8]> {
        let len = u16::from_le_bytes(self.array()?);
        self.take(len.into())
    }

    fn next_op(&mut self) -> Result<BatchOp<'a>> {
        let [tag, column] = self.array()?;
        let column = Column::from_tag(column).ok_or_else(|| self.bad("unknown column"))?;
        let key = self.key()?;
        match tag {
            TAG_PUT => {
                let len = u32::from_le_bytes(self.array()?);
                let len = usize::try_from(len).map_err(|_| self.bad("value too long"))?;
                Ok(BatchOp::Put { column, key, value: self.take(len)? })
            }
            TAG_DELETE => Ok(BatchOp::Delete { column, key }),
            TAG_ADD => Ok(BatchOp::Add { column, key, delta: i64::from_le_bytes(self.array()?) }),
            TAG_DELETE_RANGE => Ok(BatchOp::DeleteRange { column, start: key, end: self.key()? }),
            _ => Err(self.bad("unknown operation")),
        }
    }

    fn bad(&self, why: &str) -> Error {
        Error::corrupt("decode batch", format!("{why} at byte {} of {}", self.len - self.rest.len(), self.len))
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Result<BatchOp<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = self.next_op();
        if op.is_err() {
            self.rest = &[];
        }
        Some(op)
    }
}

#[cfg(test)]
mod tests;
