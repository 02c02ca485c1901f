//! An open file of a [`SimDisk`].

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use nix::libc;

use super::disk::{Inner, SimDisk};
use super::faults::{Effect, Ops};
use super::pages::PAGE_BYTES;
use super::state::{Change, NodeId, errno};
use crate::DiskFile;

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    /// As it was opened: faults go by it.
    pub(super) path: PathBuf,
    pub(super) node: NodeId,
    pub(super) writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(errno(libc::EBADF)) }
    }

    fn write(&self, inner: &mut Inner, offset: u64, bytes: Bytes) -> io::Result<()> {
        inner.counts.writes += 1;
        inner.counts.bytes_written += bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(());
        }
        inner.change(Change::Write { node: self.node, offset, bytes })
    }

    /// The bytes of a write that still find room; as with the system call, these are written before ENOSPC.
    fn fitting(&self, inner: &Inner, offset: u64, len: usize) -> io::Result<usize> {
        let room = inner.room(&self.path) / PAGE_BYTES as u64;
        let content = inner.state.file(self.node)?;
        if content.growth(offset..offset + len as u64) <= room {
            return Ok(len);
        }
        let mut end = offset;
        let mut used = 0;
        while end < offset + len as u64 {
            let next = ((end / PAGE_BYTES as u64 + 1) * PAGE_BYTES as u64).min(offset + len as u64);
            used += content.growth(end..next);
            if used > room {
                break;
            }
            end = next;
        }
        Ok((end - offset) as usize)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut inner, effect) = self.disk.file_call(Ops::READ, &self.path)?;
        let read = match effect {
            None | Some(Effect::FlipBit) => inner.state.file(self.node)?.read(buf, offset),
            Some(effect) => return Err(errno(effect.errno())),
        };
        inner.counts.reads += 1;
        inner.counts.bytes_read += read as u64;
        drop(inner);
        if effect.is_some() && read > 0 {
            let bit = self.disk.draw(read as u64 * 8);
            buf[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(read)
    }

    fn write_all_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut inner, effect) = self.disk.file_call(Ops::WRITE, &self.path)?;
        let mut bytes = Vec::with_capacity(bufs.iter().map(|buf| buf.len()).sum());
        bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
        let bytes = Bytes::from(bytes);
        match effect {
            None => {
                let fitting = self.fitting(&inner, offset, bytes.len())?;
                self.write(&mut inner, offset, bytes.slice(..fitting))?;
                if fitting == bytes.len() { Ok(()) } else { Err(errno(libc::ENOSPC)) }
            }
            Some(Effect::Partial(code)) => {
                let part = self.disk.draw(bytes.len() as u64 + 1) as usize;
                self.write(&mut inner, offset, bytes.slice(..part))?;
                Err(errno(code))
            }
            Some(effect) => Err(errno(effect.errno())),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut inner, effect) = self.disk.file_call(Ops::SYNC, &self.path)?;
        match effect {
            None => {
                inner.counts.syncs += 1;
                inner.change(Change::Sync { node: self.node })
            }
            Some(Effect::IgnoreSync) => Ok(()),
            Some(Effect::LoseSync) => {
                let seed = self.disk.draw(u64::MAX);
                inner.change(Change::LoseSync { node: self.node, seed })?;
                Err(errno(libc::EIO))
            }
            Some(effect) => Err(errno(effect.errno())),
        }
    }

    fn start_write_out(&self, _range: Range<u64>) -> io::Result<()> {
        // What a power cut leaves of unsynced bytes is open anyway.
        self.disk.file_call(Ops::LOOK, &self.path).map(|_| ())
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.check_writable()?;
        let (mut inner, effect) = self.disk.file_call(Ops::RESIZE, &self.path)?;
        if let Some(effect) = effect {
            return Err(errno(effect.errno()));
        }
        if range.is_empty() {
            return Ok(());
        }
        if inner.state.file(self.node)?.growth(range.clone()) > inner.room(&self.path) / PAGE_BYTES as u64 {
            return Err(errno(libc::ENOSPC));
        }
        inner.change(Change::Reserve { node: self.node, range })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut inner, effect) = self.disk.file_call(Ops::RESIZE, &self.path)?;
        if let Some(effect) = effect {
            return Err(errno(effect.errno()));
        }
        inner.change(Change::SetLen { node: self.node, len })
    }

    fn len(&self) -> io::Result<u64> {
        let (inner, effect) = self.disk.file_call(Ops::LOOK, &self.path)?;
        match effect {
            None => Ok(inner.state.file(self.node)?.len()),
            Some(effect) => Err(errno(effect.errno())),
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.close(self.node);
    }
}
