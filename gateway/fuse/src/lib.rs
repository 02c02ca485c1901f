//! gateway-fuse
