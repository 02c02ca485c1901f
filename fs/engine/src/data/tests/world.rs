//! One store for a test, and short words for what a test does with it.
#![allow(clippy::disallowed_methods, reason = "a test damages the real files under the store")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cache_journal::{Journal, JournalConfig, Lsn, SegmentId};
use cache_writeback::WriteBackConfig;
use fs_api::{
    Context, Credentials, FallocateMode, HandleId, Ino, NewNode, OpenFlags, ROOT_INO, RenameMode, SeekFrom, SetAttr,
    Target, Vfs,
};
use fs_meta::MemoryStore;
use objstore_base::{ErrorKind, MemoryBlobStore};
use objstore_env::{Env, FailAction, Failpoints};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Engine, EngineConfig, Quota, QuotaLimits};

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) runtime: Runtime,
    pub(super) pool: Arc<MemoryBlobStore>,
    meta: Arc<MemoryStore>,
    env: Env,
    config: EngineConfig,
    dir: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(configure: impl FnOnce(&mut EngineConfig)) -> Self {
        Self::over(MemoryBlobStore::new(), configure)
    }

    pub(super) fn over(pool: MemoryBlobStore, configure: impl FnOnce(&mut EngineConfig)) -> Self {
        Self::made(pool, Failpoints::none(), configure)
    }

    /// With places that fail as `failpoints` plans.
    pub(super) fn failing(failpoints: Failpoints) -> Self {
        Self::made(MemoryBlobStore::new(), failpoints, |_| {})
    }

    /// A world whose place `place` fails from when the flag is set until it is unset.
    pub(super) fn breaking(places: &'static [&'static str]) -> (Self, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&broken);
        let failpoints = Failpoints::with(move |name, _| match places.contains(&name) && flag.load(Ordering::SeqCst) {
            true => FailAction::Errno(5),
            false => FailAction::Continue,
        });
        (Self::failing(failpoints), broken)
    }

    fn made(pool: MemoryBlobStore, failpoints: Failpoints, configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let mut env = objstore_env::real::env(runtime.handle().clone()).expect("an environment");
        env.failpoints = failpoints;
        let dir = tempfile::tempdir().expect("a folder");
        let mut journal = JournalConfig::new(dir.path().join("journal"), [3; 16]);
        journal.segment_bytes = 2 << 20;
        let mut config = EngineConfig::new(journal, WriteBackConfig::new(256 << 20));
        configure(&mut config);
        let (meta, pool) = (Arc::new(MemoryStore::new()), Arc::new(pool));
        let engine = open(&env, &meta, &pool, &config);
        config.journal.create = false;
        Self { engine, runtime, pool, meta, env, config, dir }
    }

    /// After an orderly stop, or after the process died with an index that was never flushed.
    pub(super) fn again(self, orderly: bool) -> Self {
        let Self { engine, runtime, pool, meta, env, config, dir } = self;
        let meta = if orderly {
            runtime.block_on(engine.stop()).expect("stop");
            meta
        } else {
            Arc::new(MemoryStore::new())
        };
        drop(engine);
        let engine = open(&env, &meta, &pool, &config);
        Self { engine, runtime, pool, meta, env, config, dir }
    }

    /// The index is lost, the journal and the pool are not.
    pub(super) fn with_recovered_index(self) -> Self {
        let Self { engine, runtime, pool, meta: _, env, config, dir } = self;
        drop(engine);
        let meta = Arc::new(MemoryStore::new());
        runtime.block_on(crate::recover(&*meta, Arc::clone(&pool) as _)).expect("recover");
        let engine = open(&env, &meta, &pool, &config);
        Self { engine, runtime, pool, meta, env, config, dir }
    }

    /// The machine is lost; a new one has the pool and nothing else.
    pub(super) fn on_a_new_machine(self) -> (Self, crate::RecoverReport) {
        let Self { engine, runtime, pool, meta: _, env, mut config, dir } = self;
        drop(engine);
        drop(dir);
        let dir = tempfile::tempdir().expect("a folder");
        config.journal.dir = dir.path().join("journal");
        let meta = Arc::new(MemoryStore::new());
        let report = runtime.block_on(crate::recover(&*meta, Arc::clone(&pool) as _)).expect("recover");
        let begun = runtime.block_on(crate::begin_timeline(&*meta, Arc::clone(&pool) as _, &report)).expect("begin");
        let (lsn, segment) = (Lsn(begun.lsn), SegmentId(begun.last_segment));
        Journal::begin_after(&env, &config.journal, lsn, segment).expect("begin");
        let engine = open(&env, &meta, &pool, &config);
        (Self { engine, runtime, pool, meta, env, config, dir }, report)
    }

    /// Takes the files of the journal's folder away; what is open stays readable.
    pub(super) fn remove_journal_files(&self) {
        for entry in std::fs::read_dir(&self.config.journal.dir).expect("the journal").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                std::fs::remove_file(entry.path()).expect("remove");
            }
        }
    }

    pub(super) fn cx(&self) -> Context {
        static REQUEST: AtomicU64 = AtomicU64::new(1);
        Context::new(REQUEST.fetch_add(1, Ordering::Relaxed), Credentials::root())
    }

    pub(super) fn create(&self, name: &str) -> Ino {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        let cx = self.cx();
        let created = self.runtime.block_on(self.engine.create(&cx, ROOT_INO, name.as_bytes(), 0o644, 0, flags, true));
        let created = created.expect("create");
        self.runtime.block_on(self.engine.release(&cx, created.attr.ino, created.handle.id)).expect("release");
        created.attr.ino
    }

    pub(super) fn make(&self, parent: Ino, name: &str, node: NewNode) -> Result<Ino, ErrorKind> {
        let cx = self.cx();
        let made = self.runtime.block_on(self.engine.make(&cx, parent, name.as_bytes(), node, 0o755, 0));
        made.map(|attr| attr.ino).map_err(|e| e.kind())
    }

    pub(super) fn mkdir(&self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, NewNode::Directory).expect("mkdir")
    }

    pub(super) fn file(&self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, NewNode::Regular).expect("make")
    }

    pub(super) fn link(&self, ino: Ino, parent: Ino, name: &str) -> Result<(), ErrorKind> {
        let cx = self.cx();
        let linked = self.runtime.block_on(self.engine.link(&cx, ino, parent, name.as_bytes()));
        linked.map(drop).map_err(|e| e.kind())
    }

    pub(super) fn rename(&self, from: (Ino, &str), to: (Ino, &str), mode: RenameMode) -> Result<(), ErrorKind> {
        let cx = self.cx();
        let (old, new) = (from.1.as_bytes(), to.1.as_bytes());
        self.runtime.block_on(self.engine.rename(&cx, from.0, old, to.0, new, mode)).map_err(|e| e.kind())
    }

    pub(super) fn unlink_in(&self, parent: Ino, name: &str) -> Result<(), ErrorKind> {
        let cx = self.cx();
        self.runtime.block_on(self.engine.unlink(&cx, parent, name.as_bytes())).map_err(|e| e.kind())
    }

    pub(super) fn rmdir(&self, parent: Ino, name: &str) -> Result<(), ErrorKind> {
        let cx = self.cx();
        self.runtime.block_on(self.engine.rmdir(&cx, parent, name.as_bytes())).map_err(|e| e.kind())
    }

    pub(super) fn set_quota(&self, directory: Ino, bytes: Option<u64>, inodes: Option<u64>) -> Result<(), ErrorKind> {
        let set = self.engine.set_quota(directory, QuotaLimits { bytes, inodes }, &[]);
        self.runtime.block_on(set).map(drop).map_err(|e| e.kind())
    }

    pub(super) fn quota(&self, ino: Ino) -> Quota {
        self.engine.quota(ino).expect("the inode is there").expect("it has a quota")
    }

    /// Everything counted again.
    pub(super) fn check(&self) {
        let report = self.runtime.block_on(self.engine.check()).expect("check");
        assert!(report.is_clean(), "{:#?}", report.findings);
    }

    pub(super) fn lookup(&self, name: &str) -> Ino {
        self.runtime.block_on(self.engine.lookup(&self.cx(), ROOT_INO, name.as_bytes())).expect("lookup").ino
    }

    pub(super) fn unlink(&self, name: &str) {
        self.runtime.block_on(self.engine.unlink(&self.cx(), ROOT_INO, name.as_bytes())).expect("unlink");
    }

    pub(super) fn open_append(&self, ino: Ino) -> HandleId {
        let flags = OpenFlags { write: true, append: true, ..OpenFlags::default() };
        self.runtime.block_on(self.engine.open(&self.cx(), ino, flags)).expect("open").id
    }

    pub(super) fn write(&self, ino: Ino, offset: u64, data: &[u8]) {
        self.try_write(ino, offset, data).expect("write");
    }

    pub(super) fn try_write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), ErrorKind> {
        let cx = self.cx();
        let written = self.runtime.block_on(self.engine.write(&cx, Target::inode(ino), offset, data));
        written.map(|n| assert_eq!(n as usize, data.len())).map_err(|e| e.kind())
    }

    pub(super) fn try_read(&self, ino: Ino, offset: u64, len: u32) -> objstore_base::Result<Vec<u8>> {
        let cx = self.cx();
        self.runtime.block_on(self.engine.read(&cx, Target::inode(ino), offset, len)).map(|bytes| bytes.to_vec())
    }

    pub(super) fn read(&self, ino: Ino, offset: u64, len: u32) -> Vec<u8> {
        self.try_read(ino, offset, len).expect("read")
    }

    pub(super) fn size(&self, ino: Ino) -> u64 {
        self.attr(ino).size
    }

    pub(super) fn attr(&self, ino: Ino) -> fs_api::Attr {
        self.runtime.block_on(self.engine.getattr(&self.cx(), Target::inode(ino))).expect("getattr")
    }

    pub(super) fn truncate(&self, ino: Ino, size: u64) {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        self.runtime.block_on(self.engine.setattr(&self.cx(), Target::inode(ino), set)).expect("truncate");
    }

    pub(super) fn fallocate(&self, ino: Ino, offset: u64, len: u64, mode: FallocateMode) -> Result<(), ErrorKind> {
        let cx = self.cx();
        self.runtime.block_on(self.engine.fallocate(&cx, Target::inode(ino), offset, len, mode)).map_err(|e| e.kind())
    }

    pub(super) fn seek(&self, ino: Ino, from: SeekFrom) -> Option<u64> {
        match self.runtime.block_on(self.engine.seek(&self.cx(), Target::inode(ino), from)) {
            Ok(at) => Some(at),
            Err(e) if e.kind() == ErrorKind::NoDeviceOrAddress => None,
            Err(e) => panic!("seek: {e}"),
        }
    }

    pub(super) fn copy(&self, from: Ino, from_at: u64, to: Ino, to_at: u64, len: u64) -> Result<u64, ErrorKind> {
        let (from, to) = (Target::inode(from), Target::inode(to));
        let cx = self.cx();
        self.runtime.block_on(self.engine.copy_range(&cx, from, from_at, to, to_at, len)).map_err(|e| e.kind())
    }

    pub(super) fn sync(&self) {
        self.runtime.block_on(self.engine.sync(&self.cx())).expect("sync");
    }

    /// Everything into the pool, and no local copy left.
    pub(super) fn upload_and_forget(&self) {
        self.upload();
        self.runtime.block_on(self.engine.flush_index()).expect("flush index");
        self.engine.journal.retire(0).expect("retire");
    }

    pub(super) fn upload(&self) {
        self.sync();
        self.runtime.block_on(self.engine.write_back.flush()).expect("upload");
    }
}

fn open(env: &Env, meta: &Arc<MemoryStore>, pool: &Arc<MemoryBlobStore>, config: &EngineConfig) -> Arc<Engine> {
    Engine::open(env.clone(), Arc::clone(meta) as _, Arc::clone(pool) as _, config.clone()).expect("open")
}

/// Bytes that differ from place to place and from seed to seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).flat_map(u64::to_le_bytes).take(len).collect()
}
