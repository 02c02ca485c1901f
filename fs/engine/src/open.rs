//! Opening a store, starting its workers, stopping them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cache_journal::{Journal, Lsn};
use cache_writeback::{WriteBack, WriteBackConfig};
use fs_api::{FileKind, ROOT_INO, Time};
use fs_meta::{Batch, MetaStore};
use objstore_base::{BlobStore, Result, ResultExt};
use objstore_env::Env;
use parking_lot::{Mutex, RwLock};

use crate::caches::Caches;
use crate::change::Change;
use crate::config::EngineConfig;
use crate::data::{self, DataState};
use crate::engine::Engine;
use crate::handles::Handles;
use crate::hub::Hub;
use crate::index::Workers;
use crate::locks::LockTable;
use crate::orphans::Orphans;
use crate::quota::Projects;
use crate::records::Inode;
use crate::stripes::Stripes;
use crate::system::{self, Counters, InoLease};

impl Engine {
    /// Opens the store, creating it where the index is empty: replays the journal into `meta`, and makes the root
    /// directory of a new store durable. Blocks on disk. Nothing runs in the background before [`Engine::start`].
    ///
    /// # Errors
    /// `NewerFormat`; `Corrupt` where the journal or the index is damaged, with what to do.
    pub fn open(
        env: Env,
        meta: Arc<dyn MetaStore>,
        store: Arc<dyn BlobStore>,
        config: EngineConfig,
    ) -> Result<Arc<Self>> {
        system::require_finished(&*meta)?;
        system::is_formatted(&*meta)?;
        let after = Lsn(meta.flushed_lsn());
        let (journal, recovery) = Journal::open(env.clone(), config.journal.clone(), after, &mut |lsn, bytes| {
            let batch = Batch::decode(bytes).why(format!("record {} of the journal", lsn.0))?;
            meta.apply(&batch)
        })?;
        tracing::info!(after = after.0, ?recovery, "journal replayed");
        let formatted = system::is_formatted(&*meta)?;
        let liveness = data::liveness(Arc::clone(&meta));
        let uploads = WriteBackConfig { timeline: system::timeline(&*meta)?, ..config.write_back.clone() };
        let write_back = WriteBack::new(env.clone(), Arc::clone(&journal), Arc::clone(&store), liveness, uploads);
        let engine = Arc::new(Self {
            stripes: Stripes::new(),
            caches: Caches::new(config.inode_cache_entries, config.dentry_cache_entries),
            handles: Handles::new(),
            orphans: Orphans::new(),
            locks: LockTable::default(),
            hub: Hub::default(),
            data: DataState::new(&env, &config, Arc::clone(&store)),
            renames: Mutex::new(()),
            gate: RwLock::new(()),
            counters: Counters::load(&*meta)?,
            projects: Projects::load(&*meta)?,
            inos: Mutex::new(InoLease::load(&*meta)?),
            setting_changes: Mutex::new(()),
            workers: Workers::new(),
            diverged: AtomicBool::new(false),
            env,
            config,
            meta,
            store,
            journal,
            write_back,
        });
        if !formatted {
            engine.format()?;
        }
        engine.data_on_open()?;
        engine.orphans.load(&*engine.meta)?;
        Ok(engine)
    }

    /// The first record of a new store: its format and its root directory, durable before anything is answered.
    fn format(&self) -> Result<()> {
        let now: Time = self.now();
        let config = &self.config;
        let mut root =
            Inode::new(ROOT_INO, FileKind::Directory, config.root_mode, config.root_uid, config.root_gid, now);
        root.parent = ROOT_INO;
        let mut change = Change::background();
        system::put_format(&mut change.batch);
        change.add_inode(&root);
        let mut lease = self.inos.lock();
        let end = lease.extend(&mut change.batch);
        let lsn = self.apply(change)?;
        lease.granted(end, lsn);
        self.journal.commit(lsn)
    }
}
