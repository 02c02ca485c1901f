//! [`ShareTable`]: the shares of an open store, kept in its settings and shown to the NFS door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_api::{Context, Credentials, FileKind, Ino, NewNode, ROOT_INO, Vfs};
use fs_engine::{Engine, QuotaLimits, SettingChange};
use gateway_nfs::Shares;
use nix::unistd::{getegid, geteuid};
use objstore_base::{Error, ErrorKind, Result};
use objstore_env::Env;
use parking_lot::Mutex;

use super::clients::{Admitted, admit};
use super::quota::{self, QuotaReport};
use super::record::{PREFIX, ShareRecord, ShareTerms, plain_path};
use super::reports::ShareReport;
use crate::exit::Failure;

/// The setting with the number that the next share gets.
const NEXT: &str = "share-next";
const NEXT_VERSION: u8 = 1;
/// The table is walked at every call.
const SHARES_MAX: usize = 1024;
/// Of a directory that `--make` makes.
const MADE_MODE: u32 = 0o755;

/// A share and whom it admits now.
#[derive(Clone, Debug)]
struct Entry {
    record: ShareRecord,
    admitted: Admitted,
}

pub(crate) struct ShareTable {
    env: Env,
    engine: Arc<Engine>,
    live: Arc<Shares>,
    privileged_port: AtomicBool,
    entries: Mutex<BTreeMap<u32, Entry>>,
    /// One change at a time, from looking to storing: a leaf, held across awaits.
    changing: tokio::sync::Mutex<()>,
}

