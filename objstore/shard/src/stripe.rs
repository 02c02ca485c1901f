//! Where the bytes of a blob lie: rows of k cells, the last row with smaller cells.
//!
//! Row r holds the blob bytes `r * k * cell_bytes ..`. Every row but the last has cells of `cell_bytes`; the last one
//! has cells of a k-th of the rest, rounded up, so that a small blob has small shards. Bytes behind the end of the
//! blob (fewer than k) are zero and are part of the code.

use std::ops::Range;

use objstore_base::{Error, ErrorKind, Result};

pub const CELL_BYTES_MIN: u32 = 64 << 10;
pub const CELL_BYTES_MAX: u32 = 16 << 20;

/// No blob is longer: 1 PiB keeps every product below in a u64 and every shard in a local file.
const BLOB_BYTES_MAX: u64 = 1 << 50;

/// The geometry of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    k: u8,
    cell_bytes: u32,
    blob_len: u64,
}

impl Stripe {
    /// # Errors
    /// `InvalidArgument` for k = 0, a cell size that is no multiple of 64 KiB in 64 KiB ..= 16 MiB, or a blob of more
    /// than 1 PiB.
    pub fn new(k: u8, cell_bytes: u32, blob_len: u64) -> Result<Self> {
        let cell_fits =
            (CELL_BYTES_MIN..=CELL_BYTES_MAX).contains(&cell_bytes) && cell_bytes.is_multiple_of(CELL_BYTES_MIN);
        if k == 0 || !cell_fits || blob_len > BLOB_BYTES_MAX {
            let why = format!("k {k}, cells of {cell_bytes} bytes, blob of {blob_len} bytes");
            return Err(Error::new(ErrorKind::InvalidArgument, "stripe a blob").context(why));
        }
        Ok(Self { k, cell_bytes, blob_len })
    }

    pub const fn blob_len(&self) -> u64 {
        self.blob_len
    }

    pub const fn k(&self) -> usize {
        self.k as usize
    }

    const fn row_bytes(&self) -> u64 {
        self.k as u64 * self.cell_bytes as u64
    }

    pub const fn rows(&self) -> u64 {
        self.blob_len.div_ceil(self.row_bytes())
    }

    /// Length of each cell of `row`.
    pub const fn cell_len(&self, row: u64) -> u64 {
        let rest = self.blob_len.saturating_sub(row * self.row_bytes());
        if rest >= self.row_bytes() { self.cell_bytes as u64 } else { rest.div_ceil(self.k as u64) }
    }

    /// Where a cell of `row` lies in the body of its shard.
    pub const fn cell_in_shard(&self, row: u64) -> Range<u64> {
        let start = row * self.cell_bytes as u64;
        start..start + self.cell_len(row)
    }

    /// Length of the body of each shard.
    pub const fn shard_len(&self) -> u64 {
        let full = self.blob_len / self.row_bytes();
        full * self.cell_bytes as u64 + self.cell_len(full)
    }

    /// The blob bytes of data cell `cell` of `row`; shorter than the cell, or empty, at the end of the blob.
    pub fn cell_in_blob(&self, row: u64, cell: usize) -> Range<u64> {
        let start = row * self.row_bytes() + cell as u64 * self.cell_len(row);
        start.min(self.blob_len)..(start + self.cell_len(row)).min(self.blob_len)
    }

    /// The rows that hold any byte of `range`.
    pub const fn rows_of(&self, range: &Range<u64>) -> Range<u64> {
        if range.start >= range.end {
            return 0..0;
        }
        range.start / self.row_bytes()..range.end.div_ceil(self.row_bytes())
    }

    /// The data cells of `row` that hold bytes of `range`, each with the part of the cell that is wanted.
    pub fn cells_of(&self, row: u64, range: &Range<u64>) -> Vec<(usize, Range<u64>)> {
        let wanted = |cell: usize| {
            let held = self.cell_in_blob(row, cell);
            let (start, end) = (range.start.max(held.start), range.end.min(held.end));
            (start < end).then(|| (cell, start - held.start..end - held.start))
        };
        (0..self.k()).filter_map(wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_blobs_have_small_shards() {
        let shard_len = |blob_len| Stripe::new(4, 1 << 20, blob_len).expect("valid").shard_len();
        assert_eq!([0, 1, 4, 5, 4 << 20, (4 << 20) + 1].map(shard_len), [0, 1, 1, 2, 1 << 20, (1 << 20) + 1]);
    }

    proptest! {
        #[test]
        fn cells_partition_the_blob_and_fill_the_shards(k in 1_u8..=16, units in 1_u32..4, blob_len in 0_u64..5_000_000) {
            let stripe = Stripe::new(k, units * CELL_BYTES_MIN, blob_len).expect("valid");
            let mut at = 0;
            for row in 0..stripe.rows() {
                prop_assert_eq!(stripe.cell_in_shard(row).end, if row + 1 == stripe.rows() { stripe.shard_len() } else { stripe.cell_in_shard(row + 1).start });
                for cell in 0..stripe.k() {
                    let held = stripe.cell_in_blob(row, cell);
                    prop_assert_eq!(held.start, at);
                    prop_assert!(held.end - held.start <= stripe.cell_len(row));
                    at = held.end;
                }
            }
            prop_assert_eq!(at, blob_len);
        }

        #[test]
        fn the_cells_of_a_range_hold_exactly_its_bytes(k in 1_u8..=16, blob_len in 1_u64..5_000_000, a: u64, b: u64) {
            let stripe = Stripe::new(k, CELL_BYTES_MIN, blob_len).expect("valid");
            let (a, b) = (a % (blob_len + 1), b % (blob_len + 1));
            let range = a.min(b)..a.max(b);
            let mut at = range.start;
            for row in stripe.rows_of(&range) {
                for (cell, part) in stripe.cells_of(row, &range) {
                    let held = stripe.cell_in_blob(row, cell);
                    prop_assert_eq!(held.start + part.start, at);
                    at = held.start + part.end;
                }
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
