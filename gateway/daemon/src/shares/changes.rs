//! Changes of shares: making, setting and deleting one, durable before a client sees it.
//!
//! A change goes on to its end whoever waits for it, and the table follows what the store has then, also where the change
//! failed: the store may have made it before something else failed, and later changes build on the table.

use std::sync::Arc;

use fs_api::{Ino, ROOT_INO};
use fs_engine::{QuotaLimits, SettingChange};
use objstore_base::{Error, Result};
use tokio::sync::oneshot;

use super::directories;
use super::quota::{self, QuotaReport};
use super::record::{ShareRecord, ShareTerms, plain_path};
use super::reports::ShareReport;
use super::table::{Entry, ShareTable};
use crate::exit::Failure;

/// The setting with the number that the next share gets.
const NEXT: &str = "share-next";
const NEXT_VERSION: u8 = 1;
/// The table is walked at every call.
const SHARES_MAX: usize = 1024;

impl ShareTable {
    pub(crate) async fn create(
        self: &Arc<Self>,
        directory: String,
        make: bool,
        terms: ShareTerms,
    ) -> Result<ShareReport, Failure> {
        let table = Arc::clone(self);
        self.carry_out(async move { table.create_in_turn(&directory, make, &terms).await }).await
    }

    pub(crate) async fn set(self: &Arc<Self>, share: String, terms: ShareTerms) -> Result<ShareReport, Failure> {
        let table = Arc::clone(self);
        self.carry_out(async move { table.set_in_turn(&share, &terms).await }).await
    }

    /// Clients that have it mounted get errors from then on; the directory stays, without the limits of its quota.
    pub(crate) async fn delete(self: &Arc<Self>, share: String) -> Result<(), Failure> {
        let table = Arc::clone(self);
        self.carry_out(async move { table.delete_in_turn(&share).await }).await
    }

