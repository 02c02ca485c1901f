//! The local disk as the house sees it: whole-path directories, positional file I/O, explicit syncs.
//!
//! All calls block and belong on a thread where blocking is allowed. Errors are `std::io::Error` with their errno, so
//! that the layer above can tell ENOSPC from EIO; it adds operation and path. Nothing is durable before the sync that
//! covers it: file content and length by `sync_data`, names by `sync_dir` of their directory.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Read,
    /// The file must exist.
    ReadWrite,
    /// Created if missing; kept as it is if there.
    CreateOrOpen,
    /// The file must not exist.
    CreateNew,
    /// Created, or emptied.
    Truncate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskMetadata {
    pub len: u64,
    pub is_dir: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Bytes of the filesystem under a path, as `statvfs` gives them to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    pub total: u64,
    pub available: u64,
    /// Identifies the filesystem (its device), so that drives sharing one are not counted twice.
    pub filesystem: u64,
}

/// Held until dropped; the lock dies with the process.
pub trait DiskLock: Send + Sync {}

#[allow(clippy::len_without_is_empty, reason = "a system call that may fail, not a collection")]
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; short only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bufs`, one after the other, at `offset`.
    fn write_all_at(&self, bufs: &[io::IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes content and length durable (`fdatasync`). After an error the unsynced content is in doubt for ever; a
    /// second call that succeeds proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Starts writing `range` to the medium without waiting; a hint.
    fn start_write_out(&self, range: Range<u64>) -> io::Result<()>;

    /// Reserves blocks for `range` and extends the file over it.
    fn allocate(&self, range: Range<u64>) -> io::Result<()>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    /// Reads exactly `buf.len()` bytes; `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    fn metadata(&self, path: &Path) -> io::Result<DiskMetadata>;

    /// Entries of a directory, without `.` and `..`; names that are not UTF-8 are left out (none of them is ours).
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates the directory and its missing parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    fn space(&self, path: &Path) -> io::Result<DiskSpace>;

    /// Takes an exclusive advisory lock on `path`, creating the file; `None` where another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// Creates the directory and its missing parents and makes their names durable. A directory that is there already
    /// may have been made by a program that died before the sync, so its name is synced too where that is allowed.
    fn create_dir_durable(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = Some(dir);
        while let Some(path) = at.filter(|path| !path.as_os_str().is_empty()) {
            match self.metadata(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(e) => return Err(e),
                Ok(_) => break,
            }
            at = path.parent();
        }
        self.create_dir_all(dir)?;
        let parent = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) => PathBuf::from("."),
            None => PathBuf::from("/"),
        };
        if missing.is_empty() {
            return match self.sync_dir(&parent(dir)) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            };
        }
        missing.iter().rev().try_for_each(|made| self.sync_dir(&parent(made)))
    }

    /// Replaces `path` by `content` so that after a crash it holds the old bytes or the new ones: temporary file,
    /// sync, rename, sync of the directory.
    fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        let mut temporary = path.file_name().unwrap_or_default().to_os_string();
        temporary.push(".tmp");
        let temporary: PathBuf = dir.join(temporary);
        let file = self.open(&temporary, OpenMode::Truncate)?;
        file.write_all_at(&[io::IoSlice::new(content)], 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(dir)
    }

    /// The whole content of a file of at most `limit` bytes; `FileTooLarge` beyond.
    fn read_file(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        file.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}
