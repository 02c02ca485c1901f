//! The kernels: `outputs[r] = sum over c of rows[r][c] * inputs[c]`, one pass over the inputs.
//!
//! All k inputs are read once and up to four outputs are kept in registers, so memory traffic is k reads and m writes
//! per row whatever the code. A kernel handles whole vectors; the bytes behind the last whole vector are done with the
//! nibble tables.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod gfni_avx2;
#[cfg(target_arch = "x86_64")]
mod gfni_avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::DATA_CELLS_MAX;
use crate::coefficients::Row;

/// Outputs computed in one pass: as many as a code has parity cells.
const ROWS_PER_PASS: usize = 4;

/// How the arithmetic is done. Slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Table look-ups; runs everywhere.
    Scalar,
    /// `TBL` on 16 bytes (every aarch64).
    Neon,
    /// `PSHUFB` on 32 bytes (x86-64 since 2013).
    Avx2,
    /// `GF2P8AFFINEQB` on 32 bytes.
    GfniAvx2,
    /// `GF2P8AFFINEQB` on 64 bytes.
    GfniAvx512,
}

impl Kernel {
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Neon, Self::Avx2, Self::GfniAvx2, Self::GfniAvx512];

    /// The fastest kernel this machine runs.
    pub fn detect() -> Self {
        Self::ALL.into_iter().rev().find(|kernel| kernel.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this machine has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::GfniAvx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
            #[cfg(target_arch = "x86_64")]
            Self::GfniAvx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni"),
            #[allow(unreachable_patterns, reason = "which kernels are compiled depends on the architecture")]
            _ => false,
        }
    }

    /// All slices have one length and every row has as many coefficients as there are inputs.
    pub(crate) fn multiply(self, rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        let len = inputs.first().map_or(0, |input| input.len());
        assert!(self.is_available(), "the codec was built with a kernel of this machine");
        assert!(rows.len() == outputs.len() && inputs.len() <= DATA_CELLS_MAX, "one row per output");
        assert!(rows.iter().all(|row| row.len() == inputs.len()), "one coefficient per input");
        assert!(inputs.iter().all(|input| input.len() == len), "inputs of one length");
        assert!(outputs.iter().all(|output| output.len() == len), "outputs of the inputs' length");
        for (rows, outputs) in rows.chunks(ROWS_PER_PASS).zip(outputs.chunks_mut(ROWS_PER_PASS)) {
            let whole = self.multiply_vectors(rows, inputs, outputs, len);
            scalar::tail(rows, inputs, outputs, whole..len);
        }
    }

    /// Runs the kernel over the whole vectors and gives the number of bytes done.
    fn multiply_vectors(self, rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], len: usize) -> usize {
        match self {
            Self::Scalar => scalar::whole(rows, inputs, outputs, len),
            // SAFETY of all calls: `multiply` asserted that the machine has the instructions and that all regions are
            // `len` bytes long.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { neon::vectors(rows, inputs, outputs, len) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::vectors(rows, inputs, outputs, len) },
            #[cfg(target_arch = "x86_64")]
            Self::GfniAvx2 => unsafe { gfni_avx2::vectors(rows, inputs, outputs, len) },
            #[cfg(target_arch = "x86_64")]
            Self::GfniAvx512 => unsafe { gfni_avx512::vectors(rows, inputs, outputs, len) },
            #[allow(unreachable_patterns, reason = "which kernels are compiled depends on the architecture")]
            _ => 0,
        }
    }
}

/// Calls `$pass::<R>` with the number of outputs as a constant, so that the accumulators stay in registers.
macro_rules! by_row_count {
    ($pass:ident($rows:expr, $inputs:expr, $outputs:expr, $len:expr)) => {
        match $rows.len() {
            0 => 0,
            1 => $pass::<1>($rows, $inputs, $outputs, $len),
            2 => $pass::<2>($rows, $inputs, $outputs, $len),
            3 => $pass::<3>($rows, $inputs, $outputs, $len),
            _ => $pass::<4>($rows, $inputs, $outputs, $len),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use by_row_count;
