//! F8: the volume of the index is full. Runs with `TIDEGATE_DEEP=1` as root: it mounts a small tmpfs.

#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use fs_meta::{Batch, Column, MetaRead, MetaStore};
use fs_rocks::{RocksConfig, RocksStore};
use objstore_base::ErrorKind;

struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(mib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"]).arg(folder.path()));
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// Fills the volume but for `spare` bytes.
fn fill(filler: &Path, spare: u64) {
    let mut file = File::create(filler).unwrap();
    while file.write_all(&[1; 64 << 10]).is_ok() {}
    file.set_len(file.metadata().unwrap().len() - spare).unwrap();
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Bytes that no compression makes smaller.
fn batch(round: u64) -> Batch {
    let mut batch = Batch::new();
    let mut noise = round + 1;
    for key in 0..8000u64 {
        let mut value = Vec::with_capacity(1000);
        for _ in 0..125 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            value.extend_from_slice(&(noise ^ noise >> 31).to_le_bytes());
        }
        batch.put(Column::Inode, &key.to_be_bytes(), &value);
    }
    batch
}

#[test]
fn f08_index_volume_full() {
    if std::env::var_os("TIDEGATE_DEEP").is_none() {
        return;
    }
    let volume = SmallVolume::mount(32);
    let (index, filler) = (volume.path().join("index"), volume.path().join("filler"));
    let open = || RocksStore::open(&index, &RocksConfig::default());
    let store = open().unwrap();
    store.apply(&batch(1)).unwrap();
    store.begin_flush(1).unwrap();
    assert_eq!(store.finish_flush().unwrap(), 1);
    let first = store.get(Column::Inode, &5u64.to_be_bytes()).unwrap();

    fill(&filler, 1 << 20);
    store.apply(&batch(2)).unwrap();
    let second = store.get(Column::Inode, &5u64.to_be_bytes()).unwrap();
    let flushed = store.begin_flush(2).and_then(|()| store.finish_flush());
    let e = flushed.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSpace, "{e}");
    assert!(e.to_string().contains(index.to_str().unwrap()), "{e}");
    assert_eq!(store.apply(&batch(3)).unwrap_err().kind(), ErrorKind::NoSpace, "changes are refused");
    assert_eq!(store.get(Column::Inode, &5u64.to_be_bytes()).unwrap(), second, "reads go on");
    assert_eq!(store.flushed_lsn(), 1);
    drop(store);

    std::fs::remove_file(&filler).unwrap();
    let store = open().unwrap();
    assert_eq!(store.flushed_lsn(), 1);
    assert_eq!(store.get(Column::Inode, &5u64.to_be_bytes()).unwrap(), first);
    store.apply(&batch(2)).unwrap();
    store.begin_flush(2).unwrap();
    assert_eq!(store.finish_flush().unwrap(), 2);
}
