//! Setting and telling the quota of a directory.

use std::sync::Arc;

use cache_journal::Lsn;
use fs_api::{Ino, StatFs};
use fs_meta::Column;
use objstore_base::{Error, ErrorKind, Result};

use super::project::Project;
use super::records::{Key, ProjectId, ProjectRecord, next_project, put_next_project};
use crate::change::Change;
use crate::engine::Engine;
use crate::records::Inode;
use crate::settings::SettingChange;
use crate::system;

const OP: &str = "set quota";
/// Steps of the walk that are taken at once: a small tree is counted when its quota is told to be set.
const STEPS_AT_ONCE: usize = 32;

/// What may lie under a directory; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Bytes of extents: data and reserved ranges, holes not counted. Names, attributes and the targets of symbolic
    /// links are not counted either.
    pub bytes: Option<u64>,
    /// Inodes of any kind, the directory itself included.
    pub inodes: Option<u64>,
}

impl QuotaLimits {
    const fn is_none(self) -> bool {
        self.bytes.is_none() && self.inodes.is_none()
    }
}

/// A quota and how much of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The directory that it was set on.
    pub directory: Ino,
    pub limits: QuotaLimits,
    /// Bytes taken, those of writes that wait in memory included.
    pub bytes: u64,
    pub inodes: u64,
    /// What lay there before the quota is being counted: more may be taken than is told, and moves within the tree may
    /// be refused as if they left it.
    pub counting: bool,
}

impl Engine {
    /// The quota that `ino` counts for; `None` where it never had one. One that was lifted has no limits.
    ///
    /// # Errors
    /// `Stale` where there is no such inode.
    pub fn quota(&self, ino: Ino) -> Result<Option<Quota>> {
        Ok(self.projects.get(self.inode(ino)?.project).map(|project| told(&project)))
    }

    /// Limits what lies under `directory` and makes `settings` in the same change. Without limits it lifts them.
    ///
    /// Where the directory is not empty, what lies there is counted in the background ([`Quota::counting`]), over
    /// restarts if need be, and also where counting fails at first: the limit holds by then.
    ///
    /// # Durability
    /// D2 when it returns.
    ///
    /// # Errors
    /// `InvalidArgument` where another quota lies above or below it, or a setting does not fit; `NotDirectory`; `Stale`
    /// or `NotFound` where it is removed.
    pub async fn set_quota(
        &self,
        directory: Ino,
        limits: QuotaLimits,
        settings: &[SettingChange],
    ) -> Result<Option<Quota>> {
        self.set_quota_now(directory, limits, settings)?;
        if let Err(error) = self.count_at_once(directory) {
            tracing::warn!(%directory, %error, "what lies under a quota cannot be counted yet; it will be tried again");
        }
        self.journal.commit_async(self.journal.last()).await?;
        self.quota(directory)
    }

    fn count_at_once(&self, directory: Ino) -> Result<()> {
        // What was gathered before the limit holds counts as it is, when it is stored.
        self.flush_gathered_all()?;
        self.count_project(self.inode(directory)?.project, STEPS_AT_ONCE)
    }

    fn set_quota_now(&self, directory: Ino, limits: QuotaLimits, settings: &[SettingChange]) -> Result<Lsn> {
        let mut change = Change::background();
        let _settings = self.setting_changes.lock();
        Self::put_settings(settings, &mut change)?;
        let _one = self.projects.changes.lock();
        // With it held no directory moves, so what is above and below stays so.
        let _renames = self.renames.lock();
        let _stripe = self.stripes.write_one(directory);
        let inode = self.directory_locked(OP, directory)?;
        if inode.nlink == 0 {
            return Err(Error::new(ErrorKind::NotFound, OP).entity(directory).context("the directory was removed"));
        }
        match self.projects.get(inode.project) {
            Some(project) if project.root() == directory => {
                put_record(inode.project, ProjectRecord { root: directory, limits }, &mut change);
                let lsn = self.apply(change)?;
                project.limit(limits);
                Ok(lsn)
            }
            Some(project) => Err(nested(directory, project.root())),
            None if limits.is_none() => self.apply(change),
            None => self.begin_project(inode, limits, change),
        }
    }

