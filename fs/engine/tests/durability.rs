//! What survives what, and what a start refuses.

mod support;

use std::sync::Arc;

use fs_api::{Context, Credentials, Durability, NewNode, Target, Vfs};
use fs_meta::{Batch, Column, MemoryStore, MetaStore};
use objstore_base::ErrorKind::{NewerFormat, NotFound};
use support::{READ_WRITE, ROOT, World};

#[test]
fn a_synced_change_survives_a_crash_without_any_fsync() {
    let w = World::new();
    let cx = Context { durability: Durability::Synced, ..Context::new(1, Credentials::root()) };
    let made = w.runtime.block_on(w.engine.make(&cx, ROOT, b"d", NewNode::Directory, 0o755, 0)).expect("made");
    let created = w.engine.create(&cx, made.ino, b"f", 0o644, 0, READ_WRITE, true);
    let created = w.runtime.block_on(created).expect("created");
    let target = Target::opened(created.attr.ino, created.handle.id);
    w.runtime.block_on(w.engine.write(&cx, target, 0, b"bytes")).expect("written");
    let w = w.crashed();
    let root = w.as_root();
    let f = root.lookup(made.ino, "f").expect("there");
    assert_eq!(root.read(Target::inode(f.ino), 0, 10).as_deref(), Ok(&b"bytes"[..]));
}

#[test]
fn fsync_covers_what_was_gathered_and_its_names() {
    let w = World::new();
    let root = w.as_root();
    let made = root.create(ROOT, "f", READ_WRITE, true).expect("created");
    let target = Target::opened(made.attr.ino, made.handle.id);
    for n in 0..100u8 {
        root.write(target, u64::from(n) * 10, &[n; 10]).expect("written");
    }
    w.runtime.block_on(w.engine.fsync(&root.cx, target, false)).expect("synced");
    let before = root.attr(made.attr.ino).expect("there");
    let w = w.crashed();
    let root = w.as_root();
    let after = root.lookup(ROOT, "f").expect("there");
    assert_eq!(after, before);
    let bytes = root.read(Target::inode(after.ino), 0, 2000).expect("read");
    assert!(bytes.iter().enumerate().all(|(at, b)| usize::from(*b) == at / 10) && bytes.len() == 1000);
}

#[test]
fn what_a_crash_takes_is_the_newest_only() {
    let w = World::new();
    let root = w.as_root();
    let d = root.mkdir(ROOT, "d").expect("made");
    for n in 0..500 {
        root.file(d, &format!("f{n}")).expect("made");
    }
    w.sync();
    for n in 500..1000 {
        root.file(d, &format!("f{n}")).expect("made");
    }
    let w = w.crashed();
    let names = w.as_root().names(d);
    assert!(names.len() >= 500);
    assert!(names.iter().enumerate().all(|(n, name)| *name == format!("f{n}")), "a prefix of what was done");
}

#[test]
fn a_stop_leaves_nothing_to_replay() {
    let w = World::new();
    let root = w.as_root();
    root.file(ROOT, "f").expect("made");
    w.engine.start();
    let w = w.reopened();
    let status = w.engine.status();
    // The one record is the lease of this start's numbers.
    assert_eq!(status.index_flushed_lsn + 1, status.journal_last_lsn);
    assert!(w.as_root().lookup(ROOT, "f").is_ok());
    assert_eq!(w.engine.lookup_path(b"/f").map(|i| i.nlink).ok(), Some(1));
    assert_eq!(w.engine.lookup_path(b"//./f/").map(|i| i.nlink).ok(), Some(1));
    assert_eq!(w.engine.lookup_path(b"g").map_err(|e| e.kind()).err(), Some(NotFound));
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let w = World::new();
    let mut batch = Batch::new();
    batch.put(Column::System, b"format", &99u32.to_le_bytes());
    let meta = Arc::new(MemoryStore::new());
    meta.apply(&batch).expect("applied");
    let refused = w.open_with(meta).err().expect("refused");
    assert_eq!(refused.kind(), NewerFormat);
    assert!(refused.to_string().contains("newer tidegate"), "{refused}");
}
