//! Opening a store, or making it.

use std::path::PathBuf;
use std::sync::Arc;

use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_engine::{Engine, EngineConfig};
use fs_meta::MetaStore;
use fs_rocks::{RocksConfig, RocksStore};
use nix::unistd::{getegid, geteuid};
use objstore_base::BlobStore;
use objstore_env::Env;
use objstore_pool::{Pool, PoolConfig};

use crate::budget::Budget;
use crate::cli::{Compression, MountArgs};
use crate::exit::{Exit, Failure};
use crate::host;
use crate::settings::Settings;
use crate::store::{self, Layout, NewStore, Plan, StoreFile, StoreLock, Unfinished};

/// An open store.
pub(crate) struct Opened {
    pub(crate) lock: StoreLock,
    pub(crate) store: StoreFile,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    pub(crate) pool: Arc<Pool>,
    /// Of a new store, what remains to be done when it serves.
    pub(crate) unfinished: Option<Unfinished>,
}

/// Does what `plan` says. On failure nothing of a new store is left.
pub(crate) async fn open(env: &Env, args: &MountArgs, layout: &Layout, plan: Plan) -> Result<Opened, Failure> {
    match plan {
        Plan::Open(store) => {
            let lock = StoreLock::take(layout)?;
            require_index(layout)?;
            let pool = Pool::open(env.clone(), pool_config(layout, &store)?).await?;
            assemble(env, args, layout, lock, store, pool, None)
        }
        Plan::Create(new) => create(env, args, layout, &new).await,
    }
}

async fn create(env: &Env, args: &MountArgs, layout: &Layout, new: &NewStore) -> Result<Opened, Failure> {
    let folder = store::make_folder(layout)?;
    let lock = StoreLock::take(layout)?;
    let compression = args.compression.unwrap_or(Compression::Zstd);
    let unfinished = Unfinished::begin(env, layout, new, compression, folder)?;
    let store = unfinished.store().clone();
    let pool = Pool::create(env.clone(), pool_config(layout, &store)?).await?;
    assemble(env, args, layout, lock, store, pool, Some(unfinished))
}

fn assemble(
    env: &Env,
    args: &MountArgs,
    layout: &Layout,
    lock: StoreLock,
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

/// An index that was there and is not would be made anew and empty; that is never what is wanted.
fn require_index(layout: &Layout) -> Result<(), Failure> {
    if host::metadata(&layout.index().join("CURRENT")).is_ok() {
        return Ok(());
    }
    let advice = format!("it is lost: rebuild it with `tidegate recover --data {}`", layout.data.display());
    Err(Failure::refuse("open index", layout.index().display(), advice).with_exit(Exit::Damaged))
}

pub(crate) fn pool_config(layout: &Layout, store: &StoreFile) -> Result<PoolConfig, Failure> {
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
    config
}
