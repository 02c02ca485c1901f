//! fs-engine
