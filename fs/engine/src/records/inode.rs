//! The inode record: everything about a file but its names, bytes and extended attributes.

use std::sync::Arc;

use fs_api::{Attr, FileKind, Ino, SYMLINK_BYTES_MAX, Time};
use objstore_base::Result;

use super::Cursor;
use crate::quota::ProjectId;

const VERSION: u8 = 2;
/// An inode of no project: the record ends as it did before there were any.
const VERSION_WITHOUT_PROJECT: u8 = 1;
/// Version, kind, flags; five numbers of 4 bytes, seven of 8, four times of 12.
const FIXED_BYTES: usize = 3 + 5 * 4 + 7 * 8 + 4 * 12;
const PROJECT_BYTES: usize = 4;

const FLAG_ACCESS_ACL: u8 = 1;
const FLAG_DEFAULT_ACL: u8 = 2;

/// What `stat` says of a directory's size: it does not grow with its entries.
const DIRECTORY_BYTES: u64 = 4096;

/// One inode, decoded. It is changed only under the write stripe of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    pub ino: Ino,
    pub kind: FileKind,
    /// `0o7777` bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    /// Bytes of a regular file; 0 for everything else (a symlink's length is its target's).
    pub size: u64,
    /// Bytes of extents: data and reserved ranges, holes not counted.
    pub allocated: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
    pub change: u64,
    /// Of a directory: where `..` leads. 0 for everything else.
    pub parent: Ino,
    /// Of a directory: the cookie of its next entry.
    pub next_cookie: u64,
    /// Of a directory: how many names it has.
    pub entries: u64,
    /// How many extended attributes it has.
    pub xattrs: u32,
    /// An extended attribute holds an access ACL that says more than the mode bits.
    pub has_access_acl: bool,
    /// An extended attribute holds a default ACL.
    pub has_default_acl: bool,
    /// Whose quota it counts for.
    pub project: ProjectId,
    /// Of a symlink: its target; empty for everything else.
    pub target: Arc<[u8]>,
}

/// First cookie of a real entry: `.` and `..` have 1 and 2.
pub(crate) const FIRST_COOKIE: u64 = 3;

impl Inode {
    /// A new inode of `kind`, born `now`, with one link (a directory with two).
    pub(crate) fn new(ino: Ino, kind: FileKind, mode: u32, uid: u32, gid: u32, now: Time) -> Self {
        Self {
            ino,
            kind,
            mode: mode & 0o7777,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev: 0,
            size: 0,
            allocated: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            change: 1,
            parent: Ino(0),
            next_cookie: FIRST_COOKIE,
            entries: 0,
            xattrs: 0,
            has_access_acl: false,
            has_default_acl: false,
            project: ProjectId::NONE,
            target: Arc::from([]),
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    pub(crate) fn attr(&self) -> Attr {
        let size = match self.kind {
            FileKind::Directory => DIRECTORY_BYTES,
            FileKind::Symlink => self.target.len() as u64,
            _ => self.size,
        };
        let allocated = if self.is_dir() { DIRECTORY_BYTES } else { self.allocated };
        Attr {
            ino: self.ino,
            kind: self.kind,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size,
            blocks: allocated.div_ceil(512),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            change: self.change,
        }
    }

    /// The time that a change at wall time `now` gets: never before the last change, however the clock jumps.
    pub(crate) fn stamp(&self, now: Time) -> Time {
        now.max(self.ctime)
    }

    /// Notes a change of attributes at wall time `now`.
    pub(crate) fn touch_ctime(&mut self, now: Time) {
        self.ctime = self.stamp(now);
        self.change = self.change.wrapping_add(1);
    }

    /// Notes a change of content (a file's bytes, a directory's names) at wall time `now`.
    pub(crate) fn touch_mtime(&mut self, now: Time) {
        self.touch_ctime(now);
        self.mtime = self.ctime;
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + PROJECT_BYTES + self.target.len());
        let version = if self.project == ProjectId::NONE { VERSION_WITHOUT_PROJECT } else { VERSION };
        let flags = if self.has_access_acl { FLAG_ACCESS_ACL } else { 0 }
            | if self.has_default_acl { FLAG_DEFAULT_ACL } else { 0 };
        out.extend_from_slice(&[version, self.kind as u8, flags]);
        for n in [self.mode, self.nlink, self.uid, self.gid, self.xattrs] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for n in [self.rdev, self.size, self.allocated, self.change, self.parent.0, self.next_cookie, self.entries] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for t in [self.atime, self.mtime, self.ctime, self.btime] {
            out.extend_from_slice(&t.secs.to_le_bytes());
            out.extend_from_slice(&t.nanos.to_le_bytes());
        }
        debug_assert_eq!(out.len(), FIXED_BYTES);
        if version == VERSION {
            out.extend_from_slice(&self.project.0.to_le_bytes());
        }
        out.extend_from_slice(&self.target);
        out
    }

    pub(crate) fn decode(ino: Ino, value: &[u8]) -> Result<Self> {
        let (mut c, version) = Cursor::new("decode inode record", value, VERSION)?;
        let kind = FileKind::from_tag(c.u8()?).ok_or_else(|| c.bad("unknown kind"))?;
        let flags = c.u8()?;
        let inode = Self {
            ino,
            kind,
            has_access_acl: flags & FLAG_ACCESS_ACL != 0,
            has_default_acl: flags & FLAG_DEFAULT_ACL != 0,
            mode: c.u32()?,
            nlink: c.u32()?,
            uid: c.u32()?,
            gid: c.u32()?,
            xattrs: c.u32()?,
            rdev: c.u64()?,
            size: c.u64()?,
            allocated: c.u64()?,
            change: c.u64()?,
            parent: Ino(c.u64()?),
            next_cookie: c.u64()?,
            entries: c.u64()?,
            atime: time(&mut c)?,
            mtime: time(&mut c)?,
            ctime: time(&mut c)?,
            btime: time(&mut c)?,
            project: if version == VERSION_WITHOUT_PROJECT { ProjectId::NONE } else { ProjectId(c.u32()?) },
            target: Arc::from(c.rest()),
        };
        if inode.target.len() > SYMLINK_BYTES_MAX {
            return Err(c.bad("the symlink target is too long"));
        }
        Ok(inode)
    }
}

fn time(c: &mut Cursor<'_>) -> Result<Time> {
    let time = Time { secs: c.i64()?, nanos: c.u32()? };
    if time.nanos < 1_000_000_000 { Ok(time) } else { Err(c.bad("nanoseconds out of range")) }
}

#[cfg(test)]
mod tests {
    use objstore_base::ErrorKind;

