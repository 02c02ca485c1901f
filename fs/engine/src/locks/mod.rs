//! Advisory locks: byte ranges with POSIX rules and whole files with `flock` rules.
//!
//! They live in memory only and go with the process. Everything about them is decided under one lock of the table, so
//! that the search for a deadlock sees one state; a waiter holds nothing while it waits.

mod file;
mod ops;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use table::LockTable;
