//! Records of the index, one file per kind. See `FORMAT.md` beside this file.
//!
//! Values are little-endian and begin with a version byte; a decoder answers `Corrupt` with what it read, never panics.

mod cursor;
pub(crate) mod dentry;
pub(crate) mod inode;

pub(crate) use cursor::Cursor;
pub(crate) use dentry::{Dentry, OrderEntry};
pub use inode::Inode;
