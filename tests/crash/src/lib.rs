//! Crash tests: what is on the simulated disk after the power goes, at every moment of a recorded run.
//!
//! The tests are named after the rows of the list of failures that they keep (`f04_...`).

#![forbid(unsafe_code)]

mod moments;

pub use moments::{Moment, moments};
