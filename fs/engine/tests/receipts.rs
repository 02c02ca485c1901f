//! Receipts are there exactly if the change is that they belong to.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use fs_api::{Context, Credentials, Durability, Ino, NewNode, Receipt, RenameMode, SetAttr, Target, Vfs};
use support::{ROOT, World};

fn cx(slot: u32) -> Context {
    let receipt = Receipt { slot, bytes: slot.to_be_bytes().into() };
    Context { receipt: Some(Arc::new(receipt)), ..Context::new(1, Credentials::root()) }
}

fn slots(w: &World) -> BTreeSet<u32> {
    let receipts = w.engine.receipts().expect("readable");
    assert!(receipts.iter().all(|receipt| receipt.bytes[..] == receipt.slot.to_be_bytes()), "each has its own bytes");
    receipts.iter().map(|receipt| receipt.slot).collect()
}

#[test]
fn every_change_of_names_and_attributes_leaves_one_and_a_failure_none() {
    let w = World::new();
    let run = &w.runtime;
    let made = run.block_on(w.engine.make(&cx(1), ROOT, b"d", NewNode::Directory, 0o755, 0)).expect("made");
    run.block_on(w.engine.make(&cx(2), ROOT, b"d", NewNode::Directory, 0o755, 0)).expect_err("it exists");
    let file = run.block_on(w.engine.make(&cx(3), made.ino, b"f", NewNode::Regular, 0o644, 0)).expect("made");
    let set = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    run.block_on(w.engine.setattr(&cx(4), Target::inode(file.ino), set)).expect("set");
    let set = SetAttr { size: Some(10), ..SetAttr::default() };
    run.block_on(w.engine.setattr(&cx(5), Target::inode(file.ino), set)).expect("set");
    run.block_on(w.engine.link(&cx(6), file.ino, ROOT, b"l")).expect("linked");
    run.block_on(w.engine.rename(&cx(7), ROOT, b"l", ROOT, b"m", RenameMode::Replace)).expect("renamed");
    run.block_on(w.engine.unlink(&cx(8), ROOT, b"m")).expect("removed");
    run.block_on(w.engine.unlink(&cx(9), ROOT, b"m")).expect_err("it is gone");
    run.block_on(w.engine.rmdir(&cx(10), ROOT, b"d")).expect_err("it is not empty");
    run.block_on(w.engine.unlink(&cx(11), made.ino, b"f")).expect("removed");
    run.block_on(w.engine.rmdir(&cx(12), ROOT, b"d")).expect("removed");
    let expected = BTreeSet::from([1, 3, 4, 5, 6, 7, 8, 11, 12]);
    assert_eq!(slots(&w), expected);
    w.sync();
    assert_eq!(slots(&w.crashed()), expected);
}

#[test]
fn a_crash_takes_a_receipt_exactly_with_its_change() {
    let w = World::new();
    let make = |slot: u32, durability| {
        let (cx, name) = (Context { durability, ..cx(slot) }, slot.to_string());
        let made = w.engine.make(&cx, ROOT, name.as_bytes(), NewNode::Regular, 0o644, 0);
        w.runtime.block_on(made).expect("made");
    };
    (0..300).for_each(|slot| make(slot, Durability::Buffered));
    make(300, Durability::Synced);
    (301..600).for_each(|slot| make(slot, Durability::Buffered));
    let w = w.crashed();
    let named: BTreeSet<u32> = w.as_root().names(Ino(1)).iter().filter_map(|name| name.parse().ok()).collect();
    assert!(named.len() > 300, "{}", named.len());
    assert_eq!(slots(&w), named);
}
