//! fs-access
