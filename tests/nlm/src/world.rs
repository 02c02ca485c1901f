//! A store, its NFS door and its lock manager.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_api::{
    Context, Credentials, Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace, NewNode, ROOT_INO, Vfs,
};
use fs_engine::{Engine, EngineConfig};
use fs_meta::MemoryStore;
use gateway_nfs::{Door, DoorOptions, FileHandle, HandleKey, Share, ShareId, Shares, Squash};
use gateway_nlm::{MemoryMonitors, MonitorStore, NlmDoor, NlmOptions, StatusMonitor};
use gateway_sunrpc::Hooks;
use objstore_base::MemoryBlobStore;
use objstore_env::{Clock, Env};
use tests_model::Model;

use crate::clock::ManualClock;

const SECRET: [u8; 16] = *b"a store's secret";
const DOOR_NUMBER: u32 = 77;

/// Which filesystem is behind the door.
#[derive(Clone, Copy, Debug)]
pub enum Store {
    Engine,
    Model,
}

pub struct World {
    pub vfs: Arc<dyn Vfs>,
    pub shares: Arc<Shares>,
    pub nlm: Arc<NlmDoor>,
    pub monitor: Arc<StatusMonitor>,
    pub store: Arc<dyn MonitorStore>,
    pub clock: ManualClock,
    pub env: Env,
    pub portmapper_port: u16,
    model: Option<Arc<Model>>,
    _dir: Option<tempfile::TempDir>,
}

impl World {
    /// With the engine. `portmapper_port` is where all clients' portmappers listen.
    pub async fn new(portmapper_port: u16) -> Self {
        Self::with(Store::Engine, portmapper_port, |_| {}).await
    }

    pub async fn with(kind: Store, portmapper_port: u16, change: impl FnOnce(&mut NlmOptions)) -> Self {
        let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
        let (vfs, model, dir): (Arc<dyn Vfs>, _, _) = match kind {
            Store::Model => {
                let model = Arc::new(Model::with_root(0, 0, 0o777));
                (model.clone(), Some(model), None)
            }
            Store::Engine => {
                let dir = tempfile::tempdir().expect("a temporary folder");
                let mut journal = JournalConfig::new(dir.path().join("journal"), [7; 16]);
                journal.create = true;
                journal.segment_bytes = 4 << 20;
                let config = EngineConfig::new(journal, WriteBackConfig::new(1 << 30));
                let (meta, pool) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobStore::new()));
                (Engine::open(env.clone(), meta, pool, config).expect("the store opens"), None, Some(dir))
            }
        };
        let share = Share { squash: Squash::None, ..Share::local(ShareId(1), b"/all", ROOT_INO) };
        let read_only = Share { read_only: true, ..Share::local(ShareId(2), b"/ro", ROOT_INO) };
        let shares = Arc::new(Shares::new(vec![share, read_only]));
        let (store, clock) = (Arc::new(MemoryMonitors::default()), ManualClock::default());
        let mut options = options_of(portmapper_port);
        change(&mut options);
        let nlm = start(&vfs, &shares, store.clone(), options, &clock, &env).await;
        let monitor = StatusMonitor::new(Arc::clone(&nlm));
        Self { vfs, shares, nlm, monitor, store, clock, env, portmapper_port, model, _dir: dir }
    }

    /// The process stopped and started again, with the reference filesystem: its locks are gone, its files and the list
    /// of monitored clients are not.
    pub async fn restarted(self) -> Self {
        self.nlm.stop(Duration::ZERO).await;
        let Self { shares, store, clock, env, portmapper_port, model, _dir, .. } = self;
        let model = Arc::new(Model::from_state(model.expect("restarts are of the reference filesystem").snapshot()));
        let vfs: Arc<dyn Vfs> = model.clone();
        let nlm = start(&vfs, &shares, Arc::clone(&store), options_of(portmapper_port), &clock, &env).await;
        let monitor = StatusMonitor::new(Arc::clone(&nlm));
        Self { vfs, shares, nlm, monitor, store, clock, env, portmapper_port, model: Some(model), _dir }
    }

    pub async fn file(&self, name: &[u8], mode: u32) -> Ino {
        let cx = Context::new(0, Credentials::root());
        self.vfs.make(&cx, ROOT_INO, name, NewNode::Regular, mode, 0).await.expect("a new file").ino
    }

    /// What another door sees of the locks on `ino`: the lowest range in the way of locking all of it.
    pub async fn seen_by_others(&self, ino: Ino) -> Option<(LockRange, Option<LockKind>)> {
        let cx = Context::new(0, Credentials::root());
        let found = self.vfs.test_lock(&cx, ino, local(0, u64::MAX, Some(LockKind::Exclusive))).await;
        found.expect("a test").map(|found| (found.range, found.kind))
    }
}

/// A POSIX lock of another door.
pub fn local(start: u64, end: u64, kind: Option<LockKind>) -> LockRequest {
    let (space, owner) = (LockSpace::Posix, LockOwner { door: 0, owner: 5 });
    LockRequest { space, owner, range: LockRange { start, end }, kind, pid: 4711 }
}

fn options_of(portmapper_port: u16) -> NlmOptions {
    NlmOptions { portmapper_port, ..NlmOptions::new(DOOR_NUMBER, SECRET, Bytes::from_static(b"server")) }
}

async fn start(
    vfs: &Arc<dyn Vfs>,
    shares: &Arc<Shares>,
    store: Arc<dyn MonitorStore>,
    options: NlmOptions,
    clock: &ManualClock,
    env: &Env,
) -> Arc<NlmDoor> {
    let nfs_options =
        DoorOptions { secret: SECRET, start: 1, manage_gids: None, requests: Arc::new(AtomicU64::new(1)) };
    let nfs = Door::new(Arc::clone(vfs), Arc::clone(shares), nfs_options).expect("it reads receipts");
    let hooks = Hooks { clock: Arc::new(clock.clone()) as Arc<dyn Clock>, tasks: env.tasks.clone() };
    NlmDoor::start(Arc::clone(vfs), nfs, store, options, hooks).await.expect("the door starts")
}

pub fn handle(share: u32, ino: Ino) -> Bytes {
    Bytes::copy_from_slice(&HandleKey::new(SECRET).seal(FileHandle { share: ShareId(share), ino }))
}
