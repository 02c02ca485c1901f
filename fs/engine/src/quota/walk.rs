//! Assigning a tree that was there before its quota.
//!
//! The tree is walked from its directory down, in batches of names, each one change. What is made in a directory that
//! is assigned inherits the project, so a walk needs to see only what was there before. A move could put something
//! behind the walk's back: such moves are noted, and the tree is walked again until none came in between. A marker in the
//! index says that a walk is under way; the next start begins it anew and passes over what is assigned already.

use std::collections::HashSet;
use std::ops::ControlFlow;

use fs_api::{FileKind, Ino};
use fs_meta::{Column, Direction};
use objstore_base::{Error, ErrorKind, Result};

use super::Growth;
use super::project::Project;
use super::records::{Key, ProjectId};
use crate::change::Change;
use crate::engine::Engine;
use crate::keys;
use crate::records::OrderEntry;

/// Names looked at in one step; their inodes are locked together.
const GROUP: usize = 32;
/// Steps that each walk takes per tick: it gives way to the foreground.
const STEPS_PER_TICK: usize = 128;

/// How far a walk has come.
#[derive(Debug)]
pub(crate) struct Walk {
    project: ProjectId,
    /// Directories that are not done, each with the cookie behind which its names follow. It holds at most a group of
    /// names for each level of the tree.
    pending: Vec<(Ino, u64)>,
    /// Disturbances when this pass began.
    noted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    Done,
}

/// A name in a directory that is assigned.
#[derive(Clone, Copy, Debug)]
struct Seen {
    cookie: u64,
    ino: Ino,
    kind: FileKind,
}

impl Walk {
    fn new(id: ProjectId, project: &Project) -> Self {
        Self { project: id, pending: vec![(project.root(), 0)], noted: project.disturbances() }
    }
}

impl Engine {
    /// Some steps of every walk that is under way. A walk that fails begins anew the next time, and keeps no other from
    /// its turn.
    ///
    /// # Errors
    /// Of the first walk that failed.
    pub(crate) fn count_projects(&self) -> Result<()> {
        let mut first = None;
        for (id, _) in self.projects.all().into_iter().filter(|(_, project)| project.is_counting()) {
            if let Err(error) = self.count_project(id, STEPS_PER_TICK) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Up to `steps` steps of the walk of `id`, if it is under way.
    pub(crate) fn count_project(&self, id: ProjectId, steps: usize) -> Result<()> {
        let Some(project) = self.projects.get(id).filter(|project| project.is_counting()) else { return Ok(()) };
        let mut walks = self.projects.walks.lock();
        let mut walk = walks.remove(&id).unwrap_or_else(|| Walk::new(id, &project));
        for _ in 0..steps {
            if self.count_step(&project, &mut walk)? == Step::Done {
                return Ok(());
            }
        }
        walks.insert(id, walk);
        Ok(())
    }

    fn count_step(&self, project: &Project, walk: &mut Walk) -> Result<Step> {
        self.env.failpoints.hit("engine.quota.count").map_err(|e| Error::io("engine.quota.count", e))?;
        if let Some(place) = walk.pending.pop() {
            self.assign_some(walk, place)?;
            return Ok(Step::More);
        }
        if walk.noted != project.disturbances() {
            *walk = Walk::new(walk.project, project);
            return Ok(Step::More);
        }
        let mut change = Change::background();
        change.batch.delete(Column::System, &Key::Counting(walk.project).encode());
        self.apply(change)?;
        project.counted();
        Ok(Step::Done)
    }

    /// Assigns a group of names of a directory; where there were any it is pending again.
    fn assign_some(&self, walk: &mut Walk, (directory, behind): (Ino, u64)) -> Result<()> {
        let mut locked = {
            let _stripe = self.stripes.read(directory);
            self.names_behind(directory, behind)?.iter().map(|seen| seen.ino).collect::<Vec<_>>()
        };
        if locked.is_empty() {
            return Ok(());
        }
        locked.push(directory);
        let _stripes = self.stripes.write_many(&locked);
        let mut change = Change::background();
        change.growth = Growth::Accepted;
        let (mut last, mut adopted, mut below) = (behind, HashSet::new(), Vec::new());
        // A name that came meanwhile leads to what is not locked: it is for the next step.
        let names = self.names_behind(directory, behind)?;
        for seen in names.into_iter().take_while(|seen| locked.contains(&seen.ino)) {
            last = seen.cookie;
            // Another name of what this change adopts: its record does not say so yet.
            if adopted.contains(&seen.ino) || !self.adopt_locked(walk.project, seen.ino, &mut change)? {
                continue;
            }
            adopted.insert(seen.ino);
            if seen.kind == FileKind::Directory {
                below.push((seen.ino, 0));
            }
        }
        if !change.batch.is_empty() {
            self.apply(change)?;
        }
        walk.pending.push((directory, last));
        walk.pending.append(&mut below);
        Ok(())
    }

    /// Lets `ino` count for `project` where it counts for none; gives whether it counts for it. Its stripe is held.
    fn adopt_locked(&self, project: ProjectId, ino: Ino, change: &mut Change) -> Result<bool> {
        self.flush_gathered_locked(ino)?;
        let mut inode = match self.inode_locked(ino) {
            Ok(inode) => inode,
            // A name that leads nowhere is damage, which a check finds.
            Err(error) if error.kind() == ErrorKind::Stale => return Ok(false),
            Err(error) => return Err(error),
        };
        if inode.project == ProjectId::NONE {
            inode.project = project;
            change.adopt(&inode);
        }
        Ok(inode.project == project)
    }

    /// The names of `directory` behind a cookie, a group at most. Its stripe is held.
    fn names_behind(&self, directory: Ino, behind: u64) -> Result<Vec<Seen>> {
        let start = keys::dentry_order(directory, behind.saturating_add(1));
        let end = keys::dentry_order(directory, u64::MAX);
        let (mut names, mut bad) = (Vec::new(), None);
        self.meta.scan(Column::DentryOrder, &start..&end, Direction::Forward, &mut |key, value| {
            let seen = keys::trailing_number(key).and_then(|cookie| {
                OrderEntry::decode(value).map(|entry| Seen { cookie, ino: entry.ino, kind: entry.kind })
            });
            match seen {
                Ok(seen) => names.push(seen),
                Err(error) => bad = Some(error.entity(directory)),
            }
            let done = bad.is_some() || names.len() == GROUP;
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        bad.map_or(Ok(names), Err)
    }
}
