//! Keys of inodes, names, attributes and orphans. All numbers are big-endian, so that bytewise order is numeric order.
//! The keys of extents, frames and segments are with `data`.

use fs_api::{Ino, NAME_BYTES_MAX};
use objstore_base::{Error, Result};

/// A key that ends in a name, built without touching the heap.
pub(crate) struct NameKey {
    bytes: [u8; 8 + NAME_BYTES_MAX],
    len: usize,
}

impl NameKey {
    fn new(id: u64, name: &[u8]) -> Self {
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        let mut bytes = [0; 8 + NAME_BYTES_MAX];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        bytes[8..8 + name.len()].copy_from_slice(name);
        Self { bytes, len: 8 + name.len() }
    }
}

impl std::ops::Deref for NameKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(crate) const fn inode(ino: Ino) -> [u8; 8] {
    ino.0.to_be_bytes()
}

pub(crate) const fn orphan(ino: Ino) -> [u8; 8] {
    ino.0.to_be_bytes()
}

/// `name` has been validated: at most `NAME_BYTES_MAX` bytes.
pub(crate) fn dentry(parent: Ino, name: &[u8]) -> NameKey {
    NameKey::new(parent.0, name)
}

pub(crate) fn xattr(ino: Ino, name: &[u8]) -> NameKey {
    NameKey::new(ino.0, name)
}

pub(crate) fn dentry_order(parent: Ino, cookie: u64) -> [u8; 16] {
    pair(parent.0, cookie)
}

/// The number that `key` starts with.
///
/// # Errors
/// `Corrupt` where the key is too short.
pub(crate) fn leading_number(key: &[u8]) -> Result<u64> {
    number_at(key, 0)
}

/// The second number of a key of two.
pub(crate) fn trailing_number(key: &[u8]) -> Result<u64> {
    number_at(key, 8)
}

/// The name that follows the leading number.
pub(crate) fn name_of(key: &[u8]) -> Result<&[u8]> {
    key.get(8..).ok_or_else(|| too_short(key))
}

fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

fn number_at(key: &[u8], at: usize) -> Result<u64> {
    let bytes = key.get(at..at + 8).and_then(|b| b.try_into().ok()).ok_or_else(|| too_short(key))?;
    Ok(u64::from_be_bytes(bytes))
}

fn too_short(key: &[u8]) -> Error {
    Error::corrupt("decode index key", format!("{} bytes are too few", key.len()))
}
