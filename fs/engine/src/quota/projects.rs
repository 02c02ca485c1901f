//! [`Projects`]: all projects of the store, and what a change takes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fs_meta::{Column, MetaRead};
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};

use super::project::Project;
use super::records::{Key, ProjectId, ProjectRecord, stored};
use super::walk::Walk;
use crate::records::Inode;
use crate::system;

/// By how much a change moves the use of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) project: ProjectId,
    pub(crate) bytes: i64,
    pub(crate) inodes: i64,
}

/// Whether what a change adds may be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It has to fit.
    #[default]
    Asked,
    /// It was accepted before, or is there already and only not counted yet.
    Accepted,
}

#[derive(Default)]
pub(crate) struct Projects {
    all: RwLock<BTreeMap<ProjectId, Arc<Project>>>,
    /// One change of quotas at a time.
    pub(super) changes: Mutex<()>,
    /// How far the walks under way have come.
    pub(super) walks: Mutex<BTreeMap<ProjectId, Walk>>,
}

/// What a change has taken; given back unless it is kept.
#[must_use = "what was taken is given back when this is dropped"]
pub(crate) struct Taken(Vec<(Arc<Project>, Charge)>);

impl Taken {
    /// The change is in the log.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.iter().for_each(|(project, charge)| project.add(-charge.bytes, -charge.inodes));
    }
}

impl Projects {
    /// All projects that the index has.
    ///
    /// # Errors
    /// `Corrupt` where a record cannot be read.
    pub(crate) fn load(read: &dyn MetaRead) -> Result<Self> {
        let projects = Self::default();
        for (key, value) in stored(read)? {
            let Key::Record(project) = key else { continue };
            let record = ProjectRecord::decode(&value).map_err(|error| error.entity(project))?;
            let bytes = system::counter(read, &Key::Bytes(project).encode())?;
            let inodes = system::counter(read, &Key::Inodes(project).encode())?;
            let counting = read.get(Column::System, &Key::Counting(project).encode())?.is_some();
            projects.insert(project, Project::new(record, bytes, inodes, counting));
        }
        Ok(projects)
    }

    pub(super) fn insert(&self, id: ProjectId, project: Project) {
        self.all.write().insert(id, Arc::new(project));
    }

    pub(super) fn remove(&self, id: ProjectId) {
        self.all.write().remove(&id);
    }

    pub(super) fn get(&self, id: ProjectId) -> Option<Arc<Project>> {
        if id == ProjectId::NONE { None } else { self.all.read().get(&id).cloned() }
    }

    pub(super) fn all(&self) -> Vec<(ProjectId, Arc<Project>)> {
        self.all.read().iter().map(|(id, project)| (*id, Arc::clone(project))).collect()
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<ProjectId> {
        self.all.read().keys().copied().collect()
    }

    /// Takes what `charges` add. A project that is not known is damage, which a check finds; it stops nobody.
    ///
    /// # Errors
    /// `QuotaExceeded` where it does not fit; then nothing is taken.
    pub(crate) fn charge(&self, charges: Vec<Charge>, growth: Growth) -> Result<Taken> {
        let mut taken = Taken(Vec::new());
        for charge in charges {
            let Some(project) = self.get(charge.project) else { continue };
            match growth {
                Growth::Accepted => project.add(charge.bytes, charge.inodes),
                Growth::Asked if project.take(charge.bytes, charge.inodes) => {}
                Growth::Asked => return Err(exceeded(&project)),
            }
            taken.0.push((project, charge));
        }
        Ok(taken)
    }

    /// Whether a write into `inode` has to know what it will take before it is gathered.
    pub(crate) fn is_limited(&self, inode: &Inode) -> bool {
        self.get(inode.project).is_some_and(|project| project.limits().bytes.is_some())
    }

    /// Takes `bytes` for writes into `inode` that are not in the log yet.
    ///
    /// # Errors
    /// `QuotaExceeded` where they do not fit.
    pub(crate) fn reserve(&self, inode: &Inode, bytes: u64) -> Result<()> {
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        let charge = Charge { project: inode.project, bytes: more, inodes: 0 };
        self.charge(vec![charge], Growth::Asked).map(Taken::keep)
    }

    /// Gives back what was reserved for writes into `inode` that will not be made.
    pub(crate) fn release(&self, inode: &Inode, bytes: u64) {
        if let Some(project) = self.get(inode.project).filter(|_| bytes > 0) {
            project.add(-i64::try_from(bytes).unwrap_or(i64::MAX), 0);
        }
    }

    /// Something that a walk of the tree of `directory` may have missed is about to get a name there.
    pub(crate) fn note_move(&self, moved: &Inode, directory: &Inode) {
        if moved.project == directory.project && !moved.is_dir() {
            return;
        }
        if let Some(project) = self.get(directory.project).filter(|project| project.is_counting()) {
            project.disturb();
        }
    }
}

fn exceeded(project: &Project) -> Error {
    let (limits, bytes, inodes) = (project.limits(), project.bytes(), project.inodes());
    let full = match limits {
        super::QuotaLimits { inodes: Some(max), .. } if inodes >= max => format!("{inodes} of {max} files"),
        super::QuotaLimits { bytes: Some(max), .. } => format!("{bytes} of {max} bytes"),
        super::QuotaLimits { .. } => "all".to_owned(),
    };
    let why =
        format!("{full} of its quota are taken: remove files there, or raise it with `tidegate share set --quota`");
    Error::new(ErrorKind::QuotaExceeded, "use space").entity(project.root()).context(why)
}
