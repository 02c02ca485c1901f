use fs_meta::conformance::Place;
use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> RocksStore {
        let config = RocksConfig { block_cache_bytes: 4 << 20, ..RocksConfig::default() };
        RocksStore::open(self.0.path().join("index"), &config).unwrap()
    }
}

impl Place for Folder {
    fn open(&self) -> Box<dyn MetaStore> {
        Box::new(self.store())
    }
}

fs_meta::conformance_tests!(Folder::new);

/// What RocksDB would do if a memtable overflowed, or while it recovers from an error.
#[test]
fn a_flush_that_nobody_stamped_is_recognised_at_open() {
    let folder = Folder::new();
    let store = folder.store();
    let mut batch = Batch::new();
    batch.put(Column::Inode, b"a", b"1");
    store.apply(&batch).unwrap();
    store.begin_flush(1).unwrap();
    store.finish_flush().unwrap();
    store.apply(&batch).unwrap();
    store.freeze().unwrap();
    while store.frozen_states().unwrap() > 0 {
        std::thread::yield_now();
    }
    let path = store.path().to_path_buf();
    drop(store);
    let e = RocksStore::open(&path, &RocksConfig::default()).map(drop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.to_string().contains("tidegate recover") && e.to_string().contains(path.to_str().unwrap()), "{e}");
}

#[test]
fn after_a_failure_changes_are_refused_and_reads_go_on() {
    let folder = Folder::new();
    let store = folder.store();
    let mut batch = Batch::new();
    batch.put(Column::Inode, b"a", b"1");
    store.apply(&batch).unwrap();
    store.fail("flush index", Error::new(ErrorKind::NoSpace, "flush index").context("disk full"));
    let e = store.apply(&batch).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSpace);
    assert!(e.to_string().contains("disk full"), "{e}");
    assert_eq!(store.begin_flush(1).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(store.get(Column::Inode, b"a").unwrap(), Some(b"1".to_vec()));
    drop(store);
    assert_eq!(folder.store().flushed_lsn(), 0);
}

/// The binding has no setter for these two, so the option file that RocksDB writes is asked.
#[test]
fn options_given_as_text_have_arrived() {
    let folder = Folder::new();
    let store = folder.store();
    let written = std::fs::read_dir(store.path()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("OPTIONS-")
            .then(|| std::fs::read_to_string(path).unwrap())
    });
    let written = written.unwrap();
    for line in [
        "avoid_flush_during_shutdown=true",
        "max_bgerror_resume_count=0",
        "atomic_flush=true",
        "strict_max_successive_merges=true",
    ] {
        assert!(written.contains(line), "{line}");
    }
}
