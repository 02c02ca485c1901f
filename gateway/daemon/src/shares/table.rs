//! [`ShareTable`]: the shares of an open store, kept in its settings and shown to the NFS door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_api::Ino;
use fs_engine::Engine;
use gateway_nfs::Shares;
use objstore_base::Result;
use objstore_env::Env;
use parking_lot::Mutex;

use super::clients::{Admitted, admit};
use super::directories;
use super::quota::QuotaReport;
use super::record::{PREFIX, ShareRecord};
use super::reports::ShareReport;

/// A share and whom it admits now.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: ShareRecord,
    admitted: Admitted,
}

pub(crate) struct ShareTable {
    pub(super) env: Env,
    pub(super) engine: Arc<Engine>,
    live: Arc<Shares>,
    privileged_port: AtomicBool,
    pub(super) entries: Mutex<BTreeMap<u32, Entry>>,
    /// One change at a time, from looking to storing: a leaf, held across awaits.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl ShareTable {
    /// The shares that the store has.
    pub(crate) async fn open(env: &Env, engine: &Arc<Engine>, privileged_port: bool) -> Result<Self> {
        let entries = entries(env, stored(engine)?).await;
        let table = Self {
            env: env.clone(),
            engine: Arc::clone(engine),
            live: Arc::default(),
            privileged_port: privileged_port.into(),
            entries: Mutex::new(entries),
            changing: tokio::sync::Mutex::new(()),
        };
        table.show();
        Ok(table)
    }

    /// What the door serves; it follows every change.
    pub(crate) fn live(&self) -> Arc<Shares> {
        Arc::clone(&self.live)
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.entries.lock().values().map(|entry| entry.record.path.clone()).collect()
    }

    pub(crate) fn reports(&self) -> Vec<ShareReport> {
        let entries = self.entries.lock().clone();
        let lineages = self.lineages(&entries);
        entries.values().map(|entry| self.report(entry, &entries, &lineages)).collect()
    }

    /// Names of clients are looked up anew; gives those that lead nowhere.
    pub(crate) async fn resolve_again(&self, privileged_port: bool) -> Vec<String> {
        let _one = self.changing.lock().await;
        self.privileged_port.store(privileged_port, Ordering::Relaxed);
        let records = self.entries.lock().values().map(|entry| entry.record.clone()).collect();
        let entries = entries(&self.env, records).await;
        let unresolved = entries.values().flat_map(|entry| entry.admitted.unresolved.clone()).collect();
        *self.entries.lock() = entries;
        self.show();
        unresolved
    }

    /// Takes over what the store has. Whom unchanged shares admit stays as it is. With `changing` held.
    pub(super) async fn follow_store(&self) -> Result<()> {
        let records = stored(&self.engine)?;
        let mut all = self.entries.lock().clone();
        all.retain(|_, entry| records.contains(&entry.record));
        let changed = records.into_iter().filter(|record| !all.contains_key(&record.id)).collect();
        all.extend(entries(&self.env, changed).await);
        *self.entries.lock() = all;
        self.show();
        Ok(())
    }

    fn show(&self) {
        let privileged = self.privileged_port.load(Ordering::Relaxed);
        let entries = self.entries.lock();
        let shares = entries.values().map(|entry| entry.record.to_share(entry.admitted.nets.clone(), privileged));
        self.live.replace(shares.collect());
    }

    fn report(&self, entry: &Entry, all: &BTreeMap<u32, Entry>, lineages: &BTreeMap<u32, Vec<Ino>>) -> ShareReport {
        let Entry { record, admitted } = entry;
        let lies_in = |inner: u32, outer: u64| lineages.get(&inner).is_some_and(|above| above.contains(&Ino(outer)));
        let overlaps = |other: &&Entry| {
            let other = &other.record;
            other.id != record.id && (lies_in(record.id, other.inode) || lies_in(other.id, record.inode))
        };
        ShareReport {
            id: record.id,
            path: record.path.clone(),
            directory: record.directory.clone(),
            inode: record.inode,
            state: directories::state(&self.engine, record).to_owned(),
            clients: record.clients.clone(),
            unresolved: admitted.unresolved.clone(),
            read_only: record.read_only,
            squash: record.squash,
            anonymous_uid: record.anonymous_uid,
            anonymous_gid: record.anonymous_gid,
            ack: record.ack,
            quota: QuotaReport::of(&self.engine, Ino(record.inode)),
            overlaps: all.values().filter(overlaps).map(|other| other.record.path.clone()).collect(),
        }
    }

    /// Of each share, its directory and those above it.
    fn lineages(&self, entries: &BTreeMap<u32, Entry>) -> BTreeMap<u32, Vec<Ino>> {
        entries
            .values()
            .map(|entry| (entry.record.id, directories::around(&self.engine, Ino(entry.record.inode))))
            .collect()
    }
}

/// The records that the store has.
fn stored(engine: &Engine) -> Result<Vec<ShareRecord>> {
    engine.settings(PREFIX)?.iter().map(|(setting, value)| ShareRecord::decode(setting, value)).collect()
}

/// The records with whom they admit now.
async fn entries(env: &Env, records: Vec<ShareRecord>) -> BTreeMap<u32, Entry> {
    let lists: Vec<&[String]> = records.iter().map(|record| record.clients.as_slice()).collect();
    let admitted = admit(env, &lists).await;
    let entries = records.into_iter().zip(admitted).map(|(record, admitted)| {
        if !admitted.unresolved.is_empty() {
            tracing::warn!(share = record.path, names = ?admitted.unresolved, "clients that are not found admit nobody");
        }
        (record.id, Entry { record, admitted })
    });
    entries.collect()
}