impl ShareTable {
    /// The shares that the store has.
    pub(crate) async fn open(env: &Env, engine: &Arc<Engine>, privileged_port: bool) -> Result<Self> {
        let mut records = Vec::new();
        for (setting, value) in engine.settings(PREFIX)? {
            records.push(ShareRecord::decode(&setting, &value)?);
        }
        let entries = entries(env, records).await;
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

    pub(crate) async fn create(&self, directory: &str, make: bool, terms: &ShareTerms) -> Result<ShareReport, Failure> {
        let refuse = |why: String| Failure::refuse("create share", directory, why);
        let directory = plain_path(directory).map_err(refuse)?;
        let _one = self.changing.lock().await;
        if self.entries.lock().len() >= SHARES_MAX {
            return Err(refuse(format!("there are {SHARES_MAX} shares, and no more are served: delete one")));
        }
        let next = self.next_id()?;
        // Everything that can be refused is, before a directory is made.
        let draft = ShareRecord::new(next, &directory, ROOT_INO).under(terms).map_err(refuse)?;
        self.require_free(&draft)?;
        let inode = self.directory(&directory, make).await?;
        let record = ShareRecord { inode: inode.0, ..draft };
        let after = next.checked_add(1).ok_or_else(|| refuse("all numbers of shares were given out".to_owned()))?;
        let counted = SettingChange::put(NEXT, [&[NEXT_VERSION][..], &after.to_le_bytes()].concat());
        let limits = quota::wanted(&self.engine, inode, terms).map_err(refuse)?;
        self.store(record, vec![counted], limits).await
    }

    pub(crate) async fn set(&self, share: &str, terms: &ShareTerms) -> Result<ShareReport, Failure> {
        let _one = self.changing.lock().await;
        let old = self.find("change share", share)?;
        let record = old.under(terms).map_err(|why| Failure::refuse("change share", share, why))?;
        self.require_free(&record)?;
        let limits = quota::wanted(&self.engine, Ino(record.inode), terms);
        let limits = limits.map_err(|why| Failure::refuse("change share", share, why))?;
        self.store(record, Vec::new(), limits).await
    }

    /// Clients that have it mounted get errors from then on; the directory stays, without the limits of its quota.
    pub(crate) async fn delete(&self, share: &str) -> Result<(), Failure> {
        let _one = self.changing.lock().await;
        let record = self.find("delete share", share)?;
        let changes = [SettingChange::delete(record.setting())];
        match self.own_quota(&record) {
            Some(directory) => drop(self.engine.set_quota(directory, QuotaLimits::default(), &changes).await?),
            None => self.engine.change_settings(&changes).await?,
        }
        self.entries.lock().remove(&record.id);
        self.show();
        tracing::info!(share = record.path, id = record.id, "share deleted");
        Ok(())
    }

    /// Durable first, then shown: no client uses a share that a crash would take back.
    async fn store(
        &self,
        record: ShareRecord,
        mut changes: Vec<SettingChange>,
        limits: Option<QuotaLimits>,
    ) -> Result<ShareReport, Failure> {
        changes.push(SettingChange::put(record.setting(), record.encode()?));
        let stored = entries(&self.env, vec![record.clone()]).await;
        match limits {
            Some(limits) => {
                let set = self.engine.set_quota(Ino(record.inode), limits, &changes).await;
                set.map(drop).map_err(|error| quota::refused(&record.path, error))?;
            }
            None => self.engine.change_settings(&changes).await?,
        }
        tracing::info!(share = record.path, id = record.id, clients = ?record.clients, ?limits, "share stored");
        self.entries.lock().extend(stored.clone());
        self.show();
        let all = self.entries.lock().clone();
        let lineages = self.lineages(&all);
        let reports = stored.values().map(|entry| self.report(entry, &all, &lineages));
        reports.last().ok_or_else(|| Failure::refuse("store share", &record.path, "it is gone"))
    }

    /// The directory of `record`, where it has a quota that no other share needs.
    fn own_quota(&self, record: &ShareRecord) -> Option<Ino> {
        let quota = QuotaReport::of(&self.engine, Ino(record.inode)).filter(|quota| quota.inode == record.inode)?;
        let shared = |other: &Entry| other.record.inode == record.inode && other.record.id != record.id;
        (!self.entries.lock().values().any(shared)).then_some(Ino(quota.inode))
    }

    fn show(&self) {
        let privileged = self.privileged_port.load(Ordering::Relaxed);
        let entries = self.entries.lock();
        let shares = entries.values().map(|entry| entry.record.to_share(entry.admitted.nets.clone(), privileged));
        self.live.replace(shares.collect());
    }

    fn find(&self, what: &str, share: &str) -> Result<ShareRecord, Failure> {
        let path = plain_path(share).map_err(|why| Failure::refuse(what, share, why))?;
        let entries = self.entries.lock();
        entries.values().map(|entry| &entry.record).find(|record| record.path == path).cloned().ok_or_else(|| {
            let advice =
                if entries.is_empty() { "there are none".to_owned() } else { "see `tidegate share list`".to_owned() };
            Failure::refuse(what, &path, format!("there is no such share: {advice}"))
        })
    }

    /// A path names one share.
    fn require_free(&self, record: &ShareRecord) -> Result<(), Failure> {
        let taken = |other: &Entry| other.record.path == record.path && other.record.id != record.id;
        match self.entries.lock().values().find(|other| taken(other)) {
            None => Ok(()),
            Some(other) => Err(Failure::refuse(
                "name share",
                &record.path,
                format!("{} is shared under this path: give another with --as", other.record.directory),
            )),
        }
    }

    fn next_id(&self) -> Result<u32> {
        let Some(value) = self.engine.setting(NEXT)? else { return Ok(1) };
        let damaged = || Error::corrupt("read setting", "it is no number of a share").entity(NEXT);
        match value.split_first() {
            Some((&NEXT_VERSION, rest)) => Ok(u32::from_le_bytes(rest.try_into().map_err(|_| damaged())?)),
            _ => Err(damaged()),
        }
    }

    async fn directory(&self, path: &str, make: bool) -> Result<Ino, Failure> {
        let refuse = |why: &str| Failure::refuse("create share", path, why);
        match self.engine.lookup_path(path.as_bytes()) {
            Ok(inode) if inode.kind == FileKind::Directory => return Ok(inode.ino),
            Ok(inode) if inode.kind == FileKind::Symlink => {
                return Err(refuse("it is a symbolic link: name the directory itself"));
            }
            Ok(_) => return Err(refuse("it is no directory: name the one it lies in")),
            Err(error) if error.kind() == ErrorKind::NotDirectory => {
                return Err(refuse("a part of it is a file or a link: name directories only"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && make => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refuse("there is no such directory in the store: make it, or let it be made with --make"));
            }
            Err(error) => return Err(error.into()),
        }
        // As whoever runs the service, who owns the root of the store.
        let owner = Credentials::user(geteuid().as_raw(), getegid().as_raw(), &[]);
        let cx = Context::new(0, owner);
        let mut parent = ROOT_INO;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let made = self.engine.make(&cx, parent, name.as_bytes(), NewNode::Directory, MADE_MODE, 0).await;
            parent = match made {
                Ok(attr) => attr.ino,
                Err(error) if error.kind() == ErrorKind::Exists => {
                    self.engine.lookup(&cx, parent, name.as_bytes()).await?.ino
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(parent)
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
            state: self.state(record).to_owned(),
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

    fn state(&self, record: &ShareRecord) -> &'static str {
        match self.engine.lookup_path(record.directory.as_bytes()) {
            Ok(inode) if inode.ino.0 == record.inode => "there",
            _ if self.engine.inspect(Ino(record.inode)).is_ok_and(|inode| inode.nlink > 0) => "renamed",
            _ => "removed",
        }
    }

    /// Of each share, its directory and those above it.
    fn lineages(&self, entries: &BTreeMap<u32, Entry>) -> BTreeMap<u32, Vec<Ino>> {
        entries.values().map(|entry| (entry.record.id, self.around(Ino(entry.record.inode)))).collect()
    }

    /// `ino` and the directories above it.
    fn around(&self, mut ino: Ino) -> Vec<Ino> {
        let mut around = vec![ino];
        while ino != ROOT_INO
            && let Ok(inode) = self.engine.inspect(ino)
            && !around.contains(&inode.parent)
        {
            ino = inode.parent;
            around.push(ino);
        }
        around
    }
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
