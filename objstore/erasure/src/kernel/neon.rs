//! Two 16-byte vectors per step with `TBL`: each nibble of the input looks its product up in a 16-entry table.

use std::arch::aarch64::{vandq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u8};

use super::by_row_count;
use crate::coefficients::Row;

const VECTOR: usize = 16;
const STEP: usize = 2 * VECTOR;

/// Does the whole steps of `len` and gives the bytes done.
///
/// # Safety
/// The machine has NEON; all regions hold `len` bytes; every row has one coefficient per input.
#[target_feature(enable = "neon")]
pub(super) unsafe fn vectors(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    // SAFETY: the caller's promise is the callee's condition.
    unsafe { by_row_count!(pass(rows, inputs, outputs, len)) }
}

/// # Safety
/// As [`vectors`], and `R <= rows.len() == outputs.len()`.
#[target_feature(enable = "neon")]
unsafe fn pass<const R: usize>(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    let done = len / STEP * STEP;
    let outputs: [*mut u8; R] = std::array::from_fn(|r| outputs[r].as_mut_ptr());
    let rows: [&Row; R] = std::array::from_fn(|r| rows[r]);
    let low_bits = vdupq_n_u8(15);
    for at in (0..done).step_by(STEP) {
        let mut sums = [[vdupq_n_u8(0); 2]; R];
        for (c, input) in inputs.iter().enumerate() {
            // SAFETY: `at + STEP <= len`, the length of every input.
            let pair = unsafe {
                let from = input.as_ptr().add(at);
                [vld1q_u8(from), vld1q_u8(from.add(VECTOR))]
            };
            let low = pair.map(|x| vandq_u8(x, low_bits));
            let high = pair.map(|x| vshrq_n_u8::<4>(x));
            for r in 0..R {
                // SAFETY: every row has one coefficient per input; a table is 16 bytes long.
                let (low_products, high_products) = unsafe {
                    let nibbles = &rows[r].get_unchecked(c).nibbles;
                    (vld1q_u8(nibbles[0].as_ptr()), vld1q_u8(nibbles[1].as_ptr()))
                };
                for v in 0..2 {
                    let product = veorq_u8(vqtbl1q_u8(low_products, low[v]), vqtbl1q_u8(high_products, high[v]));
                    sums[r][v] = veorq_u8(sums[r][v], product);
                }
            }
        }
        for r in 0..R {
            // SAFETY: `at + STEP <= len`, the length of every output; outputs are exclusive borrows.
            unsafe {
                let to = outputs[r].add(at);
                vst1q_u8(to, sums[r][0]);
                vst1q_u8(to.add(VECTOR), sums[r][1]);
            }
        }
    }
    done
}
