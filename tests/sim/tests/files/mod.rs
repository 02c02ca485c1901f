//! Plain files in a simulated store, for tests that tell a story.
#![allow(dead_code, reason = "each test uses its part")]

use std::time::Duration;

use bytes::Bytes;
use fs_api::{Context, Credentials, Ino, OpenFlags, ROOT_INO, Target, Vfs};
use objstore_base::{ErrorKind, Result};
use objstore_env::sim::SimRng;
use tests_sim::{Settings, SimStore};

pub fn store(seed: u64, change: impl FnOnce(&mut Settings)) -> SimStore {
    let mut settings = Settings::random(&SimRng::new(seed));
    change(&mut settings);
    SimStore::new(seed, settings).expect("a new store opens")
}

pub fn context(patience: Duration) -> Context {
    Context { patience, ..Context::new(1, Credentials::root()) }
}

pub fn root() -> Context {
    context(Duration::from_secs(30))
}

/// Bytes that do not compress and differ from file to file.
pub fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub fn create(store: &SimStore, name: &str) -> Result<Ino> {
    let engine = store.engine();
    let cx = root();
    store.world().run(async {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        let made = engine.create(&cx, ROOT_INO, name.as_bytes(), 0o644, 0, flags, false).await?;
        engine.release(&cx, made.attr.ino, made.handle.id).await?;
        Ok(made.attr.ino)
    })
}

pub fn write(store: &SimStore, ino: Ino, offset: u64, bytes: &[u8], patience: Duration) -> Result<u32> {
    store.world().run(store.engine().write(&context(patience), Target::inode(ino), offset, bytes))
}

pub fn fsync(store: &SimStore, ino: Ino) -> Result<()> {
    store.world().run(store.engine().fsync(&root(), Target::inode(ino), false))
}

pub fn read(store: &SimStore, name: &str) -> Result<Option<Bytes>> {
    let cx = root();
    store.world().run(async {
        match store.engine().lookup(&cx, ROOT_INO, name.as_bytes()).await {
            Ok(attr) => store.engine().read(&cx, Target::inode(attr.ino), 0, attr.size as u32).await.map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    })
}

pub fn unlink(store: &SimStore, name: &str) -> Result<()> {
    store.world().run(store.engine().unlink(&root(), ROOT_INO, name.as_bytes()))
}

pub fn check(store: &SimStore) {
    let report = store.world().run(store.engine().check()).expect("the check runs");
    assert!(report.is_clean(), "{:?}", report.findings);
}
