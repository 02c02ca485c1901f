//! Measures encode and reconstruct per kernel: `cargo run -p objstore-erasure --example throughput [k m cell_bytes]`.
//!
//! GB/s of data bytes (k cells per row) on one core, best and median of the rounds.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock")]

use std::time::{Duration, Instant};

use objstore_erasure::{Codec, Kernel};

const ROUNDS: usize = 15;
const ROUND_MIN: Duration = Duration::from_millis(40);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (k, m) = (arguments.next().unwrap_or(4), arguments.next().unwrap_or(2));
    let len = arguments.next().unwrap_or(1 << 20);
    println!("{k}+{m}, cells of {len} bytes, GB/s of data per core: best (median)");
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let codec = Codec::with_kernel(k, m, kernel).expect("available");
        let data: Vec<Vec<u8>> = (0..k).map(|c| vec![c as u8 + 1; len]).collect();
        let mut parity = vec![vec![0; len]; m];
        let cells: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let encode = rates(k * len, || {
            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            codec.encode(&cells, &mut outputs).expect("encode");
        });
        let lost = m.min(k);
        let present: Vec<(usize, &[u8])> = (lost..k)
            .map(|c| (c, cells[c]))
            .chain(parity.iter().enumerate().map(|(p, cell)| (k + p, &cell[..])))
            .collect();
        let mut rebuilt = vec![vec![0; len]; lost];
        let reconstruct = rates(k * len, || {
            let mut missing: Vec<(usize, &mut [u8])> = rebuilt.iter_mut().map(Vec::as_mut_slice).enumerate().collect();
            codec.reconstruct(&present, &mut missing).expect("reconstruct");
        });
        assert!(rebuilt.iter().zip(&data).all(|(made, wanted)| made == wanted), "rebuilt bytes");
        println!(
            "{:<12} encode {:5.1} ({:5.1})   reconstruct {lost} cells {:5.1} ({:5.1})",
            format!("{kernel:?}"),
            encode.0,
            encode.1,
            reconstruct.0,
            reconstruct.1
        );
    }
}

/// Best and median GB/s of `work`, which handles `bytes` per call.
fn rates(bytes: usize, mut work: impl FnMut()) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let mut calls = 0_u32;
            while start.elapsed() < ROUND_MIN {
                work();
                calls += 1;
            }
            f64::from(calls) * bytes as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS - 1], rounds[ROUNDS / 2])
}
