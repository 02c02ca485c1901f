//! Reed–Solomon coding of one row of cells: k data cells, m parity cells, any k of them give back the rest.
//!
//! The matrices are those of the `reed-solomon-erasure` crate, so cells are interchangeable with it; the inner kernel
//! (multiply a region by a constant, add it up) is our own and chosen at run time, because a portable build of the
//! crate codes 1–2 GB/s per core. This crate knows nothing of drives, files or checksums.
//!
//! JUSTIFICATION for `unsafe` (the only crate of the house that has it): the vector kernels load and store through
//! pointers. Measured on 4+2 with 1 MiB cells they are 10 to 40 times faster than the table kernel, which is what keeps
//! a pool from being bound by arithmetic. Each block states why its pointers are in bounds; every kernel is compared
//! with the crate byte for byte.

#![deny(unsafe_op_in_unsafe_fn)]

mod codec;
mod coefficients;
mod kernel;

pub use codec::{CodeError, Codec, DATA_CELLS_MAX, PARITY_CELLS_MAX};
pub use kernel::Kernel;
