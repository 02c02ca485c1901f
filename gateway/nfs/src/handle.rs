//! File handles: `[tag][version][0][0][share][inode][generation][MAC]`, 40 bytes, big-endian.
//!
//! The MAC is SipHash-2-4 with 128 bits under a secret of the store, so that a handle is only ever one that this store gave
//! out, for this share; it stays valid across restarts because nothing else goes into it. Inode numbers are never reused:
//! the generation is there for a store that would, and is zero.

use std::hash::Hasher;
use std::hint::black_box;

use fs_api::Ino;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::shares::ShareId;

const TAG: u8 = b'T';
const VERSION: u8 = 1;
const BODY_BYTES: usize = 24;
const MAC_BYTES: usize = 16;
/// Bytes of a handle on the wire.
pub(crate) const HANDLE_BYTES: usize = BODY_BYTES + MAC_BYTES;
const GENERATION: u64 = 0;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle {
    pub share: ShareId,
    pub ino: Ino,
}

/// The secret that handles of one store are made with.
#[derive(Clone)]
pub struct HandleKey([u8; 16]);

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey(secret)")
    }
}

impl HandleKey {
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// A hasher under this secret, for `purpose`: no two uses share inputs.
    pub(crate) fn hasher(&self, purpose: u8) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[purpose]);
        hasher
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC_BYTES] {
        let mut hasher = self.hasher(b'h');
        hasher.write(body);
        hasher.finish128().as_bytes()
    }

    pub fn seal(&self, handle: FileHandle) -> [u8; HANDLE_BYTES] {
        let mut bytes = [0; HANDLE_BYTES];
        let (body, mac) = bytes.split_at_mut(BODY_BYTES);
        let (words, numbers) = body.split_at_mut(8);
        words[..4].copy_from_slice(&[TAG, VERSION, 0, 0]);
        words[4..].copy_from_slice(&handle.share.0.to_be_bytes());
        numbers[..8].copy_from_slice(&handle.ino.0.to_be_bytes());
        numbers[8..].copy_from_slice(&GENERATION.to_be_bytes());
        mac.copy_from_slice(&self.mac(body));
        bytes
    }

    /// What `bytes` name, or `None` where this store did not make them.
    pub fn open(&self, bytes: &[u8]) -> Option<FileHandle> {
        let bytes: &[u8; HANDLE_BYTES] = bytes.try_into().ok()?;
        let (body, mac) = bytes.split_at(BODY_BYTES);
        if !equal(&self.mac(body), mac) {
            return None;
        }
        let (head, numbers) = body.split_at(8);
        let (ino, generation) = numbers.split_at(8);
        let known = head.starts_with(&[TAG, VERSION, 0, 0]) && generation == GENERATION.to_be_bytes();
        let share = u32::from_be_bytes(head.get(4..)?.try_into().ok()?);
        known.then_some(FileHandle { share: ShareId(share), ino: Ino(u64::from_be_bytes(ino.try_into().ok()?)) })
    }
}

/// Takes as long whatever differs, so that a MAC cannot be guessed byte by byte.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HandleKey = HandleKey::new(*b"0123456789abcdef");

    #[test]
    fn a_handle_opens_to_what_was_sealed_and_only_with_its_key() {
        let handle = FileHandle { share: ShareId(7), ino: Ino(u64::MAX - 3) };
        let bytes = KEY.seal(handle);
        assert!(bytes.len() <= crate::protocol::HANDLE_BYTES_MAX);
        assert_eq!(KEY.open(&bytes), Some(handle));
        assert_eq!(HandleKey::new([0; 16]).open(&bytes), None);
        assert_eq!(KEY.open(&bytes[..39]), None);
        assert_eq!(KEY.open(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn h42_a_million_forged_handles_none_accepted() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for round in 0..1_000_000_u64 {
            let mut bytes = KEY.seal(FileHandle { share: ShareId((round % 5) as u32), ino: Ino(round / 3) });
            let at = next() as usize;
            match round % 5 {
                0 => bytes[at % HANDLE_BYTES] ^= 1 << (next() % 8),
                1 => bytes[7] = bytes[7].wrapping_add(1),
                2 => bytes[15] = bytes[15].wrapping_add(1),
                3 => bytes[23] = bytes[23].wrapping_add(if at.is_multiple_of(2) { 1 } else { 255 }),
                _ => bytes[BODY_BYTES..].iter_mut().for_each(|b| *b = next() as u8),
            }
            assert_eq!(KEY.open(&bytes), None, "round {round}");
        }
    }
}
