//! Coefficients of the code, read out of the library by coding unit vectors, and the tables the kernels want.
//!
//! A cell is a linear combination of k others; coding the k unit vectors of length k therefore writes the coefficients
//! of a cell into its bytes. Nothing here depends on how the library builds its matrices.

use reed_solomon_erasure::galois_8::{ReedSolomon, mul};

/// One constant of GF(2^8) (polynomial 0x11d) in the forms the kernels multiply with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coefficient {
    /// The 8x8 bit matrix of the multiplication, in the layout of `GF2P8AFFINEQB`: byte 7-i holds output bit i.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "an instruction of x86 only"))]
    pub(crate) affine: u64,
    /// Products with 0..16 and with 0, 16, .. 240: one 16-entry shuffle table per nibble.
    pub(crate) nibbles: [[u8; 16]; 2],
}

impl Coefficient {
    fn new(value: u8) -> Self {
        let mut affine = [0_u8; 8];
        for input_bit in 0..8 {
            let product = mul(value, 1 << input_bit);
            for (output_bit, row) in affine.iter_mut().rev().enumerate() {
                *row |= ((product >> output_bit) & 1) << input_bit;
            }
        }
        let mut nibbles = [[0; 16]; 2];
        for n in 0..16_u8 {
            nibbles[0][usize::from(n)] = mul(value, n);
            nibbles[1][usize::from(n)] = mul(value, n << 4);
        }
        Self { affine: u64::from_le_bytes(affine), nibbles }
    }

    /// The product of the constant with `x`.
    pub(crate) const fn times(&self, x: u8) -> u8 {
        self.nibbles[0][(x & 15) as usize] ^ self.nibbles[1][(x >> 4) as usize]
    }
}

/// The coefficients of one output cell over its k input cells.
pub(crate) type Row = Box<[Coefficient]>;

fn row(bytes: &[u8]) -> Row {
    bytes.iter().map(|&value| Coefficient::new(value)).collect()
}

fn unit_vectors(k: usize) -> Vec<Vec<u8>> {
    (0..k)
        .map(|j| {
            let mut unit = vec![0; k];
            unit[j] = 1;
            unit
        })
        .collect()
}

/// The rows of the m parity cells over the k data cells.
pub(crate) fn of_parity(library: &ReedSolomon) -> Result<Vec<Row>, reed_solomon_erasure::Error> {
    let k = library.data_shard_count();
    let mut parity = vec![vec![0; k]; library.parity_shard_count()];
    library.encode_sep(&unit_vectors(k), &mut parity)?;
    Ok(parity.iter().map(|bytes| row(bytes)).collect())
}

/// The rows of every cell that is not in `chosen`, over the k cells of `chosen` in ascending order.
///
/// `chosen` is a bit mask of exactly k cells. The answer pairs each other cell's index with its row.
pub(crate) fn of_missing(library: &ReedSolomon, chosen: u32) -> Result<Vec<(usize, Row)>, reed_solomon_erasure::Error> {
    let n = library.total_shard_count();
    let mut units = unit_vectors(library.data_shard_count()).into_iter();
    let is_chosen = |index: usize| chosen & (1 << index) != 0;
    let mut cells: Vec<Option<Vec<u8>>> = (0..n).map(|i| if is_chosen(i) { units.next() } else { None }).collect();
    library.reconstruct(&mut cells)?;
    let missing = (0..n).filter(|&index| !is_chosen(index));
    Ok(missing.filter_map(|index| cells[index].as_ref().map(|bytes| (index, row(bytes)))).collect())
}
