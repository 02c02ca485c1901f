//! Every kernel gives the bytes of the `reed-solomon-erasure` crate: all codes, odd lengths, unaligned cells.

use objstore_erasure::{CodeError, Codec, Kernel};
use proptest::prelude::*;
use reed_solomon_erasure::galois_8::ReedSolomon;

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// A row of n cells of `len` bytes, each starting `skew + index` bytes into its allocation, coded by the library.
fn library_row(k: usize, m: usize, len: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut row: Vec<Vec<u8>> = (0..k).map(|c| bytes(seed + c as u64, len)).collect();
    row.extend(vec![vec![0; len]; m]);
    if m > 0 && len > 0 {
        ReedSolomon::new(k, m).expect("shape").encode(&mut row).expect("encode");
    }
    row
}

/// The same cells at addresses that are not aligned and differ from cell to cell.
fn skewed(row: &[Vec<u8>], skew: usize) -> Vec<Vec<u8>> {
    let shift = |(c, cell): (usize, &Vec<u8>)| [vec![0xee; (skew + c) % 67], cell.clone()].concat();
    row.iter().enumerate().map(shift).collect()
}

fn check(kernel: Kernel, k: usize, m: usize, len: usize, skew: usize, seed: u64) {
    let expected = library_row(k, m, len, seed);
    let codec = Codec::with_kernel(k, m, kernel).expect("kernel of this machine");
    let memory = skewed(&expected, skew);
    let cells: Vec<&[u8]> = memory.iter().map(|cell| &cell[cell.len() - len..]).collect();

    let mut parity = vec![vec![0xaa; len + skew]; m];
    let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|cell| &mut cell[skew..]).collect();
    codec.encode(&cells[..k], &mut outputs).expect("encode");
    for (made, wanted) in outputs.iter().zip(&expected[k..]) {
        assert!(**made == **wanted, "parity of {k}+{m}, {len} bytes, {kernel:?}");
    }

    // A seeded choice of at most m lost cells, rebuilt from all the others.
    let mut order: Vec<usize> = (0..k + m).collect();
    order.sort_by_key(|&index| bytes(seed ^ index as u64, 8));
    let (lost, kept) = order.split_at(m - (seed as usize % (m + 1)));
    let present: Vec<(usize, &[u8])> = kept.iter().map(|&index| (index, cells[index])).collect();
    let mut rebuilt = vec![vec![0x55; len + skew]; lost.len()];
    let mut missing: Vec<(usize, &mut [u8])> =
        lost.iter().copied().zip(rebuilt.iter_mut().map(|cell| &mut cell[skew..])).collect();
    codec.reconstruct(&present, &mut missing).expect("reconstruct");
    for (index, made) in &missing {
        assert!(**made == expected[*index][..], "cell {index} of {k}+{m}, {len} bytes, lost {lost:?}, {kernel:?}");
    }
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_give_the_librarys_bytes(k in 1_usize..=16, m in 0_usize..=4, len in 0_usize..5000, skew in 0_usize..65, seed: u64) {
        for kernel in kernels() {
            check(kernel, k, m, len, skew, seed >> 8);
        }
    }
}

#[test]
fn every_length_around_a_vector_is_right() {
    for kernel in kernels() {
        for len in (0..=270).chain([4095, 4096, 4097, 65_535, 65_537]) {
            check(kernel, 4, 2, len, len % 7, len as u64);
        }
    }
}

#[test]
fn every_code_and_every_single_byte_product_is_right() {
    for kernel in kernels() {
        for (k, m) in (1..=16).flat_map(|k| (0..=4).map(move |m| (k, m))) {
            check(kernel, k, m, 256, 1, (k * 31 + m) as u64);
        }
    }
}

#[test]
fn every_pattern_of_lost_cells_of_small_codes_is_rebuilt() {
    for (k, m) in [(1, 1), (2, 1), (4, 2), (3, 3), (6, 3), (8, 4)] {
        let row = library_row(k, m, 97, 5);
        let codec = Codec::new(k, m).expect("shape");
        for lost in (0_u32..1 << (k + m)).filter(|lost| lost.count_ones() as usize <= m) {
            let is_lost = |index: &usize| lost & (1 << index) != 0;
            let present: Vec<_> = (0..k + m).filter(|i| !is_lost(i)).map(|i| (i, &row[i][..])).collect();
            let mut rebuilt: Vec<(usize, Vec<u8>)> = (0..k + m).filter(is_lost).map(|i| (i, vec![0; 97])).collect();
            let mut missing: Vec<_> = rebuilt.iter_mut().map(|(i, cell)| (*i, &mut cell[..])).collect();
            codec.reconstruct(&present, &mut missing).expect("reconstruct");
            assert!(rebuilt.iter().all(|(i, cell)| *cell == row[*i]), "{k}+{m} lost {lost:b}");
        }
    }
}

#[test]
fn wrong_shapes_are_refused_and_nothing_is_written() {
    assert_eq!(Codec::new(0, 1).err(), Some(CodeError::Shape { k: 0, m: 1 }));
    assert_eq!(Codec::new(17, 1).err(), Some(CodeError::Shape { k: 17, m: 1 }));
    assert_eq!(Codec::new(4, 5).err(), Some(CodeError::Shape { k: 4, m: 5 }));
    let codec = Codec::new(2, 1).expect("shape");
    let (a, b, mut out, mut short) = ([1; 8], [2; 8], [9; 8], [9; 7]);
    assert_eq!(codec.encode(&[&a], &mut [&mut out]), Err(CodeError::CellCount { given: 2, expected: 3 }));
    assert_eq!(codec.encode(&[&a, &b], &mut [&mut short]), Err(CodeError::CellLength));
    let few = codec.reconstruct(&[(0, &a)], &mut [(1, &mut out)]);
    assert_eq!(few, Err(CodeError::TooFewCells { present: 1, needed: 2 }));
    let both = codec.reconstruct(&[(0, &a), (1, &b)], &mut [(1, &mut out)]);
    assert_eq!(both, Err(CodeError::CellIndex { index: 1 }));
    let twice = codec.reconstruct(&[(0, &a), (0, &b)], &mut [(1, &mut out)]);
    assert_eq!(twice, Err(CodeError::CellIndex { index: 0 }));
    let beyond = codec.reconstruct(&[(0, &a), (3, &b)], &mut [(1, &mut out)]);
    assert_eq!(beyond, Err(CodeError::CellIndex { index: 3 }));
    assert_eq!((out, short), ([9; 8], [9; 7]));
}
