//! Two 32-byte vectors per step with `GF2P8AFFINEQB`: one instruction multiplies 32 bytes.

use std::arch::x86_64::{
    __m256i, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::by_row_count;
use crate::coefficients::Row;

const VECTOR: usize = 32;
const STEP: usize = 2 * VECTOR;

/// Does the whole steps of `len` and gives the bytes done.
///
/// # Safety
/// The machine has AVX2 and GFNI; all regions hold `len` bytes; every row has one coefficient per input.
#[target_feature(enable = "avx2,gfni")]
pub(super) unsafe fn vectors(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    // SAFETY: the caller's promise is the callee's condition.
    unsafe { by_row_count!(pass(rows, inputs, outputs, len)) }
}

/// # Safety
/// As [`vectors`], and `R <= rows.len() == outputs.len()`.
#[target_feature(enable = "avx2,gfni")]
unsafe fn pass<const R: usize>(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    let done = len / STEP * STEP;
    let outputs: [*mut u8; R] = std::array::from_fn(|r| outputs[r].as_mut_ptr());
    let rows: [&Row; R] = std::array::from_fn(|r| rows[r]);
    for at in (0..done).step_by(STEP) {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (c, input) in inputs.iter().enumerate() {
            // SAFETY: `at + STEP <= len`, the length of every input.
            let (a, b) = unsafe {
                let from = input.as_ptr().add(at);
                (_mm256_loadu_si256(from.cast::<__m256i>()), _mm256_loadu_si256(from.add(VECTOR).cast::<__m256i>()))
            };
            for r in 0..R {
                // SAFETY: every row has one coefficient per input.
                let matrix = _mm256_set1_epi64x(unsafe { rows[r].get_unchecked(c) }.affine.cast_signed());
                sums[r][0] = _mm256_xor_si256(sums[r][0], _mm256_gf2p8affine_epi64_epi8::<0>(a, matrix));
                sums[r][1] = _mm256_xor_si256(sums[r][1], _mm256_gf2p8affine_epi64_epi8::<0>(b, matrix));
            }
        }
        for r in 0..R {
            // SAFETY: `at + STEP <= len`, the length of every output; outputs are exclusive borrows.
            unsafe {
                let to = outputs[r].add(at);
                _mm256_storeu_si256(to.cast::<__m256i>(), sums[r][0]);
                _mm256_storeu_si256(to.add(VECTOR).cast::<__m256i>(), sums[r][1]);
            }
        }
    }
    done
}