    use super::*;

    fn link() -> Inode {
        let now = Time { secs: -3, nanos: 999_999_999 };
        let mut inode = Inode::new(Ino(9), FileKind::Symlink, 0o4777, 1, 2, now);
        inode.target = Arc::from(&b"../somewhere"[..]);
        inode.has_default_acl = true;
        (inode.rdev, inode.size, inode.allocated, inode.change) = (1, 2, 3, u64::MAX);
        (inode.parent, inode.next_cookie, inode.entries, inode.xattrs) = (Ino(4), 5, 6, 7);
        inode
    }

    #[test]
    fn a_record_round_trips_and_refuses_every_truncation() {
        for (project, bytes) in [(ProjectId::NONE, FIXED_BYTES), (ProjectId(7), FIXED_BYTES + PROJECT_BYTES)] {
            let inode = Inode { project, ..link() };
            let value = inode.encode();
            assert_eq!(Inode::decode(Ino(9), &value).ok(), Some(inode));
            for end in 0..bytes {
                assert!(Inode::decode(Ino(9), &value[..end]).is_err(), "{end} bytes");
            }
        }
    }

    #[test]
    fn the_records_stay_as_they_are_written_down() {
        let golden = "010302ff090000010000000100000002000000070000000100000000000000020000000000000003000000000000\
            00ffffffffffffffff040000000000000005000000000000000600000000000000fdffffffffffffffffc99a3bfdffffffffffffff\
            ffc99a3bfdffffffffffffffffc99a3bfdffffffffffffffffc99a3b2e2e2f736f6d657768657265";
        let hex = |inode: &Inode| inode.encode().iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&link()), golden);
        // Version 2 differs in the project number before the target.
        let golden_v2 = golden.replacen("01", "02", 1).replace("2e2e2f", "040302012e2e2f");
        let inode = Inode { project: ProjectId(0x0102_0304), ..link() };
        assert_eq!(hex(&inode), golden_v2);
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
        };
        assert_eq!(Inode::decode(Ino(9), &bytes(golden)).ok(), Some(link()));
        assert_eq!(Inode::decode(Ino(9), &bytes(&golden_v2)).ok(), Some(inode));
    }

    #[test]
    fn what_a_newer_program_wrote_is_refused() {
        let mut value = link().encode();
        value[0] = VERSION + 1;
        assert_eq!(Inode::decode(Ino(9), &value).map_err(|e| e.kind()), Err(ErrorKind::NewerFormat));
        for (at, bad) in [(0, 0), (1, 0), (1, 8), (90, 0xff)] {
            let mut value = link().encode();
            value[at] = bad;
            assert_eq!(Inode::decode(Ino(9), &value).map_err(|e| e.kind()), Err(ErrorKind::Corrupt), "byte {at}");
        }
    }

    #[test]
    fn stamps_do_not_go_back() {
        let mut inode = link();
        let before = inode.ctime;
        inode.touch_ctime(Time { secs: before.secs - 100, nanos: 0 });
        assert_eq!(inode.ctime, before);
        inode.mtime = Time { secs: 1 << 40, nanos: 0 };
        inode.touch_mtime(Time { secs: 50, nanos: 0 });
        assert_eq!(inode.mtime, Time { secs: 50, nanos: 0 }, "a time the owner set in the future does not stick");
    }
}
