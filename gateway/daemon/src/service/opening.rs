//! Opening a store, or making it.

use std::path::PathBuf;
use std::sync::Arc;

use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_engine::{Engine, EngineConfig, SharedDisk};
use fs_meta::MetaStore;
use fs_rocks::{RocksConfig, RocksStore};
use nix::unistd::{getegid, geteuid};
use objstore_base::{BlobStore, ErrorKind};
use objstore_env::Env;
use objstore_pool::{Pool, PoolConfig};

use crate::budget::Budget;
use crate::cli::{Compression, StoreOptions};
use crate::exit::{Exit, Failure};
use crate::host;
use crate::settings::Settings;
use crate::store::{self, IdentityLock, Layout, NewStore, Plan, StoreFile, StoreLock, Unfinished};

/// An open store.
pub(crate) struct Opened {
    pub(crate) lock: Locks,
    pub(crate) store: StoreFile,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    pub(crate) pool: Arc<Pool>,
    /// Of a new store, what remains to be done when it serves.
    pub(crate) unfinished: Option<Unfinished>,
}

/// Does what `plan` says. On failure nothing of a new store is left.
pub(crate) async fn open(env: &Env, args: &StoreOptions, layout: &Layout, plan: Plan) -> Result<Opened, Failure> {
    match plan {
        Plan::Open(store) => {
            let lock = Locks::take(layout, &store)?;
            require_index(layout)?;
            require_journal(layout)?;
            let pool = open_pool(env, layout, &store).await?;
            let opened =
                assemble(env, args, layout, lock, store, pool, None).map_err(|failure| advise(failure, layout))?;
            if let Err(failure) = opened.store.seal(layout) {
                tracing::warn!(failure.message, "the store file stays without a checksum");
            }
            Ok(opened)
        }
        Plan::Create(new) => create(env, args, layout, &new).await,
    }
}

async fn create(env: &Env, args: &StoreOptions, layout: &Layout, new: &NewStore) -> Result<Opened, Failure> {
    let folder = store::make_folder(layout)?;
    let folder_lock = StoreLock::take(layout)?;
    let compression = args.compression.unwrap_or(Compression::Zstd);
    let unfinished = Unfinished::begin(env, layout, new, compression, folder)?;
    let store = unfinished.store().clone();
    let lock = Locks { _identity: IdentityLock::take(layout, store.store_uuid)?, _folder: folder_lock };
    let pool = Pool::create(env.clone(), pool_config(layout, &store)?).await?;
    assemble(env, args, layout, lock, store, pool, Some(unfinished))
}

fn assemble(
    env: &Env,
    args: &StoreOptions,
    layout: &Layout,
    lock: Locks,
    store: StoreFile,
    pool: Pool,
    unfinished: Option<Unfinished>,
) -> Result<Opened, Failure> {
    let budget = Budget::DEFAULT;
    let settings = Settings::of(args, &store, &layout.data)?;
    let rocks = RocksConfig { block_cache_bytes: budget.index_cache_bytes, ..RocksConfig::default() };
    let index = RocksStore::open(layout.index(), &rocks)?;
    let pool = Arc::new(pool);
    let config = engine_config(layout, &store, &settings, &budget, unfinished.is_some());
    let blobs = Arc::clone(&pool) as Arc<dyn BlobStore>;
    let engine = Engine::open(env.clone(), Arc::new(index) as Arc<dyn MetaStore>, blobs, config)?;
    Ok(Opened { lock, store, settings, engine, pool, unfinished })
}

/// What keeps others out of an open store.
pub(crate) struct Locks {
    _folder: StoreLock,
    _identity: IdentityLock,
}

impl Locks {
    /// # Errors
    /// `InUse` where the folder, or a copy of it, is open.
    pub(crate) fn take(layout: &Layout, store: &StoreFile) -> Result<Self, Failure> {
        Ok(Self { _folder: StoreLock::take(layout)?, _identity: IdentityLock::take(layout, store.store_uuid)? })
    }
}

/// An index that was there and is not would be made anew and empty; that is never what is wanted.
fn require_index(layout: &Layout) -> Result<(), Failure> {
    if host::metadata(&layout.index().join("CURRENT")).is_ok() {
        return Ok(());
    }
    let advice = format!("it is lost: rebuild it with `tidegate recover --data {}`", layout.data.display());
    Err(Failure::refuse("open index", layout.index().display(), advice).with_exit(Exit::Damaged))
}

