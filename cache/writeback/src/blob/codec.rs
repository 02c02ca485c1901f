//! Compression of one frame or metadata block: a tag per piece, so that what does not shrink is stored as it is.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use objstore_base::{Error, ErrorKind, Result};
use zstd::bulk::{Compressor, Decompressor};

/// Compression has to save this fraction of a piece (one in ...), or the piece is stored plain: what saves less costs
/// every reader more time than the bytes are worth.
const SAVING_MIN: usize = 16;

/// How the blobs of a store are compressed. Every blob says per frame what was done, so this may change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// The cheapest: near 1 GB/s per core, and several times that to read.
    Lz4,
    /// `level` as in zstd; 1 halves the throughput of lz4 and saves a quarter more.
    Zstd {
        level: i32,
    },
}

impl Default for Compression {
    /// zstd at its fastest level: a pool is usually slower than one core of it.
    fn default() -> Self {
        Self::Zstd { level: 1 }
    }
}

/// What was done to one piece. The discriminants are on-disk values and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    Lz4 = 1,
    Zstd = 2,
}

impl Codec {
    pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Compresses pieces with tables and buffers that it keeps between them.
pub(crate) struct Packer {
    engine: Engine,
    scratch: Vec<u8>,
}

enum Engine {
    None,
    Lz4(Box<CompressTable>),
    Zstd(Compressor<'static>),
}

impl Packer {
    /// # Errors
    /// `InvalidArgument` for a level that zstd does not know.
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        let engine = match compression {
            Compression::None => Engine::None,
            Compression::Lz4 => Engine::Lz4(Box::new(CompressTable::large())),
            Compression::Zstd { level } => Engine::Zstd(
                Compressor::new(level)
                    .map_err(|e| Error::new(ErrorKind::InvalidArgument, "start zstd").entity(level).source(e))?,
            ),
        };
        Ok(Self { engine, scratch: Vec::new() })
    }

    /// The bytes to store for `raw`, and what was done to them.
    ///
    /// # Errors
    /// `Internal`: the compressor failed although its output has room for every input.
    pub(crate) fn pack<'a>(&'a mut self, raw: &'a [u8]) -> Result<(Codec, &'a [u8])> {
        let (codec, len) = match &mut self.engine {
            Engine::None => return Ok((Codec::None, raw)),
            Engine::Lz4(table) => {
                self.scratch.resize(self.scratch.len().max(get_maximum_output_size(raw.len())), 0);
                let len = compress_into_with_table(raw, &mut self.scratch, table).map_err(internal)?;
                (Codec::Lz4, len)
            }
            Engine::Zstd(compressor) => {
                self.scratch.resize(self.scratch.len().max(zstd::zstd_safe::compress_bound(raw.len())), 0);
                let len = compressor.compress_to_buffer(raw, self.scratch.as_mut_slice()).map_err(internal)?;
                (Codec::Zstd, len)
            }
        };
        match self.scratch.get(..len) {
            Some(packed) if len + raw.len().div_ceil(SAVING_MIN) <= raw.len() => Ok((codec, packed)),
            _ => Ok((Codec::None, raw)),
        }
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "compress").source(error)
}

/// Undoes [`Packer::pack`]; keeps its zstd context between pieces.
#[derive(Default)]
pub(crate) struct Unpacker {
    zstd: Option<Decompressor<'static>>,
}

impl Unpacker {
    /// The `raw_len` bytes that were stored as `stored`; `None` if they cannot have been. The caller has bounded
    /// `raw_len` by the format's limits.
    pub(crate) fn unpack(&mut self, codec: Codec, stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
        let mut raw = vec![0; raw_len];
        let len = match codec {
            Codec::None => {
                return (stored.len() == raw_len).then(|| stored.to_vec());
            }
            Codec::Lz4 => decompress_into(stored, &mut raw).ok()?,
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(Decompressor::new().ok()?);
                }
                self.zstd.as_mut()?.decompress_to_buffer(stored, raw.as_mut_slice()).ok()?
            }
        };
        (len == raw_len).then_some(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn what_shrinks_is_packed_and_what_does_not_is_stored_plain() {
        let text = b"the log is the system ".repeat(1000);
        let noise = noise(20_000);
        for (compression, codec) in [
            (Compression::Lz4, Codec::Lz4),
            (Compression::Zstd { level: 1 }, Codec::Zstd),
            (Compression::None, Codec::None),
        ] {
            let mut packer = Packer::new(compression).expect("a known level");
            let mut unpacker = Unpacker::default();
            for (raw, wanted) in [(&text, codec), (&noise, Codec::None), (&vec![7], Codec::None)] {
                let (codec, stored) = packer.pack(raw).expect("room for every input");
                assert_eq!(codec, wanted, "{compression:?}");
                assert!(codec == Codec::None || stored.len() + raw.len() / SAVING_MIN <= raw.len());
                assert_eq!(unpacker.unpack(codec, stored, raw.len()).as_ref(), Some(raw));
                assert_eq!(unpacker.unpack(codec, stored, raw.len() + 1), None, "too short for what is promised");
            }
        }
    }

    #[test]
    fn no_input_makes_the_unpacker_panic_or_write_past_its_buffer() {
        let mut unpacker = Unpacker::default();
        let noise = noise(4096);
        for codec in [Codec::Lz4, Codec::Zstd] {
            for start in 0..1024 {
                let raw = unpacker.unpack(codec, &noise[start..], 700);
                assert!(raw.is_none_or(|raw| raw.len() == 700));
            }
        }
    }
}