    /// The first quota of `directory`, whose stripe is held.
    fn begin_project(&self, mut directory: Inode, limits: QuotaLimits, mut change: Change) -> Result<Lsn> {
        let gone = self.refuse_nested(directory.ino)?;
        let id = next_project(&*self.meta)?;
        let after = id.0.checked_add(1).map(ProjectId);
        let after = after.ok_or_else(|| Error::new(ErrorKind::NoSpace, OP).context("all numbers were given out"))?;
        let record = ProjectRecord { root: directory.ino, limits };
        system::put_format_with_quotas(&mut change.batch);
        put_next_project(&mut change.batch, after);
        put_record(id, record, &mut change);
        change.batch.put(Column::System, &Key::Counting(id).encode(), &[]);
        for id in &gone {
            forget(*id, &mut change);
        }
        // Known before anything carries its number; its first inode comes with the change.
        self.projects.insert(id, Project::new(record, 0, 0, true));
        directory.project = id;
        change.growth = super::Growth::Accepted;
        change.adopt(&directory);
        let applied = self.apply(change).inspect_err(|_| self.projects.remove(id));
        gone.into_iter().filter(|_| applied.is_ok()).for_each(|id| self.projects.remove(id));
        applied
    }

    /// Quotas do not lie in each other. Gives the projects that no inode carries any more. `renames` is held.
    fn refuse_nested(&self, directory: Ino) -> Result<Vec<ProjectId>> {
        let mut gone = Vec::new();
        for (id, project) in self.projects.all() {
            if self.is_unused(id, &project)? {
                gone.push(id);
                continue;
            }
            let root = project.root();
            let removed = |error: &Error| error.kind() == ErrorKind::Stale;
            match self.inode_unlocked(root) {
                // Removed and still open: it is nowhere.
                Ok(inode) if inode.nlink == 0 => {}
                Ok(_) if self.is_above(root, directory)? || self.is_above(directory, root)? => {
                    return Err(nested(directory, root));
                }
                Err(error) if !removed(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(gone)
    }

    /// Whether no inode carries the project, neither in memory nor in the index: the record that freed the last one
    /// comes before any that is made now.
    fn is_unused(&self, id: ProjectId, project: &Project) -> Result<bool> {
        Ok(project.inodes() == 0 && system::counter(&*self.meta, &Key::Inodes(id).encode())? == 0)
    }

    /// `space` of the store as one sees it who is bound by the quota of `ino`.
    pub(crate) fn within_quota_of(&self, ino: Ino, mut space: StatFs) -> Result<StatFs> {
        let Some(Quota { limits, bytes, inodes, .. }) = self.quota(ino)? else { return Ok(space) };
        if let Some(max) = limits.bytes {
            space.bytes_total = max.min(bytes.saturating_add(space.bytes_free));
            space.bytes_free = space.bytes_free.min(max.saturating_sub(bytes));
        }
        if let Some(max) = limits.inodes {
            space.inodes_free = space.inodes_free.min(max.saturating_sub(inodes));
            space.inodes_used = inodes;
        }
        Ok(space)
    }
}

fn told(project: &Arc<Project>) -> Quota {
    Quota {
        directory: project.root(),
        limits: project.limits(),
        bytes: project.bytes(),
        inodes: project.inodes(),
        counting: project.is_counting(),
    }
}

fn put_record(id: ProjectId, record: ProjectRecord, change: &mut Change) {
    change.batch.put(Column::System, &Key::Record(id).encode(), &record.encode());
}

fn forget(id: ProjectId, change: &mut Change) {
    for key in [Key::Record(id), Key::Bytes(id), Key::Inodes(id), Key::Counting(id)] {
        change.batch.delete(Column::System, &key.encode());
    }
}

fn nested(directory: Ino, other: Ino) -> Error {
    Error::new(ErrorKind::InvalidArgument, OP).entity(directory).context(format!(
        "the quota of directory {other} lies above or below it, also where that was lifted: quotas do not lie in each \
         other"
    ))
}
