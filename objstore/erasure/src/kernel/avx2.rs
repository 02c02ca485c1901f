//! Two 32-byte vectors per step with `PSHUFB`: each nibble of the input looks its product up in a 16-entry table.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_xor_si256,
};

use super::by_row_count;
use crate::coefficients::Row;

const VECTOR: usize = 32;
const STEP: usize = 2 * VECTOR;

/// Does the whole steps of `len` and gives the bytes done.
///
/// # Safety
/// The machine has AVX2; all regions hold `len` bytes; every row has one coefficient per input.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn vectors(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    // SAFETY: the caller's promise is the callee's condition.
    unsafe { by_row_count!(pass(rows, inputs, outputs, len)) }
}

/// The 16-entry table in both halves of a vector.
#[target_feature(enable = "avx2")]
fn table(nibbles: &[u8; 16]) -> __m256i {
    // SAFETY: the array is 16 bytes long.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(nibbles.as_ptr().cast::<__m128i>()) })
}

/// # Safety
/// As [`vectors`], and `R <= rows.len() == outputs.len()`.
#[target_feature(enable = "avx2")]
unsafe fn pass<const R: usize>(rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
    let done = len / STEP * STEP;
    let outputs: [*mut u8; R] = std::array::from_fn(|r| outputs[r].as_mut_ptr());
    let rows: [&Row; R] = std::array::from_fn(|r| rows[r]);
    let low_bits = _mm256_set1_epi8(15);
    for at in (0..done).step_by(STEP) {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (c, input) in inputs.iter().enumerate() {
            // SAFETY: `at + STEP <= len`, the length of every input.
            let pair = unsafe {
                let from = input.as_ptr().add(at);
                [_mm256_loadu_si256(from.cast::<__m256i>()), _mm256_loadu_si256(from.add(VECTOR).cast::<__m256i>())]
            };
            let low = pair.map(|x| _mm256_and_si256(x, low_bits));
            let high = pair.map(|x| _mm256_and_si256(_mm256_srli_epi64::<4>(x), low_bits));
            for r in 0..R {
                // SAFETY: every row has one coefficient per input.
                let nibbles = &unsafe { rows[r].get_unchecked(c) }.nibbles;
                let (low_products, high_products) = (table(&nibbles[0]), table(&nibbles[1]));
                for v in 0..2 {
                    let product = _mm256_xor_si256(
                        _mm256_shuffle_epi8(low_products, low[v]),
                        _mm256_shuffle_epi8(high_products, high[v]),
                    );
                    sums[r][v] = _mm256_xor_si256(sums[r][v], product);
                }
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
