//! One shard file: written whole, read in verified units, removed.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use objstore_base::{Error, ErrorKind, Result, ResultExt, zeroed};
use objstore_env::{DiskFile, OpenMode};

use super::{Root, TMP_DIR};
use crate::header::{HEADER_ALIGN, ShardHeader, UNIT_BYTES};
use crate::name::FanOut;
use crate::{ShardIdentity, ShardName, ShardRead};

/// Buffers handed to one write call.
const PARTS_PER_WRITE: usize = 64;
/// Bytes read at once by a verification.
const VERIFY_BYTES: usize = 16 * UNIT_BYTES;

impl Root {
    fn path(&self, name: ShardName) -> PathBuf {
        FanOut::of(name.blob).dir(&self.dir).join(name.to_string())
    }

    /// Temporary file, sync, rename, sync of the directory: a name is never seen without its bytes.
    pub(super) fn put(&self, identity: ShardIdentity, body: &[Bytes]) -> Result<()> {
        let header = ShardHeader::seal(identity, body)?;
        let temporary = self.next_temporary();
        let done =
            self.write_temporary(&temporary, &header, body).and_then(|()| self.publish(&temporary, identity.name));
        if done.is_err()
            && let Err(error) = self.env.disk.remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %temporary.display(), %error, "an unfinished shard stays until the next open");
        }
        done
    }

    fn write_temporary(&self, path: &Path, header: &ShardHeader, body: &[Bytes]) -> Result<()> {
        let file = self.create(path)?;
        let failed = |e| self.failed("write shard", path, e);
        self.env.failpoints.hit("shard.write").map_err(failed)?;
        file.write_all_at(&[IoSlice::new(&header.encode())], 0).map_err(failed)?;
        let mut at = header.body_at();
        for parts in body.chunks(PARTS_PER_WRITE) {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            file.write_all_at(&slices, at).map_err(failed)?;
            at += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        }
        self.env.failpoints.hit("shard.sync").map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let first = self.env.disk.open(path, OpenMode::Truncate);
        let again = match first {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.is_gone() => {
                let tmp = self.dir.join(TMP_DIR);
                self.env.disk.create_dir_all(&tmp).map_err(|e| self.failed("create directory", &tmp, e))?;
                self.env.disk.open(path, OpenMode::Truncate)
            }
            other => other,
        };
        again.map_err(|e| self.failed("create shard", path, e))
    }

    fn publish(&self, temporary: &Path, name: ShardName) -> Result<()> {
        let target = self.path(name);
        let failed = |e| self.failed("name shard", &target, e);
        self.env.failpoints.hit("shard.rename").map_err(failed)?;
        match self.env.disk.rename(temporary, &target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.is_gone() => {
                self.make_directory(FanOut::of(name.blob))?;
                self.env.disk.rename(temporary, &target).map_err(failed)?;
            }
            other => other.map_err(failed)?,
        }
        let dir = FanOut::of(name.blob).dir(&self.dir);
        self.env.failpoints.hit("shard.sync_dir").map_err(failed)?;
        self.env.disk.sync_dir(&dir).map_err(|e| self.failed("sync directory", &dir, e))
    }

    /// Creates the two levels and makes their names durable. Both are synced whichever was there: a put that was cut
    /// short may have left a name that is not durable.
    fn make_directory(&self, fan_out: FanOut) -> Result<()> {
        let (upper, dir) = (fan_out.upper_dir(&self.dir), fan_out.dir(&self.dir));
        let failed = |e| self.failed("create directory", &dir, e);
        self.env.disk.create_dir_all(&dir).map_err(failed)?;
        self.env.disk.sync_dir(&upper).map_err(failed)?;
        self.env.disk.sync_dir(&self.dir).map_err(failed)
    }

    /// Reads whole units around `range`, checks them and gives the part that was asked for.
    pub(super) fn read(&self, name: ShardName, range: Range<u64>) -> Result<ShardRead> {
        let path = self.path(name);
        let (file, header) = self.open_shard(&path, name)?;
        let shard_len = header.stripe().shard_len();
        if range.start > range.end || range.end > shard_len {
            let why = format!("range {}..{} of a shard of {shard_len} bytes", range.start, range.end);
            return Err(Error::new(ErrorKind::InvalidArgument, "read shard").entity(path.display()).context(why));
        }
        let unit = UNIT_BYTES as u64;
        let units = range.start / unit..range.end.div_ceil(unit);
        if range.is_empty() {
            return Ok(ShardRead { header: Arc::new(header), bytes: Bytes::new() });
        }
        let from = units.start * unit;
        let whole = self.read_units(&path, &file, &header, from..(units.end * unit).min(shard_len))?;
        let part = (range.start - from) as usize..(range.end - from) as usize;
        Ok(ShardRead { header: Arc::new(header), bytes: whole.slice(part) })
    }

    pub(super) fn verify(&self, name: ShardName) -> Result<ShardHeader> {
        let path = self.path(name);
        let (file, header) = self.open_shard(&path, name)?;
        let shard_len = header.stripe().shard_len();
        for start in (0..shard_len).step_by(VERIFY_BYTES) {
            self.read_units(&path, &file, &header, start..(start + VERIFY_BYTES as u64).min(shard_len))?;
        }
        Ok(header)
    }

    fn open_shard(&self, path: &Path, name: ShardName) -> Result<(Arc<dyn DiskFile>, ShardHeader)> {
        let failed = |e| self.failed("read shard", path, e);
        let file = self.env.disk.open(path, OpenMode::Read).map_err(failed)?;
        let file_len = file.len().map_err(failed)?;
        let mut header = vec![0; HEADER_ALIGN];
        if file_len < HEADER_ALIGN as u64 {
            return Err(Error::corrupt("read shard", format!("only {file_len} bytes long")).entity(path.display()));
        }
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let needed = ShardHeader::encoded_len(&header, file_len).on(path.display())?;
        if needed > header.len() {
            header.resize(needed, 0);
            file.read_exact_at(&mut header[HEADER_ALIGN..], HEADER_ALIGN as u64).map_err(failed)?;
        }
        let header = ShardHeader::decode(&header).on(path.display())?;
        header.expect(self.identity.pool, name).on(path.display())?;
        Ok((file, header))
    }

    /// `range` of the body starts on a unit and ends on one or at the end of the body.
    fn read_units(
        &self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &ShardHeader,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let mut content = zeroed((range.end - range.start) as usize);
        file.read_exact_at(&mut content, header.body_at() + range.start)
            .map_err(|e| self.failed("read shard", path, e))?;
        header.check(range.start as usize / UNIT_BYTES, &content).on(path.display())?;
        Ok(Bytes::from(content))
    }

    pub(super) fn delete(&self, name: ShardName) -> Result<()> {
        let path = self.path(name);
        match self.env.disk.remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.is_gone() => return Ok(()),
            Err(e) => return Err(self.failed("delete shard", &path, e)),
        }
        let fan_out = FanOut::of(name.blob);
        let dir = fan_out.dir(&self.dir);
        self.env.disk.sync_dir(&dir).map_err(|e| self.failed("sync directory", &dir, e))?;
        self.remove_if_empty(&dir);
        Ok(())
    }

    /// Directories of deleted blobs go when their last shard does; a put that needs one again makes it again.
    fn remove_if_empty(&self, dir: &Path) {
        if self.env.disk.remove_dir(dir).is_ok()
            && let Some(upper) = dir.parent()
            && let Err(error) = self.env.disk.remove_dir(upper)
        {
            tracing::trace!(dir = %upper.display(), %error, "the directory stays");
        }
    }
}
