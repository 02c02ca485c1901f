//! [`Engine`]: what it holds, how a change is made, and the order of its locks.
//!
//! # Lock order
//! 1. `renames`: moves of directories between directories, one at a time, so that the tree above them stands still;
//! 2. stripes, ascending by index (`Stripes::write` sorts): everything about an inode changes with its stripe held
//!    exclusively, from reading what is there to the applied batch;
//! 3. the gather table, the lock table, the ties table: leaves next to each other, none is held while taking another;
//! 4. `gate`, shared by every change, exclusive for the moment in which the index is frozen;
//! 5. what is inside the journal and the index.
//!
//! None of them is held across an await, and no sync is waited for under 1 to 4: appending to the journal is a copy to
//! memory or to the page cache, and a look into the index at most reads a cold block. The one exception is the freezing
//! of the index, which commits under `gate` what came in since the commit just before.
//!
//! A change of quotas holds `setting_changes` and `projects.changes` before 1; a walk of a tree holds `projects.walks`
//! before 2.
//!
//! The lease of inode numbers (`inos`) is taken before any stripe, and changes the store (4, 5) while held; so does
//! `setting_changes`, which is taken with none of the others held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_journal::{FrameData, Journal, Lsn};
use cache_writeback::WriteBack;
use fs_api::{Context, DoorId, Durability, Ino, Time};
use fs_meta::{Batch, Column, MetaStore};
use objstore_base::{BlobStore, Error, ErrorKind, Result};
use objstore_env::Env;
use parking_lot::{Mutex, RwLock};

use crate::caches::Caches;
use crate::change::{Change, Effect, Told};
use crate::config::EngineConfig;
use crate::data::DataState;
use crate::handles::Handles;
use crate::hub::Hub;
use crate::index::Workers;
use crate::keys;
use crate::locks::LockTable;
use crate::orphans::Orphans;
use crate::quota::Projects;
use crate::records::{Dentry, Inode};
use crate::stripes::Stripes;
use crate::system::{Counters, InoLease};

/// What a change of metadata takes in the journal, about: head, inode records, a name.
const RECORD_BYTES: u64 = 1024;

/// One store, open.
pub struct Engine {
    pub(crate) env: Env,
    pub(crate) config: EngineConfig,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) write_back: Arc<WriteBack>,
    pub(crate) stripes: Stripes,
    pub(crate) caches: Caches,
    pub(crate) handles: Handles,
    pub(crate) orphans: Orphans,
    pub(crate) locks: LockTable,
    pub(crate) hub: Hub,
    /// Everything that `data` keeps in memory.
    pub(crate) data: DataState,
    pub(crate) renames: Mutex<()>,
    pub(crate) gate: RwLock<()>,
    pub(crate) counters: Counters,
    pub(crate) projects: Projects,
    pub(crate) inos: Mutex<InoLease>,
    /// One change of settings at a time: two of one name must not be applied side by side.
    pub(crate) setting_changes: Mutex<()>,
    pub(crate) workers: Workers,
    /// The index refused a batch that the journal holds: memory and log disagree until the next start replays it.
    pub(crate) diverged: AtomicBool,
}

impl Engine {
    /// Makes `change` the next record of the journal and shows it to every reader. The caller holds the stripes of
    /// all inodes in it. Nothing is durable yet.
    ///
    /// # Errors
    /// `QuotaExceeded` where it takes more than a quota allows; nothing is changed then.
    pub(crate) fn apply(&self, change: Change) -> Result<Lsn> {
        self.apply_frames(&[], change)
    }

