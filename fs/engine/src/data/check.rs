//! `check`: everything that the index claims, counted again (I1, I6).
//!
//! One state of the index is taken under the gate and walked without stopping anyone. Memory grows with the number of
//! frames (about 60 bytes each); nothing is repaired here, findings only say what is wrong and where.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use cache_journal::{FrameId, SegmentId};
use fs_api::{FileKind, Ino};
use fs_meta::{Column, Direction, MetaRead};
use objstore_base::{ErrorKind, Result};

use super::forward::forward_of;
use super::records::{
    Extent, Forward, FrameUse, Placed, SegmentKey, decode_counter, decode_frame_key, decode_pair, frame_key,
};
use crate::engine::Engine;
use crate::keys;
use crate::quota::Recount;
use crate::records::{Dentry, Inode, OrderEntry};
use crate::system;

/// More are counted but not described.
const FINDINGS_MAX: usize = 1000;

/// What a check looked at and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub inodes: u64,
    pub names: u64,
    pub extents: u64,
    pub frames: u64,
    pub bytes: u64,
    /// One line each, at most a thousand.
    pub findings: Vec<String>,
    /// All of them.
    pub findings_total: u64,
}

impl CheckReport {
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0
    }

    fn find(&mut self, what: impl FnOnce() -> String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what());
        }
    }
}

#[derive(Default)]
struct Counted {
    report: CheckReport,
    inodes: HashMap<Ino, Inode>,
    links: HashMap<Ino, u32>,
    subdirs: HashMap<Ino, u32>,
    entries: HashMap<Ino, u64>,
    allocated: HashMap<u64, u64>,
    uses: HashMap<FrameId, Usage>,
    trims: HashSet<u64>,
    projects: Recount,
}

/// How extents use a frame.
#[derive(Clone, Copy, Default)]
struct Usage {
    refs: i64,
    bytes: i64,
    /// The furthest byte that any extent names.
    end: u32,
    ino: u64,
}

impl Engine {
    /// Counts everything again, gathered writes settled first.
    ///
    /// # Errors
    /// What stops the check; what is merely wrong is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        self.flush_gathered_all()?;
        let snapshot = {
            let _gate = self.gate.write();
            self.meta.snapshot()?
        };
        let mut counted = Counted::default();
        counted.count_inodes(&*snapshot)?;
        counted.count_names(&*snapshot)?;
        counted.count_extents(&*snapshot)?;
        counted.compare_inodes(&*snapshot)?;
        counted.compare_totals(&*snapshot)?;
        self.compare_frames(&*snapshot, &mut counted).await?;
        Ok(counted.report)
    }

    /// Every frame that an extent names is where the index says and long enough (I1); use and live bytes are right.
    async fn compare_frames(&self, read: &dyn MetaRead, counted: &mut Counted) -> Result<()> {
        let mut live: BTreeMap<SegmentId, i64> = BTreeMap::new();
        let mut frames: Vec<_> = std::mem::take(&mut counted.uses).into_iter().collect();
        frames.sort_unstable_by_key(|(frame, _)| *frame);
        counted.report.frames = frames.len() as u64;
        for (frame, usage) in &frames {
            let home = match forward_of(read, *frame)? {
                Some(Forward::MovedTo(home)) => home,
                _ => *frame,
            };
            *live.entry(home.segment).or_default() += usage.bytes;
            let len = match self.frame_len(home).await {
                Ok(Some(len)) if len >= usage.end => len,
                Ok(len) => {
                    let (ino, end) = (usage.ino, usage.end);
                    counted.report.find(|| format!("I1: {home} has {len:?} bytes, inode {ino} names {end}"));
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    counted.report.find(|| format!("I1: {home} of inode {} is not there: {error}", usage.ino));
                    continue;
                }
            };
            let key = frame_key(*frame);
            let stored = FrameUse::stored(&key, read.get(Column::FrameRef, &key)?.as_deref())?;
            let recount = FrameUse { refs: usage.refs - 1, bytes: usage.bytes - i64::from(len) };
            if stored != recount {
                counted.report.find(|| format!("I6: {frame} is used {recount:?}, the index says {stored:?}"));
            }
        }
        let named: HashSet<FrameId> = frames.into_iter().map(|(frame, _)| frame).collect();
        counted.compare_dead(read, &named)?;
        counted.compare_live(read, live)
    }

    /// Length of the frame at its home.
    async fn frame_len(&self, home: FrameId) -> Result<Option<u32>> {
        if let Some(len) = self.journal.frame_len(home)? {
            return Ok(Some(len));
        }
        let table = self.data.blobs.table(home.segment).await?;
        Ok(table.frame(home.frame).map(|entry| entry.raw_len()))
    }
}

