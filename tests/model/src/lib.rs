//! tests-model
