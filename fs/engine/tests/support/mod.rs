//! A store on a temporary folder with the index and the pool in memory, and a clock that a test moves.
//!
//! Calls go through [`Vfs`] and are polled once: whatever needs no waiting is ready then, which is part of its contract.

#![allow(dead_code, reason = "each test uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_api::{
    AccessMask, Attr, Context, Created, Credentials, Handle, Ino, Listing, NewNode, OpenFlags, ROOT_INO, RenameMode,
    SetAttr, SetTime, Target, Time, Vfs, XattrMode,
};
use fs_engine::{Engine, EngineConfig};
use fs_meta::MemoryStore;
use futures::FutureExt;
use objstore_base::{BoxFuture, ErrorKind, MemoryBlobStore};
use objstore_env::real::RealClock;
use objstore_env::{Clock, Env, WallTime};
use tokio::runtime::Runtime;

pub type Res<T> = Result<T, ErrorKind>;

/// The wall clock stands where the test put it; each look moves it by a microsecond.
pub struct TestClock {
    wall: AtomicI64,
    real: RealClock,
}

impl TestClock {
    pub fn advance(&self, duration: Duration) {
        self.wall.fetch_add(duration.as_nanos() as i64, Ordering::Relaxed);
    }

    pub fn set_back(&self, duration: Duration) {
        self.wall.fetch_sub(duration.as_nanos() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> WallTime {
        WallTime(self.wall.fetch_add(1000, Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }
}

pub struct World {
    pub engine: Arc<Engine>,
    pub clock: Arc<TestClock>,
    pub runtime: Runtime,
    pub pool: Arc<MemoryBlobStore>,
    meta: Arc<MemoryStore>,
    env: Env,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let clock = Arc::new(TestClock { wall: AtomicI64::new(1_700_000_000_000_000_000), real: RealClock::new() });
        let mut env = objstore_env::real::env(runtime.handle().clone()).expect("the system has chance");
        env.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let meta = Arc::new(MemoryStore::new());
        let pool = Arc::new(MemoryBlobStore::new());
        let engine = open(&env, &meta, &pool, &dir, true);
        Self { engine, clock, runtime, pool, meta, env, dir }
    }

    /// The store after a stop and a start.
    pub fn reopened(self) -> Self {
        self.runtime.block_on(self.engine.stop()).expect("the engine stops");
        let Self { engine, clock, runtime, pool, meta, env, dir } = self;
        drop(engine);
        let engine = open(&env, &meta, &pool, &dir, false);
        Self { engine, clock, runtime, pool, meta, env, dir }.with_numbers()
    }

    /// The first number of a start waits until its lease is durable; whatever is made later need not. Here somebody is
    /// refused a name, which takes a number and makes nothing.
    fn with_numbers(self) -> Self {
        let cx = Context::new(0, Credentials::root());
        let refused = self.runtime.block_on(self.engine.make(&cx, ROOT_INO, b"", NewNode::Fifo, 0, 0));
        assert!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidArgument));
        self
    }

    /// The store after its process died: nothing was stopped, and the index starts from nothing but the journal.
    pub fn crashed(self) -> Self {
        let Self { engine, clock, runtime, pool, meta: _, env, dir } = self;
        drop(engine);
        let meta = Arc::new(MemoryStore::new());
        let engine = open(&env, &meta, &pool, &dir, false);
        Self { engine, clock, runtime, pool, meta, env, dir }.with_numbers()
    }

    /// Another engine on a fresh journal and this index.
    pub fn open_with(&self, meta: Arc<MemoryStore>) -> objstore_base::Result<Arc<Engine>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        try_open(&self.env, &meta, &self.pool, &dir, true)
    }

    /// Waits until everything so far is durable.
    pub fn sync(&self) {
        let cx = Context::new(0, Credentials::root());
        self.runtime.block_on(self.engine.sync(&cx)).expect("the journal can be synced");
    }

