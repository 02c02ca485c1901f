//! cache-journal
