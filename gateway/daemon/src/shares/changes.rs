//! Changes of shares: making, setting and deleting one, durable before a client sees it.

use fs_api::{Ino, ROOT_INO};
use fs_engine::{QuotaLimits, SettingChange};
use objstore_base::{Error, Result};

use super::directories;
use super::quota::{self, QuotaReport};
use super::record::{ShareRecord, ShareTerms, plain_path};
use super::reports::ShareReport;
use super::table::{Entry, ShareTable, entries};
use crate::exit::Failure;

/// The setting with the number that the next share gets.
const NEXT: &str = "share-next";
const NEXT_VERSION: u8 = 1;
/// The table is walked at every call.
const SHARES_MAX: usize = 1024;

impl ShareTable {
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
        let inode = directories::find_or_make(&self.engine, &directory, make).await?;
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
}
