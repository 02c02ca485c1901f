//! tools-xtask
