//! tests-crash
