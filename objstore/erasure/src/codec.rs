//! [`Codec`]: encode a row of cells, rebuild missing ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::Kernel;
use crate::coefficients::{Row, of_missing, of_parity};

pub const DATA_CELLS_MAX: usize = 16;
pub const PARITY_CELLS_MAX: usize = 4;

/// Decode matrices kept. One is at most 4 rows x 16 coefficients x 40 bytes = 2.5 KiB; a pool with two drives lost
/// uses one, a scrub over random damage in 16+4 at most C(20, 4) = 4845.
const DECODE_PATTERNS_MAX: usize = 512;

#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq)]
pub enum CodeError {
    #[error("code {k}+{m} is outside 1+0 .. {DATA_CELLS_MAX}+{PARITY_CELLS_MAX}")]
    Shape { k: usize, m: usize },
    #[error("{given} cells given where the code has {expected}")]
    CellCount { given: usize, expected: usize },
    #[error("cells of one row differ in length")]
    CellLength,
    #[error("cell {index} does not exist, is named twice, or is both present and missing")]
    CellIndex { index: usize },
    #[error("{present} cells present where {needed} are needed")]
    TooFewCells { present: usize, needed: usize },
    #[error("the {0:?} kernel does not run on this machine")]
    Kernel(Kernel),
    #[error("the code library refused a valid pattern: {0}")]
    Library(reed_solomon_erasure::Error),
}

/// Every cell outside the chosen k with its row over them.
type DecodeMatrix = Vec<(usize, Row)>;

/// A code of k data and m parity cells. Shared by reference; all methods may run on many threads at once.
pub struct Codec {
    k: usize,
    m: usize,
    kernel: Kernel,
    /// `None` where m = 0: there is nothing to compute.
    library: Option<ReedSolomon>,
    parity: Vec<Row>,
    /// Decode matrices by the mask of the k cells they start from.
    decode: Mutex<BTreeMap<u32, Arc<DecodeMatrix>>>,
}

impl Codec {
    /// A codec with the fastest kernel of this machine.
    ///
    /// # Errors
    /// `Shape` outside 1+0 .. 16+4.
    pub fn new(k: usize, m: usize) -> Result<Self, CodeError> {
        Self::with_kernel(k, m, Kernel::detect())
    }

    /// A codec with a given kernel: tests and measurements compare them.
    ///
    /// # Errors
    /// `Shape`; `Kernel` where the machine lacks it.
    pub fn with_kernel(k: usize, m: usize, kernel: Kernel) -> Result<Self, CodeError> {
        if k == 0 || k > DATA_CELLS_MAX || m > PARITY_CELLS_MAX {
            return Err(CodeError::Shape { k, m });
        }
        if !kernel.is_available() {
            return Err(CodeError::Kernel(kernel));
        }
        let library = if m == 0 { None } else { Some(ReedSolomon::new(k, m).map_err(CodeError::Library)?) };
        let parity = library.as_ref().map_or(Ok(Vec::new()), of_parity).map_err(CodeError::Library)?;
        Ok(Self { k, m, kernel, library, parity, decode: Mutex::default() })
    }

    pub const fn data_cells(&self) -> usize {
        self.k
    }

    pub const fn parity_cells(&self) -> usize {
        self.m
    }

    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Computes all parity cells of a row. Shapes: `data: [k][len]`, `parity: [m][len]`.
    ///
    /// # Errors
    /// `CellCount`, `CellLength`; nothing is written then.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodeError> {
        if data.len() != self.k || parity.len() != self.m {
            return Err(CodeError::CellCount { given: data.len() + parity.len(), expected: self.k + self.m });
        }
        let rows: Vec<&Row> = self.parity.iter().collect();
        self.multiply(&rows, data, parity)
    }

    /// Computes the cells of `missing` from any k (or more) of `present`; cells are named by their index in the row,
    /// data 0..k, parity k..k+m.
    ///
    /// # Errors
    /// `TooFewCells`, `CellIndex`, `CellLength`; nothing is written then.
    pub fn reconstruct(&self, present: &[(usize, &[u8])], missing: &mut [(usize, &mut [u8])]) -> Result<(), CodeError> {
        let wanted = self.mask(missing.iter().map(|cell| cell.0))?;
        let given = self.mask(present.iter().map(|cell| cell.0))?;
        if let Some(index) = (0..self.k + self.m).find(|&index| wanted & given & (1 << index) != 0) {
            return Err(CodeError::CellIndex { index });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut chosen: Vec<(usize, &[u8])> = present.to_vec();
        chosen.sort_unstable_by_key(|cell| cell.0);
        chosen.truncate(self.k);
        if chosen.len() < self.k {
            return Err(CodeError::TooFewCells { present: chosen.len(), needed: self.k });
        }
        let matrix = self.decode_matrix(self.mask(chosen.iter().map(|cell| cell.0))?)?;
        let row_of = |index: usize| {
            let found = matrix.iter().find(|row| row.0 == index);
            found.map(|row| &row.1).ok_or(CodeError::CellIndex { index })
        };
        let rows = missing.iter().map(|cell| row_of(cell.0)).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<&[u8]> = chosen.iter().map(|cell| cell.1).collect();
        let mut outputs: Vec<&mut [u8]> = missing.iter_mut().map(|cell| &mut *cell.1).collect();
        self.multiply(&rows, &inputs, &mut outputs)
    }

    fn mask(&self, mut indices: impl Iterator<Item = usize>) -> Result<u32, CodeError> {
        indices.try_fold(0, |mask, index| {
            let fresh = index < self.k + self.m && mask & (1 << index) == 0;
            if fresh { Ok(mask | (1 << index)) } else { Err(CodeError::CellIndex { index }) }
        })
    }

    fn decode_matrix(&self, chosen: u32) -> Result<Arc<DecodeMatrix>, CodeError> {
        if let Some(matrix) = self.decode.lock().get(&chosen) {
            return Ok(Arc::clone(matrix));
        }
        // Without parity every cell is present when k are, so that nothing can be missing: checked by the caller.
        let too_few = CodeError::TooFewCells { present: 0, needed: self.k };
        let library = self.library.as_ref().ok_or(too_few)?;
        let matrix = Arc::new(of_missing(library, chosen).map_err(CodeError::Library)?);
        let mut decode = self.decode.lock();
        if decode.len() >= DECODE_PATTERNS_MAX {
            decode.clear();
        }
        decode.insert(chosen, Arc::clone(&matrix));
        Ok(matrix)
    }

    fn multiply(&self, rows: &[&Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), CodeError> {
        let len = inputs.first().map_or(0, |cell| cell.len());
        if inputs.iter().any(|cell| cell.len() != len) || outputs.iter().any(|cell| cell.len() != len) {
            return Err(CodeError::CellLength);
        }
        self.kernel.multiply(rows, inputs, outputs);
        Ok(())
    }
}
