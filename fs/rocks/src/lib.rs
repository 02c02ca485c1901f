//! fs-rocks
