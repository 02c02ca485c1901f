//! Reads little-endian fields off a record without trusting its length.

use objstore_base::{Error, ErrorKind, Result};

pub(crate) struct Cursor<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Over `value`, whose version byte must be in `1..=newest`; gives the version too.
    ///
    /// # Errors
    /// `Corrupt` where it is empty or of version 0, `NewerFormat` beyond `newest`.
    pub(crate) fn new(what: &'static str, value: &'a [u8], newest: u8) -> Result<(Self, u8)> {
        let Some((&version, rest)) = value.split_first() else {
            return Err(Error::corrupt(what, "the record is empty"));
        };
        match version {
            0 => Err(Error::corrupt(what, "the record has version 0")),
            v if v > newest => Err(Error::new(ErrorKind::NewerFormat, what)
                .context(format!("the record has version {v}, this program reads up to {newest}"))),
            v => Ok((Self { what, rest }, v)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.bad("the record ends early"));
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Everything that has not been read.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// # Errors
    /// `Corrupt` where bytes are left over.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad("bytes follow the record")) }
    }

    pub(crate) fn bad(&self, why: &str) -> Error {
        Error::corrupt(self.what, format!("{why} ({} bytes left)", self.rest.len()))
    }
}
