//! Values of the protocol as values of `fs_api`, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_api::{Attr, FileKind, Ino, NewNode, OpenFlags, SetTime, Time};
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use nix::libc;
use nix::sys::stat::{major, makedev, minor};

/// What `st_blksize` says: the size in which programs (stdio, cp) read and write best. 4 KiB would make every stdio
/// write a request of its own; above 128 KiB stdio buffers become a cost.
const BLOCK_BYTES_PREFERRED: u32 = 64 << 10;

/// `FMODE_EXEC`: the kernel opens the file to run it (include/linux/fs.h; not in the user-space headers).
const FMODE_EXEC: i32 = 0x20;

pub(crate) const fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(crate) fn attributes(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device_to_wire(attr.rdev),
        blksize: BLOCK_BYTES_PREFERRED,
        flags: 0,
    }
}

pub(crate) const fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The node that `mknod(mode, rdev)` asks for; `None` for a type that mknod does not make.
pub(crate) fn node(mode: u32, rdev: u32) -> Option<NewNode> {
    match mode & libc::S_IFMT {
        // POSIX: type 0 is a regular file.
        libc::S_IFREG | 0 => Some(NewNode::Regular),
        libc::S_IFIFO => Some(NewNode::Fifo),
        libc::S_IFSOCK => Some(NewNode::Socket),
        libc::S_IFCHR => Some(NewNode::CharDevice(device_from_wire(rdev))),
        libc::S_IFBLK => Some(NewNode::BlockDevice(device_from_wire(rdev))),
        _ => None,
    }
}

/// The protocol carries devices in the kernel's 32-bit form (`new_encode_dev`): 12 bits of major, 20 of minor.
fn device_from_wire(rdev: u32) -> u64 {
    makedev(u64::from((rdev & 0x000f_ff00) >> 8), u64::from((rdev & 0xff) | ((rdev >> 12) & 0x000f_ff00)))
}

fn device_to_wire(rdev: u64) -> u32 {
    let (major, minor) = (major(rdev) as u32, minor(rdev) as u32);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0x000f_ff00) << 12)
}

pub(crate) const fn open_flags(flags: i32) -> OpenFlags {
    let access = flags & libc::O_ACCMODE;
    let execute = flags & FMODE_EXEC != 0;
    OpenFlags {
        read: (access == libc::O_RDONLY && !execute) || access == libc::O_RDWR,
        write: access == libc::O_WRONLY || access == libc::O_RDWR,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        sync: flags & (libc::O_SYNC | libc::O_DSYNC) != 0,
        execute,
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::To(time_from_wire(time)),
    }
}

/// Undoes fuser's decoding: it subtracts `-secs` and then `nanos` from the epoch where `secs` is negative, although
/// the protocol's nanoseconds always count forward.
fn time_from_wire(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            Time { secs: 0_i64.saturating_sub_unsigned(before.as_secs()), nanos: before.subsec_nanos() }
        }
    }
}

/// The instant itself; fuser encodes it rightly on both sides of the epoch. Outside the range of the platform's clock
/// the epoch stands for it.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let base = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(u64::from(time.nanos)))).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser 0.18 makes of the wire's seconds and nanoseconds.
    fn as_fuser_decodes(secs: i64, nanos: u32) -> SystemTime {
        if secs >= 0 {
            UNIX_EPOCH + Duration::new(secs as u64, nanos)
        } else {
            UNIX_EPOCH - Duration::new((-secs) as u64, nanos)
        }
    }

    #[test]
    fn times_before_and_after_the_epoch_keep_their_nanoseconds() {
        for (secs, nanos) in
            [(0, 0), (1, 999_999_999), (-1, 0), (-1, 1), (-5, 300_000_000), (1 << 40, 7), (-(1 << 40), 7)]
        {
            let time = Time { secs, nanos };
            assert_eq!(time_from_wire(as_fuser_decodes(secs, nanos)), time);
            let instant = system_time(time);
            let seen = match instant.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::from(after.as_secs()) * 1_000_000_000 + i128::from(after.subsec_nanos()),
                Err(before) => -(before.duration().as_nanos() as i128),
            };
            assert_eq!(seen, i128::from(secs) * 1_000_000_000 + i128::from(nanos));
        }
    }

    #[test]
    fn device_numbers_survive_the_wire() {
        for (major, minor) in [(1, 3), (8, 17), (0xfff, 0xf_ffff), (0, 0), (259, 300)] {
            let device = makedev(major, minor);
            assert_eq!(device_from_wire(device_to_wire(device)), device);
        }
        // /dev/null, as `stat` shows it.
        assert_eq!(device_from_wire(0x0103), makedev(1, 3));
    }

    #[test]
    fn opening_to_run_asks_for_execute_and_not_for_read() {
        let run = open_flags(libc::O_RDONLY | FMODE_EXEC);
        assert!(run.execute && !run.read && !run.write);
        let edit = open_flags(libc::O_RDWR | libc::O_APPEND);
        assert!(edit.read && edit.write && edit.append && !edit.execute);
    }
}