/// As for the index: what was not in the pool yet is in the journal only.
fn require_journal(layout: &Layout) -> Result<(), Failure> {
    // Where it cannot be looked at, opening it says why.
    let lost = match host::is_free(&layout.journal()) {
        Ok(empty) => empty,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !lost {
        return Ok(());
    }
    let advice = format!(
        "it is lost: put its folder back, or go on without what was not in the pool yet: `tidegate recover --data {}`",
        layout.data.display()
    );
    Err(Failure::refuse("open journal", layout.journal().display(), advice).with_exit(Exit::Damaged))
}

/// The pool of a store that was there.
pub(crate) async fn open_pool(env: &Env, layout: &Layout, store: &StoreFile) -> Result<Pool, Failure> {
    store::heal_list::note_if_lost(layout)?;
    let opened = Pool::open(env.clone(), pool_config(layout, store)?).await;
    opened.map_err(|error| {
        let away = error.kind() == ErrorKind::Unavailable;
        let mut failure = Failure::from(error);
        if away {
            failure
                .message
                .push_str(": bring them back (mount their disks, put their folders back) and run this again");
            failure.exit = Exit::Damaged;
        }
        failure
    })
}

/// The layers below name `tidegate recover`, and do not know which store they serve.
fn advise(mut failure: Failure, layout: &Layout) -> Failure {
    let named = format!("`tidegate recover --data {}`", layout.data.display());
    failure.message = failure.message.replace("`tidegate recover`", &named);
    failure
}

fn pool_config(layout: &Layout, store: &StoreFile) -> Result<PoolConfig, Failure> {
    let code = store.code()?;
    let drives: Vec<PathBuf> = store.drives.iter().map(|drive| layout.drive(drive)).collect();
    Ok(PoolConfig::new(store.pool_uuid, code.data.into(), code.parity.into(), drives, layout.pool()))
}

fn engine_config(layout: &Layout, store: &StoreFile, settings: &Settings, budget: &Budget, new: bool) -> EngineConfig {
    let mut journal = JournalConfig::new(layout.journal(), store.store_uuid.0);
    journal.create = new;
    journal.segment_bytes = store.segment_bytes;
    // Half for segments that went up and are still here, half for what came back from the pool.
    let read_cache_bytes = settings.cache_bytes_max / 2;
    journal.cache_bytes_max = settings.cache_bytes_max - read_cache_bytes;
    journal.table_cache_bytes = budget.journal_table_bytes;
    let mut write_back = WriteBackConfig::new(settings.dirty_bytes_max);
    write_back.compression = match settings.compression {
        Compression::Zstd => cache_writeback::Compression::Zstd { level: 1 },
        Compression::Lz4 => cache_writeback::Compression::Lz4,
        Compression::None => cache_writeback::Compression::None,
    };
    write_back.upload_delay = settings.upload_delay;
    let mut config = EngineConfig::new(journal, write_back);
    config.inode_cache_entries = budget.inode_cache_entries;
    config.dentry_cache_entries = budget.dentry_cache_entries;
    config.gather_bytes_max = budget.gather_bytes;
    config.read_cache.dir = layout.cache();
    config.read_cache.memory_bytes_max = budget.frame_cache_bytes;
    config.read_cache.disk_bytes_max = read_cache_bytes;
    config.root_uid = geteuid().as_raw();
    config.root_gid = getegid().as_raw();
    config.shared_disk = shared_disk(layout, store);
    config
}

/// Where drives lie on the disk under the store's folder, as the ones of a store made without `--drive` do.
fn shared_disk(layout: &Layout, store: &StoreFile) -> Option<SharedDisk> {
    let (disk, _) = host::identity(&layout.data).ok()?;
    let code = store.code().ok()?;
    let on_it = |drive: &&String| {
        // One that is missing is taken to be where it will be made.
        let place = layout.drive(drive);
        host::identity(host::nearest_existing(&place)).is_ok_and(|(on, _)| on == disk)
    };
    let shared = store.drives.iter().filter(on_it).count() as u64;
    // A blob puts `width` shards on all drives evenly, each the k-th part of it.
    let (all, width) = (store.drives.len() as u64, code.width() as u64);
    (shared > 0).then(|| SharedDisk { files: u64::from(code.data) * all, disk: shared * width })
}
