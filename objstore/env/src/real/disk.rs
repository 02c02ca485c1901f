//! The local filesystem.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::off_t;
use nix::sys::statvfs::statvfs;
use nix::sys::uio::pwritev;

use super::write_out;
use crate::{DirEntry, Disk, DiskFile, DiskLock, DiskMetadata, DiskSpace, OpenMode};

/// Buffers that one `pwritev` takes (`IOV_MAX` of Linux).
const BUFS_PER_CALL_MAX: usize = 1024;

/// The files of this machine.
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateOrOpen => options.write(true).create(true).truncate(false),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn metadata(&self, path: &Path) -> io::Result<DiskMetadata> {
        let metadata = fs::metadata(path)?;
        Ok(DiskMetadata { len: metadata.len(), is_dir: metadata.is_dir() })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = statvfs(path)?;
        let unit = stat.fragment_size();
        Ok(DiskSpace {
            total: stat.blocks().saturating_mul(unit),
            available: stat.blocks_available().saturating_mul(unit),
            filesystem: fs::metadata(path)?.dev(),
        })
    }

    /// The lock belongs to the open file description (`flock`): a second one is refused within this process too.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        if let [buf] = bufs {
            return self.0.write_all_at(buf, offset);
        }
        let mut rest: Vec<IoSlice<'_>> = bufs.iter().copied().filter(|buf| !buf.is_empty()).collect();
        let mut rest = rest.as_mut_slice();
        let mut position = off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        while !rest.is_empty() {
            match pwritev(&self.0, &rest[..rest.len().min(BUFS_PER_CALL_MAX)], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    position += written as off_t;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn start_write_out(&self, range: Range<u64>) -> io::Result<()> {
        write_out::start(&self.0, range)
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        let (Ok(start), Ok(len)) = (off_t::try_from(range.start), off_t::try_from(len)) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        if len == 0 {
            return Ok(());
        }
        loop {
            match fallocate(&self.0, FallocateFlags::empty(), start, len) {
                Ok(()) => return Ok(()),
                Err(Errno::EINTR) => {}
                // A filesystem without reservations: the length is right, a later write may still find no room.
                Err(Errno::EOPNOTSUPP) if self.len()? < range.end => return self.0.set_len(range.end),
                Err(Errno::EOPNOTSUPP) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
