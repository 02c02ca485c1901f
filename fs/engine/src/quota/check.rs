//! The use of projects counted again (I6), and whether every inode counts where it lies.

use std::collections::{BTreeMap, HashMap};

use fs_api::Ino;
use fs_meta::MetaRead;
use objstore_base::Result;

use super::records::{Key, ProjectId, ProjectRecord, stored};
use crate::records::Inode;
use crate::system;

/// One project: what the index says, and what its inodes come to.
#[derive(Debug, Default)]
struct Sum {
    record: Option<ProjectRecord>,
    counting: bool,
    stored: (i64, i64),
    counted: (i64, i64),
}

/// All projects of one state of the index.
#[derive(Debug, Default)]
pub(crate) struct Recount(BTreeMap<ProjectId, Sum>);

impl Recount {
    /// From the records of projects and of all `inodes`.
    ///
    /// # Errors
    /// `Corrupt` where a record cannot be read.
    pub(crate) fn of(read: &dyn MetaRead, inodes: &HashMap<Ino, Inode>) -> Result<Self> {
        let mut sums = Self::known(read)?;
        for inode in inodes.values().filter(|inode| inode.project != ProjectId::NONE) {
            let sum = sums.entry(inode.project).or_default();
            sum.counted.0 = sum.counted.0.saturating_add_unsigned(inode.allocated);
            sum.counted.1 += 1;
        }
        Ok(Self(sums))
    }

    fn known(read: &dyn MetaRead) -> Result<BTreeMap<ProjectId, Sum>> {
        let mut sums: BTreeMap<ProjectId, Sum> = BTreeMap::new();
        for (key, value) in stored(read)? {
            let (Key::Record(id) | Key::Bytes(id) | Key::Inodes(id) | Key::Counting(id)) = key;
            let sum = sums.entry(id).or_default();
            match key {
                Key::Record(_) => sum.record = Some(ProjectRecord::decode(&value)?),
                Key::Bytes(_) => sum.stored.0 = system::counter(read, &key.encode())?,
                Key::Inodes(_) => sum.stored.1 = system::counter(read, &key.encode())?,
                Key::Counting(_) => sum.counting = true,
            }
        }
        Ok(sums)
    }

    /// What is wrong with a name in `directory` that leads to `child`: a directory counts with the one above it unless
    /// its own quota begins there, and nothing under a quota counts for none.
    pub(crate) fn misplaced(&self, directory: &Inode, child: &Inode) -> Option<String> {
        if directory.project == child.project || self.0.get(&directory.project).is_some_and(|sum| sum.counting) {
            return None;
        }
        let begins = self.0.get(&child.project).and_then(|sum| sum.record).is_some_and(|it| it.root == child.ino);
        let wrong = if child.is_dir() { !begins } else { child.project == ProjectId::NONE };
        wrong.then(|| {
            let (outer, inner) = (directory.project, child.project);
            format!("I6: {} counts for {inner}, the directory {} that it lies in for {outer}", child.ino, directory.ino)
        })
    }

    /// Where the index and the recount differ.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (id, sum) in &self.0 {
            if sum.record.is_none() {
                found.push(format!("I6: {id} is counted for, but the index does not know it"));
            }
            for (what, counted, stored) in
                [("bytes", sum.counted.0, sum.stored.0), ("inodes", sum.counted.1, sum.stored.1)]
            {
                if counted != stored {
                    found.push(format!("I6: {what} of {id}: {counted} counted, the index says {stored}"));
                }
            }
        }
        found
    }
}
