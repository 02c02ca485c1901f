//! Receipts: what the filesystem keeps with the change of a call, and how the door finds it again.
//!
//! A receipt says which call it was: 43 bytes, big-endian: version (1), number (8), address of the client as IPv6 (16), its
//! port (2), xid (4), procedure (4), checksum of caller and arguments (8). Numbers grow with each call of a store, across
//! restarts: they are the order in which calls came.

use crate::duplicates::Key;
use crate::protocol::Procedure;

const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 16 + 2 + 4 + 4 + 8;

/// Slots that no call uses now.
#[derive(Default)]
pub(crate) struct Slots {
    free: Vec<u32>,
    /// From here on none was ever given out.
    unused: u32,
    /// Of the next call.
    number: u64,
}

impl Slots {
    /// All slots but those of `found`: numbers, calls, and slots, in the order of the numbers.
    pub(crate) fn behind(found: &[(u64, Key, u32)]) -> Self {
        let mut taken: Vec<u32> = found.iter().map(|(.., slot)| *slot).collect();
        taken.sort_unstable();
        let unused = taken.last().map_or(0, |last| last.saturating_add(1));
        let number = found.last().map_or(0, |(number, ..)| number.saturating_add(1));
        // A slot that a store from elsewhere claims may be far out: then only some of those below are used again.
        let free = (0..unused).filter(|slot| taken.binary_search(slot).is_err()).take(taken.len()).collect();
        Self { free, unused, number }
    }

    pub(crate) fn take(&mut self) -> (u32, u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.unused = self.unused.saturating_add(1);
            self.unused - 1
        });
        self.number += 1;
        (slot, self.number - 1)
    }

    pub(crate) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

pub(crate) fn receipt(key: &Key, number: u64) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(VERSION);
    bytes.extend(number.to_be_bytes());
    bytes.extend(key.address.to_be_bytes());
    bytes.extend(key.port.to_be_bytes());
    bytes.extend(key.xid.to_be_bytes());
    bytes.extend(key.procedure.to_be_bytes());
    bytes.extend(key.checksum.to_be_bytes());
    bytes.into()
}

/// Number and call of a receipt; `None` where it is none of ours.
pub(crate) fn parse(receipt: &[u8]) -> Option<(u64, Key)> {
    let (version, rest) = receipt.split_first_chunk::<1>()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (address, rest) = rest.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (xid, rest) = rest.split_first_chunk()?;
    let (procedure, rest) = rest.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let key = Key {
        address: u128::from_be_bytes(*address),
        port: u16::from_be_bytes(*port),
        xid: u32::from_be_bytes(*xid),
        procedure: u32::from_be_bytes(*procedure),
        checksum: u64::from_be_bytes(*checksum),
    };
    let sound = *version == [VERSION] && rest.is_empty() && Procedure::from_number(key.procedure).is_some();
    sound.then_some((u64::from_be_bytes(*number), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { address: 1, port: 2, xid: 3, procedure: Procedure::Remove as u32, checksum: 5 };

    #[test]
    fn a_receipt_that_is_cut_longer_or_of_another_version_is_not_taken() {
        let whole = receipt(&KEY, 77);
        assert_eq!(whole.len(), BYTES);
        assert_eq!(parse(&whole), Some((77, KEY)));
        for cut in 0..BYTES {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[&whole[..], &[0]].concat()), None);
        assert_eq!(parse(&[&[VERSION + 1], &whole[1..]].concat()), None);
    }

    #[test]
    fn slots_go_on_behind_what_was_found_and_fill_its_gaps() {
        let mut slots = Slots::behind(&[(4, KEY, 2), (9, KEY, 0)]);
        assert_eq!([slots.take(), slots.take(), slots.take()], [(1, 10), (3, 11), (4, 12)]);
        slots.give_back(2);
        assert_eq!(slots.take(), (2, 13));
        // A slot at the end of all numbers does not make the door look at all below it.
        let mut far = Slots::behind(&[(0, KEY, u32::MAX - 1)]);
        assert_eq!((far.take(), far.take()), ((0, 1), (u32::MAX - 1, 2)));
    }
}