impl Counted {
    fn count_inodes(&mut self, read: &dyn MetaRead) -> Result<()> {
        scan(read, Column::Inode, &mut |key, value| {
            let ino = Ino(keys::leading_number(key)?);
            let inode = Inode::decode(ino, value)?;
            self.inodes.insert(ino, inode);
            Ok(())
        })?;
        self.report.inodes = self.inodes.len() as u64;
        self.projects = Recount::of(read, &self.inodes)?;
        scan(read, Column::System, &mut |key, _| {
            if let Some(ino) = key.strip_prefix(b"trim/").and_then(|ino| ino.try_into().ok()) {
                self.trims.insert(u64::from_be_bytes(ino));
            }
            Ok(())
        })
    }

    fn count_names(&mut self, read: &dyn MetaRead) -> Result<()> {
        let mut names: HashMap<(Ino, u64), (Ino, FileKind)> = HashMap::new();
        scan(read, Column::Dentry, &mut |key, value| {
            let (parent, dentry) = (Ino(keys::leading_number(key)?), Dentry::decode(value)?);
            names.insert((parent, dentry.cookie), (dentry.ino, dentry.kind));
            *self.links.entry(dentry.ino).or_default() += 1;
            *self.entries.entry(parent).or_default() += 1;
            if dentry.kind == FileKind::Directory {
                *self.subdirs.entry(parent).or_default() += 1;
            }
            self.report.names += 1;
            let inode = self.inodes.get(&dentry.ino).filter(|inode| inode.kind == dentry.kind);
            if inode.is_none() {
                self.report.find(|| format!("a name in {parent} leads to {}, which is no such file", dentry.ino));
            }
            let directory = self.inodes.get(&parent).zip(inode);
            if let Some(wrong) = directory.and_then(|(directory, inode)| self.projects.misplaced(directory, inode)) {
                self.report.find(|| wrong);
            }
            Ok(())
        })?;
        scan(read, Column::DentryOrder, &mut |key, value| {
            let (parent, cookie) = (Ino(keys::leading_number(key)?), keys::trailing_number(key)?);
            let order = OrderEntry::decode(value)?;
            if names.remove(&(parent, cookie)) != Some((order.ino, order.kind)) {
                self.report.find(|| format!("cookie {cookie} of {parent} stands for no name"));
            }
            Ok(())
        })?;
        for (parent, cookie) in names.into_keys() {
            self.report.find(|| format!("a name in {parent} has no entry for its cookie {cookie}"));
        }
        Ok(())
    }

    fn count_extents(&mut self, read: &dyn MetaRead) -> Result<()> {
        let mut last = (0, 0);
        scan(read, Column::Extent, &mut |key, value| {
            let (ino, _) = decode_pair(key).unwrap_or_default();
            let placed = Placed::decode(key, value)?;
            if ino == last.0 && placed.offset < last.1 {
                self.report.find(|| format!("extents of inode {ino} overlap at {}", placed.offset));
            }
            last = (ino, placed.end());
            self.report.extents += 1;
            *self.allocated.entry(ino).or_default() += placed.extent.len();
            if let Extent::Data { frame, skip, len } = placed.extent {
                let usage = self.uses.entry(frame).or_default();
                usage.refs += 1;
                usage.bytes += i64::from(len);
                usage.end = usage.end.max(skip + len);
                usage.ino = ino;
            }
            Ok(())
        })?;
        self.report.bytes = self.allocated.values().sum();
        Ok(())
    }