    pub fn as_root(&self) -> User<'_> {
        self.user(Credentials::root())
    }

    /// User `uid` with group `uid`.
    pub fn as_user(&self, uid: u32) -> User<'_> {
        self.user(Credentials::user(uid, uid, &[]))
    }

    pub fn user(&self, credentials: Credentials) -> User<'_> {
        static REQUEST: AtomicU64 = AtomicU64::new(1);
        let request = REQUEST.fetch_add(1, Ordering::Relaxed);
        User { world: self, cx: Context::new(request, credentials) }
    }
}

fn open(
    env: &Env,
    meta: &Arc<MemoryStore>,
    pool: &Arc<MemoryBlobStore>,
    dir: &tempfile::TempDir,
    create: bool,
) -> Arc<Engine> {
    try_open(env, meta, pool, dir, create).expect("the store opens")
}

fn try_open(
    env: &Env,
    meta: &Arc<MemoryStore>,
    pool: &Arc<MemoryBlobStore>,
    dir: &tempfile::TempDir,
    create: bool,
) -> objstore_base::Result<Arc<Engine>> {
    let mut journal = JournalConfig::new(dir.path().join("journal"), [7; 16]);
    journal.create = create;
    journal.segment_bytes = 4 << 20;
    // Nobody syncs here, and every answer is expected at the first poll.
    journal.unsynced_bytes_max = u64::MAX;
    let config = EngineConfig::new(journal, WriteBackConfig::new(1 << 30));
    Engine::open(env.clone(), Arc::clone(meta) as _, Arc::clone(pool) as _, config)
}

/// The answer of a call that needs no waiting.
pub fn now<T>(future: BoxFuture<'_, objstore_base::Result<T>>) -> Res<T> {
    future.now_or_never().expect("ready at the first poll").map_err(|e| e.kind())
}

/// One caller.
pub struct User<'a> {
    pub world: &'a World,
    pub cx: Context,
}