    /// As [`Engine::apply`], with bytes: `frames` are stored in the same record, and its edits say where they go.
    pub(crate) fn apply_frames(&self, frames: &[FrameData<'_>], mut change: Change) -> Result<Lsn> {
        self.require_agreement()?;
        // Given back where the journal does not take the change.
        let taken = self.projects.charge(std::mem::take(&mut change.charges), change.growth)?;
        let mut framed = Batch::new();
        let _gate = self.gate.read();
        let unnamed = self.encode_edits(&mut change)?;
        let mut named = Vec::with_capacity(frames.len());
        let appended = self.journal.append(frames, &mut |ids, out| {
            framed.clear();
            unnamed.encode(ids, &mut framed);
            named.clear();
            named.extend_from_slice(ids);
            out.extend_from_slice(change.batch.as_bytes());
            out.extend_from_slice(framed.as_bytes());
        })?;
        taken.keep();
        change.batch.append(&framed);
        self.meta.apply(&change.batch).inspect_err(|_| self.diverged.store(true, Ordering::Relaxed))?;
        self.data.known.follow(&change.edits, &named);
        self.counters.add(change.inodes, change.bytes);
        if let Some(observer) = self.config.observer.as_ref().filter(|_| !change.requests().is_empty()) {
            observer.committed(appended.lsn.0, change.requests());
        }
        self.spread(change.door, change.effects);
        Ok(appended.lsn)
    }

    fn require_agreement(&self) -> Result<()> {
        if self.diverged.load(Ordering::Relaxed) { Err(diverged()) } else { Ok(()) }
    }

    /// # Errors
    /// `Io` where no change will be taken before the next start.
    pub(crate) fn require_writable(&self) -> Result<()> {
        self.require_agreement()?;
        self.journal.healthy()
    }

    /// Teaches the caches, then tells those who watch: what they hear of is read again at once.
    fn spread(&self, door: Option<DoorId>, effects: Vec<Effect>) {
        match door.filter(|_| self.hub.is_heard(door)) {
            None => self.teach(effects),
            Some(door) => {
                let told: Vec<Told> = effects.iter().filter_map(Told::of).collect();
                self.teach(effects);
                told.iter().for_each(|told| self.hub.tell(door, &told.notice()));
            }
        }
    }

    fn teach(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Inode(inode) => self.caches.put_inode(inode),
                Effect::InodeGone(ino) => self.caches.drop_inode(ino),
                Effect::Name { parent, name, dentry } => self.caches.put_name(parent, &name, dentry),
                Effect::Trim { ino, from } => self.data.note_trim(ino, from),
                Effect::GatheredGone(ino) => self.drop_gathered_locked(ino),
                Effect::Content { .. } => {}
            }
        }
    }

    /// Waits for room for a change that adds names or attributes of about `bytes`. What removes something is never kept
    /// waiting: it makes room. Called before any stripe is taken.
    pub(crate) async fn admit_metadata(&self, cx: &Context, bytes: usize) -> Result<()> {
        self.write_back.admit(RECORD_BYTES + bytes as u64, cx.patience).await
    }

    /// Waits until `lsn` is durable where the request asks for it.
    pub(crate) async fn settle(&self, cx: &Context, lsn: Lsn) -> Result<()> {
        self.let_watchers_follow(cx).await;
        match cx.durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.journal.commit_async(lsn).await,
        }
    }

    /// The record of `ino`, whose stripe the caller holds exclusively; without the writes still gathered.
    ///
    /// # Errors
    /// `Stale` where there is no such inode (any more).
    pub(crate) fn inode_locked(&self, ino: Ino) -> Result<Inode> {
        if let Some(inode) = self.caches.inode(ino) {
            return Ok(inode);
        }
        let inode = self.stored_inode(ino)?.ok_or_else(|| stale(ino))?;
        self.caches.put_inode(inode.clone());
        Ok(inode)
    }

    /// The record of `ino` as readers see it, gathered writes included. The caller holds no stripe.
    ///
    /// # Errors
    /// `Stale` where there is no such inode (any more).
    pub(crate) fn inode(&self, ino: Ino) -> Result<Inode> {
        // In this order: a write leaves the gather table only after its record is in the cache, so one that was
        // answered before this call is found in one of them.
        if let Some(inode) = self.data.gathers.shown(ino) {
            return Ok(inode);
        }
        if let Some(inode) = self.caches.inode(ino) {
            return Ok(inode);
        }
        let _stripe = self.stripes.read(ino);
        match self.data.gathers.shown(ino) {
            Some(inode) => Ok(inode),
            None => self.inode_locked(ino),
        }
    }

    /// The record of `ino` for one who holds other stripes: it does not fill the cache, so it needs no stripe.
    pub(crate) fn inode_unlocked(&self, ino: Ino) -> Result<Inode> {
        match self.caches.inode(ino) {
            Some(inode) => Ok(inode),
            None => self.stored_inode(ino)?.ok_or_else(|| stale(ino)),
        }
    }

    fn stored_inode(&self, ino: Ino) -> Result<Option<Inode>> {
        let value = self.meta.get(Column::Inode, &keys::inode(ino))?;
        value.map(|value| Inode::decode(ino, &value).map_err(|e| e.entity(ino))).transpose()
    }

    /// What `name` in `parent` leads to; the caller holds the stripe of `parent`, shared or exclusively.
    pub(crate) fn dentry_locked(&self, parent: Ino, name: &[u8]) -> Result<Option<Dentry>> {
        if let Some(known) = self.caches.name(parent, name) {
            return Ok(known);
        }
        let value = self.meta.get(Column::Dentry, &keys::dentry(parent, name))?;
        let dentry = value.map(|v| Dentry::decode(&v).map_err(|e| e.entity(parent))).transpose()?;
        self.caches.put_name(parent, name, dentry);
        Ok(dentry)
    }

    /// The wall clock, for timestamps only.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(self.env.clock.wall().0)
    }

    /// A number that no inode ever had, nor will have again: a handle that somebody keeps leads to its file or to nothing,
    /// also when a power loss took the file away. So it lies under a lease that is durable: the first one of a start is
    /// waited for, the next ones are taken early, and waited for where the journal does not keep up. Before any stripe.
    pub(crate) async fn new_ino(&self) -> Result<Ino> {
        let (ino, leased_at) = self.take_ino()?;
        if self.journal.durable() < leased_at {
            self.journal.commit_async(leased_at).await?;
        }
        Ok(ino)
    }

    /// The next number, and which record has to be durable before it is used.
    fn take_ino(&self) -> Result<(Ino, Lsn)> {
        let mut lease = self.inos.lock();
        lease.settled(self.journal.durable());
        if lease.is_short() {
            let mut change = Change::background();
            let end = lease.extend(&mut change.batch);
            let lsn = self.apply(change)?;
            lease.granted(end, lsn);
            // Its sync goes on without anybody who waits.
            drop(self.journal.commit_async(lsn));
        }
        Ok(lease.take())
    }
}

/// The error for an inode that is not there.
pub(crate) fn stale(ino: Ino) -> Error {
    Error::new(ErrorKind::Stale, "find inode").entity(ino)
}

fn diverged() -> Error {
    Error::new(ErrorKind::Io, "change the filesystem")
        .context("the metadata index refused an earlier change; restart to rebuild it from the journal")
}
