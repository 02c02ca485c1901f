//! The folder: names, spare files, open handles.
//!
//! A file bears a segment's name only after its header is durable, and a retired file becomes a spare durably before
//! it is written again: so names always tell the truth after a crash.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use objstore_base::{Error, Result, ResultExt};
use objstore_env::{Disk, DiskFile, OpenMode};
use parking_lot::Mutex;

use crate::SegmentId;
use crate::header::{Header, PAGE_BYTES};
use crate::recent::Recent;

const SUFFIX: &str = ".tgj";
pub(crate) const ZEROS: &[u8] = &[0; 1 << 20];

/// What a file of the folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileRole {
    Segment(SegmentId),
    Spare(u64),
    /// A copy that was being made when the program died.
    Repair(SegmentId),
}

impl FileRole {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Segment(id) => format!("segment-{:016x}{SUFFIX}", id.0),
            Self::Spare(n) => format!("spare-{n:016x}{SUFFIX}"),
            Self::Repair(id) => format!("repair-{:016x}{SUFFIX}", id.0),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let (word, digits) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        let role = match word {
            "segment" => Self::Segment(SegmentId(number)),
            "spare" => Self::Spare(number),
            "repair" => Self::Repair(SegmentId(number)),
            _ => return None,
        };
        (role.name() == name).then_some(role)
    }
}

#[derive(Default)]
struct Spares {
    ready: Vec<u64>,
    next: u64,
}

/// The file of a segment that takes records.
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    /// All of it was written before.
    pub(crate) written: bool,
}

pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    spares: Mutex<Spares>,
    open: Recent<Arc<dyn DiskFile>>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, segment_bytes: u64, open_files_max: usize) -> Self {
        let open = Recent::new(open_files_max.max(1));
        Self { disk, dir, segment_bytes, spares: Mutex::default(), open }
    }

    pub(crate) fn path(&self, role: FileRole) -> PathBuf {
        self.dir.join(role.name())
    }

    pub(crate) fn segment_path(&self, id: SegmentId) -> PathBuf {
        self.path(FileRole::Segment(id))
    }

    /// Creates the folder, removes unfinished repairs, notes the spares, and gives the segments in order.
    pub(crate) fn load(&self) -> Result<Vec<SegmentId>> {
        self.create_dir()?;
        let listed = self.disk.list(&self.dir).map_err(|e| Error::io("list journal folder", e));
        let entries = listed.on(self.dir.display())?;
        let mut segments = Vec::new();
        for role in entries.iter().filter(|e| !e.is_dir).filter_map(|e| FileRole::parse(&e.name)) {
            match role {
                FileRole::Segment(id) => segments.push(id),
                FileRole::Spare(n) => self.note_spare(n)?,
                FileRole::Repair(_) => self.remove(role)?,
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// The folder, and the names of it and its missing parents, durable: else the whole log could vanish.
    fn create_dir(&self) -> Result<()> {
        let missing: Vec<&Path> = self.dir.ancestors().take_while(|path| self.disk.metadata(path).is_err()).collect();
        let created = self.disk.create_dir_all(&self.dir).and_then(|()| {
            let mut parents = missing.iter().filter_map(|path| path.parent()).filter(|p| !p.as_os_str().is_empty());
            parents.try_for_each(|parent| self.disk.sync_dir(parent))
        });
        created.map_err(|e| Error::io("create journal folder", e)).on(self.dir.display())
    }

    /// A spare of another size (the setting changed, or its making was cut short) is of no use.
    fn note_spare(&self, n: u64) -> Result<()> {
        let path = self.path(FileRole::Spare(n));
        let len = self.disk.metadata(&path).map_err(|e| Error::io("read spare segment", e)).on(path.display())?.len;
        let mut spares = self.spares.lock();
        spares.next = spares.next.max(n + 1);
        if len == self.segment_bytes {
            spares.ready.push(n);
            return Ok(());
        }
        drop(spares);
        self.remove(FileRole::Spare(n))
    }

    pub(crate) fn spare_count(&self) -> usize {
        self.spares.lock().ready.len()
    }

    fn next_spare(&self) -> u64 {
        let mut spares = self.spares.lock();
        spares.next += 1;
        spares.next - 1
    }

    /// Makes one more spare, written once with zeros.
    pub(crate) fn add_spare(&self) -> Result<()> {
        let n = self.next_spare();
        let path = self.path(FileRole::Spare(n));
        let file = self.open_at(&path, OpenMode::CreateNew)?;
        if let Err(error) = self.zero(file.as_ref()) {
            self.abandon(n);
            return Err(Error::io("write spare segment", error)).on(path.display());
        }
        self.sync_dir()?;
        self.spares.lock().ready.push(n);
        Ok(())
    }

    /// A full disk is asked again and again: what was begun must not stay. The next start removes what stays here.
    fn abandon(&self, n: u64) {
        if let Err(error) = self.remove(FileRole::Spare(n)) {
            tracing::debug!(%error, "an unfinished file stays in the journal's folder");
        }
    }

    fn zero(&self, file: &dyn DiskFile) -> std::io::Result<()> {
        file.allocate(0..self.segment_bytes)?;
        let mut at = 0;
        while at < self.segment_bytes {
            let len = usize::try_from(self.segment_bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all_at(&[IoSlice::new(&ZEROS[..len])], at)?;
            at += len as u64;
        }
        file.sync_data()
    }

    /// A file under its segment's name, header durable: a spare if there is one, else a new one without content.
    pub(crate) fn prepare(&self, header: &Header) -> Result<Prepared> {
        let spare = self.spares.lock().ready.pop();
        let n = spare.unwrap_or_else(|| self.next_spare());
        let from = self.path(FileRole::Spare(n));
        let file = self.open_at(&from, if spare.is_some() { OpenMode::ReadWrite } else { OpenMode::CreateNew })?;
        let made = (|| {
            if spare.is_none() {
                file.allocate(0..self.segment_bytes)?;
            }
            file.write_all_at(&[IoSlice::new(&header.page())], 0)?;
            file.sync_data()
        })();
        if let Err(error) = made {
            self.abandon(n);
            return Err(Error::io("prepare segment", error)).on(from.display());
        }
        self.rename(FileRole::Spare(n), FileRole::Segment(header.segment))?;
        self.sync_dir()?;
        Ok(Prepared { file, written: spare.is_some() })
    }

    /// Takes a segment's file out of the journal: it becomes a spare where one is wanted. Not durable before `sync_dir`,
    /// and not to be used before: the caller hands what this gives to `add_retired`.
    pub(crate) fn retire(&self, id: SegmentId, reuse: bool) -> Result<Option<u64>> {
        self.open.remove(id);
        if !reuse {
            self.remove(FileRole::Segment(id))?;
            return Ok(None);
        }
        let n = self.next_spare();
        self.rename(FileRole::Segment(id), FileRole::Spare(n))?;
        Ok(Some(n))
    }

    pub(crate) fn add_retired(&self, spares: impl IntoIterator<Item = u64>) {
        self.spares.lock().ready.extend(spares);
    }

    pub(crate) fn create_repair(&self, id: SegmentId, bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let path = self.path(FileRole::Repair(id));
        let file = self.open_at(&path, OpenMode::Truncate)?;
        file.allocate(0..bytes).map_err(|e| Error::io("reserve segment", e)).on(path.display())?;
        Ok(file)
    }

    /// Puts the copy in the place of the segment, durably.
    pub(crate) fn adopt_repair(&self, id: SegmentId) -> Result<()> {
        self.rename(FileRole::Repair(id), FileRole::Segment(id))?;
        self.open.remove(id);
        self.sync_dir()
    }

    pub(crate) fn remove(&self, role: FileRole) -> Result<()> {
        let path = self.path(role);
        self.disk.remove_file(&path).map_err(|e| Error::io("remove file", e)).on(path.display())
    }

    fn rename(&self, from: FileRole, to: FileRole) -> Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        self.disk.rename(&from, &to).map_err(|e| Error::io("rename segment file", e)).on(to.display())
    }

    pub(crate) fn sync_dir(&self) -> Result<()> {
        self.disk.sync_dir(&self.dir).map_err(|e| Error::io("sync journal folder", e)).on(self.dir.display())
    }

    fn open_at(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>> {
        self.disk.open(path, mode).map_err(|e| Error::io("open segment", e)).on(path.display())
    }

    /// The file of a segment that is not being written, from the bounded set of open ones.
    pub(crate) fn open(&self, id: SegmentId) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open.get(id) {
            return Ok(file);
        }
        let file = self.open_at(&self.segment_path(id), OpenMode::ReadWrite)?;
        self.open.put(id, file.clone(), 1);
        Ok(file)
    }

    pub(crate) fn keep_open(&self, id: SegmentId, file: Arc<dyn DiskFile>) {
        self.open.put(id, file, 1);
    }

    pub(crate) fn read_header(&self, id: SegmentId, file: &dyn DiskFile) -> Result<Header> {
        let path = self.segment_path(id);
        let mut page = vec![0; PAGE_BYTES as usize];
        let got = file.read_at(&mut page, 0).map_err(|e| Error::io("read segment header", e)).on(path.display())?;
        page.truncate(got);
        Header::decode_page(&page).on(path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_left_alone() {
        for role in [FileRole::Segment(SegmentId(1)), FileRole::Spare(u64::MAX), FileRole::Repair(SegmentId(77))] {
            assert_eq!(FileRole::parse(&role.name()), Some(role));
        }
        for name in ["segment-1.tgj", "segment-000000000000000A.tgj", "x", "spare-.tgj", "segment-0000000000000001"] {
            assert_eq!(FileRole::parse(name), None, "{name}");
        }
    }
}
