//! Receipts: what a door finds again after a restart, in the `System` column behind a prefix of their own.
//!
//! A receipt is part of the batch of the change that it belongs to, and so of one record of the journal: no crash parts
//! them. Slots are overwritten by the door, so that they stay as many as it uses.

use std::ops::ControlFlow;

use fs_api::Receipt;
use fs_meta::{Batch, Column, Direction};
use objstore_base::{Error, Result};

use crate::engine::Engine;

/// Before the slot, in the key.
const PREFIX: &[u8; 4] = b"rcp/";
/// The first key behind all receipts.
const END: &[u8] = b"rcp0";

fn key(slot: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(PREFIX);
    key[4..].copy_from_slice(&slot.to_be_bytes());
    key
}

pub(crate) fn put(batch: &mut Batch, receipt: &Receipt) {
    batch.put(Column::System, &key(receipt.slot), &receipt.bytes);
}

impl Engine {
    pub(crate) fn stored_receipts(&self) -> Result<Vec<Receipt>> {
        let (mut found, mut broken) = (Vec::new(), None);
        self.meta.scan(Column::System, &PREFIX[..]..END, Direction::Forward, &mut |key, value| {
            match key.get(PREFIX.len()..).and_then(|slot| slot.try_into().ok()) {
                Some(slot) => found.push(Receipt { slot: u32::from_be_bytes(slot), bytes: value.into() }),
                None => broken = Some(Error::corrupt("read receipt", format!("a key of {} bytes", key.len()))),
            }
            ControlFlow::Continue(())
        })?;
        broken.map_or(Ok(found), Err)
    }
}
