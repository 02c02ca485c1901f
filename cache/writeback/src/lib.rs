//! cache-writeback