    fn compare_inodes(&mut self, read: &dyn MetaRead) -> Result<()> {
        for (ino, inode) in &self.inodes {
            let allocated = self.allocated.remove(&ino.0).unwrap_or(0);
            if inode.allocated != allocated {
                let stored = inode.allocated;
                self.report.find(|| format!("I6: {ino} has {allocated} bytes of extents, its record says {stored}"));
            }
            let names = self.links.get(ino).copied().unwrap_or(0);
            let root = u32::from(*ino == fs_api::ROOT_INO);
            let links = match inode.kind {
                FileKind::Directory if names + root == 0 => 0,
                FileKind::Directory => 2 + self.subdirs.get(ino).copied().unwrap_or(0),
                _ => names,
            };
            if inode.nlink != links {
                self.report.find(|| format!("I6: {ino} has {links} links, its record says {}", inode.nlink));
            }
            let entries = self.entries.get(ino).copied().unwrap_or(0);
            if inode.entries != entries {
                self.report.find(|| format!("I6: {ino} has {entries} names in it, its record says {}", inode.entries));
            }
            if names + root == 0 && read.get(Column::Orphan, &keys::orphan(*ino))?.is_none() {
                self.report.find(|| format!("{ino} has no name and is not listed as an orphan"));
            }
        }
        for ino in self.allocated.keys().filter(|ino| !self.trims.contains(ino)) {
            self.report.find(|| format!("inode {ino} has extents but no record"));
        }
        Ok(())
    }

    fn compare_totals(&mut self, read: &dyn MetaRead) -> Result<()> {
        let totals = [(system::INODES, self.report.inodes), (system::BYTES, self.report.bytes)];
        for (key, counted) in totals {
            let stored = system::counter(read, key)?;
            if u64::try_from(stored) != Ok(counted) {
                let name = String::from_utf8_lossy(key);
                self.report.find(|| format!("I6: {name} in the store: {counted} counted, the index says {stored}"));
            }
        }
        self.projects.differences().into_iter().for_each(|wrong| self.report.find(|| wrong));
        Ok(())
    }

    /// Frames that nothing names have to be known as dead.
    fn compare_dead(&mut self, read: &dyn MetaRead, named: &HashSet<FrameId>) -> Result<()> {
        scan(read, Column::FrameRef, &mut |key, value| {
            let (frame, stored) = (decode_frame_key(key)?, FrameUse::stored(key, Some(value))?);
            if !named.contains(&frame) && stored.refs != -1 {
                self.report.find(|| format!("I6: nothing names {frame}, the index says {stored:?}"));
            }
            Ok(())
        })
    }

    fn compare_live(&mut self, read: &dyn MetaRead, mut live: BTreeMap<SegmentId, i64>) -> Result<()> {
        scan(read, Column::Segment, &mut |key, value| {
            if let SegmentKey::Live(segment) = SegmentKey::decode(key)? {
                let (stored, counted) = (decode_counter(key, value)?, live.remove(&segment).unwrap_or(0));
                if stored != counted {
                    self.report.find(|| format!("I6: {segment} has {counted} live bytes, the index says {stored}"));
                }
            }
            Ok(())
        })?;
        for (segment, counted) in live.into_iter().filter(|(_, counted)| *counted != 0) {
            self.report.find(|| format!("I6: {segment} has {counted} live bytes, the index has no entry"));
        }
        Ok(())
    }
}

/// All inodes that `read` has.
#[cfg(test)]
pub(super) fn stored_inodes(read: &dyn MetaRead) -> Result<HashMap<Ino, Inode>> {
    let mut counted = Counted::default();
    counted.count_inodes(read)?;
    Ok(counted.inodes)
}

/// Called per entry with key and value.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Visits a whole column; the first error ends it.
pub(crate) fn scan(read: &dyn MetaRead, column: Column, visit: Visit<'_>) -> Result<()> {
    let mut bad = None;
    // No key is longer than a number and a name.
    let end = [0xff; 300];
    read.scan(column, &[][..]..&end[..], Direction::Forward, &mut |key, value| match visit(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            bad = Some(error);
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(()), Err)
}