    /// Carries `change` out when its turn comes.
    ///
    /// # Cancel
    /// The change goes on: half of it must not be left behind by a client who leaves.
    async fn carry_out<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let table = Arc::clone(self);
        let (outcome, told) = oneshot::channel();
        let work = async move {
            let _one = table.changing.lock().await;
            if outcome.send(change.await).is_err() {
                tracing::debug!("whoever asked for a change of shares is gone");
            }
        };
        drop(self.env.tasks.spawn("change of shares", Box::pin(work)));
        told.await.unwrap_or_else(|_| Err(Failure::refuse("change shares", "the service", "it is ending")))
    }

    async fn create_in_turn(&self, directory: &str, make: bool, terms: &ShareTerms) -> Result<ShareReport, Failure> {
        let refuse = |why: String| Failure::refuse("create share", directory, why);
        let directory = plain_path(directory).map_err(refuse)?;
        if self.entries.lock().len() >= SHARES_MAX {
            return Err(refuse(format!("there are {SHARES_MAX} shares, and no more are served: delete one")));
        }
        let next = self.next_id()?;
        // Everything that can be refused is, before a directory is made.
        let draft = ShareRecord::new(next, &directory, ROOT_INO).under(terms).map_err(refuse)?;
        self.require_free(&draft)?;
        let inode = directories::find_or_make(&self.engine, &directory, make, terms).await?;
        let record = ShareRecord { inode: inode.0, ..draft };
        let after = next.checked_add(1).ok_or_else(|| refuse("all numbers of shares were given out".to_owned()))?;
        let counted = SettingChange::put(NEXT, [&[NEXT_VERSION][..], &after.to_le_bytes()].concat());
        let limits = quota::wanted(&self.engine, inode, terms).map_err(refuse)?;
        self.store(record, vec![counted], limits).await
    }

    async fn set_in_turn(&self, share: &str, terms: &ShareTerms) -> Result<ShareReport, Failure> {
        let old = self.find("change share", share)?;
        let record = old.under(terms).map_err(|why| Failure::refuse("change share", share, why))?;
        self.require_free(&record)?;
        let limits = quota::wanted(&self.engine, Ino(record.inode), terms);
        let limits = limits.map_err(|why| Failure::refuse("change share", share, why))?;
        self.store(record, Vec::new(), limits).await
    }

    async fn delete_in_turn(&self, share: &str) -> Result<(), Failure> {
        let record = self.find("delete share", share)?;
        let changes = [SettingChange::delete(record.setting())];
        let lifted = self.own_quota(&record).map(|directory| (directory, QuotaLimits::default()));
        self.change(&changes, lifted).await?;
        tracing::info!(share = record.path, id = record.id, "share deleted");
        Ok(())
    }

    async fn store(
        &self,
        record: ShareRecord,
        mut changes: Vec<SettingChange>,
        limits: Option<QuotaLimits>,
    ) -> Result<ShareReport, Failure> {
        changes.push(SettingChange::put(record.setting(), record.encode()?));
        let changed = self.change(&changes, limits.map(|limits| (Ino(record.inode), limits))).await;
        changed.map_err(|error| match limits {
            Some(_) => quota::refused(&record.path, error),
            None => error.into(),
        })?;
        tracing::info!(share = record.path, id = record.id, clients = ?record.clients, ?limits, "share stored");
        let report = self.reports().into_iter().find(|report| report.id == record.id);
        report.ok_or_else(|| Failure::refuse("store share", &record.path, "it is gone"))
    }

    /// Makes `changes`, with the limits of a directory where there are any. Durable first, then shown: no client uses a
    /// share that a crash would take back. Only what the store made and could not make durable is shown as well: no
    /// other change comes after it.
    async fn change(&self, changes: &[SettingChange], limits: Option<(Ino, QuotaLimits)>) -> Result<()> {
        let changed = match limits {
            Some((directory, limits)) => self.engine.set_quota(directory, limits, changes).await.map(drop),
            None => self.engine.change_settings(changes).await,
        };
        let followed = self.follow_store().await;
        changed.and(followed)
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use cache_journal::JournalConfig;
    use cache_writeback::WriteBackConfig;
    use fs_engine::{Engine, EngineConfig};
    use fs_meta::MemoryStore;
    use futures::future::poll_immediate;
    use objstore_base::{BoxFuture, MemoryBlobStore};
    use objstore_env::sim::SimWorld;
    use objstore_env::{FailAction, Failpoints};

    use super::super::record::PREFIX;
    use super::*;

    type Change = fn(Arc<ShareTable>) -> BoxFuture<'static, Result<(), Failure>>;

    /// A store with the share `/a`, whose journal can be made to fail.
    struct Store {
        world: SimWorld,
        engine: Arc<Engine>,
        table: Arc<ShareTable>,
        broken: Arc<AtomicBool>,
    }

    impl Store {
        fn new() -> Self {
            let broken = Arc::<AtomicBool>::default();
            let flag = Arc::clone(&broken);
            let mut world = SimWorld::new(1);
            world.set_failpoints(Failpoints::with(move |name, _| match name {
                "journal.sync.before" | "journal.repair" if flag.load(Ordering::SeqCst) => FailAction::Errno(5),
                _ => FailAction::Continue,
            }));
            let env = world.env();
            env.disk.create_dir_all(Path::new("/journal")).expect("made");
            let config = EngineConfig::new(JournalConfig::new("/journal", [7; 16]), WriteBackConfig::new(1 << 30));
            let (meta, pool) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobStore::new()));
            let engine = Engine::open(env.clone(), meta, pool, config).expect("opened");
            let table = Arc::new(world.run(ShareTable::open(&env, &engine, false)).expect("opened"));
            world.run(table.create("/a".to_owned(), true, ShareTerms::default())).expect("created");
            Self { world, engine, table, broken }
        }

        /// The paths of the shares that the table has, which are those of the store and of the door.
        fn paths(&self) -> Vec<String> {
            let paths = self.table.paths();
            let records = self.engine.settings(PREFIX).expect("read");
            let records = records.iter().map(|(name, value)| ShareRecord::decode(name, value).expect("a record"));
            assert_eq!(paths, records.map(|record| record.path).collect::<Vec<_>>());
            let shown = self.table.live().snapshot();
            assert!(paths.iter().map(|path| path.as_bytes()).eq(shown.iter().map(|share| &share.path[..])));
            paths
        }
    }

    fn under(path: &str) -> ShareTerms {
        ShareTerms { path: Some(path.to_owned()), ..ShareTerms::default() }
    }

    /// Each with the paths that are shared after it.
    fn changes() -> [(Change, &'static [&'static str]); 4] {
        [
            (
                |table| Box::pin(async move { table.create("/a".into(), false, under("/b")).await.map(drop) }),
                &["/a", "/b"],
            ),
            (|table| Box::pin(async move { table.set("/a".into(), under("/c")).await.map(drop) }), &["/c"]),
            (|table| Box::pin(async move { table.set("/a".into(), limited("/d")).await.map(drop) }), &["/d"]),
            (|table| Box::pin(async move { table.delete("/a".into()).await }), &[]),
        ]
    }

    fn limited(path: &str) -> ShareTerms {
        ShareTerms { quota: Some(quota::Cap::At(1 << 20)), ..under(path) }
    }

    #[test]
    fn a_change_that_fails_after_it_was_made_is_in_the_table_as_in_the_store() {
        for (change, after) in changes() {
            let store = Store::new();
            store.broken.store(true, Ordering::SeqCst);
            let failed = store.world.run(change(Arc::clone(&store.table))).expect_err("it cannot become durable");
            assert!(failed.message.contains("commit journal"), "{failed:?}");
            assert_eq!(store.paths(), after);
        }
    }

    #[test]
    fn a_share_whose_making_failed_late_is_not_made_twice() {
        let store = Store::new();
        store.broken.store(true, Ordering::SeqCst);
        let create = || store.world.run(store.table.create("/a".into(), false, under("/b"))).expect_err("refused");
        assert!(create().message.contains("commit journal"));
        assert!(create().message.contains("is shared under this path"));
    }

    #[test]
    fn what_is_refused_leaves_no_directory() {
        let store = Store::new();
        store.world.run(store.table.set("/a".into(), limited("/a"))).expect("limited");
        let made = store.world.run(store.table.create("/a/b/c".into(), true, limited("/c")));
        assert!(made.expect_err("refused").message.contains("quotas do not lie in each other"));
        assert!(store.engine.lookup_path(b"/a/b").is_err());
        store.world.run(store.table.create("/a/b/c".into(), true, under("/c"))).expect("without limits of its own");
    }

    #[test]
    fn a_change_goes_on_when_whoever_asked_for_it_leaves() {
        for (change, after) in changes() {
            let store = Store::new();
            let mut asked = change(Arc::clone(&store.table));
            assert!(store.world.run(poll_immediate(&mut asked)).is_none());
            drop(asked);
            store.world.pass(Duration::from_secs(1));
            assert_eq!(store.paths(), after);
        }
    }
}
