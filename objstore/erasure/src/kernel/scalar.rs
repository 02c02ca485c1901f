//! Tables only: the fallback for machines without vector instructions, and the last bytes of every other kernel.

use std::ops::Range;

use crate::coefficients::Row;

/// Bytes multiplied per expanded table, so that input and output stay in the first-level cache (2 x 8 KiB).
const BLOCK_BYTES: usize = 8 << 10;

/// Does all `len` bytes with 256-entry tables expanded per block and coefficient.
pub(super) fn whole(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    for start in (0..len).step_by(BLOCK_BYTES) {
        let block = start..(start + BLOCK_BYTES).min(len);
        for (row, output) in rows.iter().zip(outputs.iter_mut()) {
            let output = &mut output[block.clone()];
            output.fill(0);
            for (coefficient, input) in row.iter().zip(inputs) {
                let mut products = [0; 256];
                products.iter_mut().zip(0..=255).for_each(|(product, x)| *product = coefficient.times(x));
                for (out, x) in output.iter_mut().zip(&input[block.clone()]) {
                    *out ^= products[usize::from(*x)];
                }
            }
        }
    }
    len
}

/// Does the bytes of `range`, fewer than one vector.
pub(super) fn tail(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], range: Range<usize>) {
    for (row, output) in rows.iter().zip(outputs) {
        for at in range.clone() {
            output[at] = row.iter().zip(inputs).fold(0, |sum, (coefficient, input)| sum ^ coefficient.times(input[at]));
        }
    }
}