impl User<'_> {
    fn vfs(&self) -> &Engine {
        &self.world.engine
    }

    pub fn make(&self, parent: Ino, name: &str, node: NewNode, mode: u32) -> Res<Attr> {
        now(self.vfs().make(&self.cx, parent, name.as_bytes(), node, mode, 0))
    }

    pub fn make_with(&self, parent: Ino, name: &str, node: NewNode, mode: u32, set: SetAttr) -> Res<Attr> {
        now(self.vfs().make_with(&self.cx, parent, name.as_bytes(), node, mode, 0, set))
    }

    pub fn mkdir(&self, parent: Ino, name: &str) -> Res<Ino> {
        self.make(parent, name, NewNode::Directory, 0o755).map(|a| a.ino)
    }

    pub fn mkdir_mode(&self, parent: Ino, name: &str, mode: u32) -> Res<Ino> {
        self.make(parent, name, NewNode::Directory, mode).map(|a| a.ino)
    }

    pub fn file(&self, parent: Ino, name: &str) -> Res<Ino> {
        self.make(parent, name, NewNode::Regular, 0o644).map(|a| a.ino)
    }

    pub fn symlink(&self, parent: Ino, name: &str, target: &str) -> Res<Ino> {
        self.make(parent, name, NewNode::Symlink(target.into()), 0o777).map(|a| a.ino)
    }

    pub fn create(&self, parent: Ino, name: &str, flags: OpenFlags, exclusive: bool) -> Res<Created> {
        now(self.vfs().create(&self.cx, parent, name.as_bytes(), 0o644, 0o022, flags, exclusive))
    }

    pub fn lookup(&self, parent: Ino, name: &str) -> Res<Attr> {
        now(self.vfs().lookup(&self.cx, parent, name.as_bytes()))
    }

    pub fn link(&self, ino: Ino, parent: Ino, name: &str) -> Res<Attr> {
        now(self.vfs().link(&self.cx, ino, parent, name.as_bytes()))
    }

    pub fn unlink(&self, parent: Ino, name: &str) -> Res<()> {
        now(self.vfs().unlink(&self.cx, parent, name.as_bytes()))
    }

    pub fn rmdir(&self, parent: Ino, name: &str) -> Res<()> {
        now(self.vfs().rmdir(&self.cx, parent, name.as_bytes()))
    }

    pub fn rename(&self, parent: Ino, name: &str, to: Ino, new: &str) -> Res<()> {
        self.rename_as(parent, name, to, new, RenameMode::Replace)
    }

    pub fn rename_as(&self, parent: Ino, name: &str, to: Ino, new: &str, mode: RenameMode) -> Res<()> {
        now(self.vfs().rename(&self.cx, parent, name.as_bytes(), to, new.as_bytes(), mode))
    }

    pub fn attr(&self, ino: Ino) -> Res<Attr> {
        now(self.vfs().getattr(&self.cx, Target::inode(ino)))
    }

    pub fn set(&self, ino: Ino, set: SetAttr) -> Res<Attr> {
        now(self.vfs().setattr(&self.cx, Target::inode(ino), set))
    }

    pub fn chmod(&self, ino: Ino, mode: u32) -> Res<Attr> {
        self.set(ino, SetAttr { mode: Some(mode), ..SetAttr::default() })
    }

    pub fn chown(&self, ino: Ino, uid: Option<u32>, gid: Option<u32>) -> Res<Attr> {
        self.set(ino, SetAttr { uid, gid, ..SetAttr::default() })
    }

    pub fn truncate(&self, ino: Ino, size: u64) -> Res<Attr> {
        self.set(ino, SetAttr { size: Some(size), ..SetAttr::default() })
    }

    pub fn utimes(&self, ino: Ino, atime: Time, mtime: Time) -> Res<Attr> {
        let (atime, mtime) = (Some(SetTime::To(atime)), Some(SetTime::To(mtime)));
        self.set(ino, SetAttr { atime, mtime, ..SetAttr::default() })
    }

    pub fn access(&self, ino: Ino, mask: AccessMask) -> Res<()> {
        now(self.vfs().access(&self.cx, ino, mask))
    }

    pub fn open(&self, ino: Ino, flags: OpenFlags) -> Res<Handle> {
        now(self.vfs().open(&self.cx, ino, flags))
    }

    pub fn release(&self, ino: Ino, handle: Handle) -> Res<()> {
        now(self.vfs().release(&self.cx, ino, handle.id))
    }

    pub fn write(&self, target: Target, offset: u64, data: &[u8]) -> Res<u32> {
        now(self.vfs().write(&self.cx, target, offset, data))
    }

    pub fn read(&self, target: Target, offset: u64, len: u32) -> Res<Bytes> {
        now(self.vfs().read(&self.cx, target, offset, len))
    }

    pub fn readdir(&self, ino: Ino, cookie: u64, limit: usize) -> Res<Listing> {
        now(self.vfs().readdir(&self.cx, Target::inode(ino), cookie, limit, false))
    }

    /// All names but the dots, in order of their cookies.
    pub fn names(&self, ino: Ino) -> Vec<String> {
        let mut names = Vec::new();
        let mut cookie = 2;
        loop {
            let listing = self.readdir(ino, cookie, 100).expect("the directory can be listed");
            cookie = listing.entries.last().map_or(cookie, |e| e.cookie);
            names.extend(listing.entries.into_iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()));
            if listing.end {
                return names;
            }
        }
    }

    pub fn setxattr(&self, ino: Ino, name: &str, value: &[u8], mode: XattrMode) -> Res<()> {
        now(self.vfs().setxattr(&self.cx, ino, name.as_bytes(), value, mode))
    }

    pub fn getxattr(&self, ino: Ino, name: &str) -> Res<Bytes> {
        now(self.vfs().getxattr(&self.cx, ino, name.as_bytes()))
    }

    pub fn listxattr(&self, ino: Ino) -> Res<Vec<String>> {
        let names = now(self.vfs().listxattr(&self.cx, ino))?;
        Ok(names.into_iter().map(|n| String::from_utf8_lossy(&n).into_owned()).collect())
    }

    pub fn removexattr(&self, ino: Ino, name: &str) -> Res<()> {
        now(self.vfs().removexattr(&self.cx, ino, name.as_bytes()))
    }
}

pub const READ: OpenFlags =
    OpenFlags { read: true, write: false, append: false, truncate: false, sync: false, execute: false };
pub const READ_WRITE: OpenFlags = OpenFlags { write: true, ..READ };

pub const ROOT: Ino = ROOT_INO;
