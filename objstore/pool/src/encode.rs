//! A blob cut into shards: data cells are slices of the caller's bytes, parity is computed.

use bytes::{Bytes, BytesMut};
use objstore_base::{Error, ErrorKind, Result};
use objstore_erasure::{CodeError, Codec};
use objstore_shard::Stripe;

/// The bodies of all k + m shards, each as its cells in row order. Runs for milliseconds: on a blocking thread.
pub(crate) fn shards(codec: &Codec, stripe: &Stripe, parts: &[Bytes]) -> Result<Vec<Vec<Bytes>>> {
    let (k, m) = (codec.data_cells(), codec.parity_cells());
    let source = Source::new(parts);
    let mut bodies: Vec<Vec<Bytes>> = vec![Vec::with_capacity(stripe.rows() as usize); k + m];
    for row in 0..stripe.rows() {
        let len = stripe.cell_len(row) as usize;
        let data: Vec<Bytes> = (0..k).map(|cell| source.cell(stripe, row, cell, len)).collect();
        let mut parity = vec![BytesMut::zeroed(len); m];
        let inputs: Vec<&[u8]> = data.iter().map(|cell| &cell[..]).collect();
        let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|cell| &mut cell[..]).collect();
        codec.encode(&inputs, &mut outputs).map_err(code_error)?;
        let cells = data.into_iter().chain(parity.into_iter().map(BytesMut::freeze));
        bodies.iter_mut().zip(cells).for_each(|(body, cell)| body.push(cell));
    }
    Ok(bodies)
}

/// The shapes are ours, so a refusal is a defect.
pub(crate) fn code_error(e: CodeError) -> Error {
    Error::new(ErrorKind::Internal, "erasure code").source(e)
}

/// The caller's parts with the offset where each begins.
struct Source<'a> {
    parts: Vec<(u64, &'a Bytes)>,
}

impl<'a> Source<'a> {
    fn new(parts: &'a [Bytes]) -> Self {
        let mut at = 0;
        let with_start = |part: &'a Bytes| {
            let start = at;
            at += part.len() as u64;
            (start, part)
        };
        Self { parts: parts.iter().map(with_start).collect() }
    }

    /// The `len` bytes of a data cell, zero behind the end of the blob. Shares the part's memory where one part holds
    /// the whole cell.
    fn cell(&self, stripe: &Stripe, row: u64, cell: usize, len: usize) -> Bytes {
        let held = stripe.cell_in_blob(row, cell);
        let first = self.parts.partition_point(|(start, part)| start + part.len() as u64 <= held.start);
        let mut copied = BytesMut::new();
        for (start, part) in self.parts.iter().skip(first) {
            if *start >= held.end {
                break;
            }
            let from = held.start.max(*start) - start;
            let to = held.end.min(start + part.len() as u64) - start;
            let slice = part.slice(from as usize..to as usize);
            if slice.len() == len {
                return slice;
            }
            copied.reserve(len - copied.len());
            copied.extend_from_slice(&slice);
        }
        copied.resize(len, 0);
        copied.freeze()
    }
}
