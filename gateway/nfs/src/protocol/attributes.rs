//! Attributes on the wire: `fattr3`, `sattr3`, `wcc_data`.

use fs_api::{Attr, FileKind, SetAttr, SetTime, Time};
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};

/// Bytes of an encoded `fattr3`.
pub const FATTR_BYTES: usize = 84;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// `ftype3` of a kind of inode.
pub const fn file_type(kind: FileKind) -> u32 {
    match kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::BlockDevice => 3,
        FileKind::CharDevice => 4,
        FileKind::Symlink => 5,
        FileKind::Socket => 6,
        FileKind::Fifo => 7,
    }
}

/// Seconds on the wire are unsigned 32 bits: a time before 1970 or after 2106 shows as the nearest there is.
pub fn put_time(out: &mut Encoder, time: Time) {
    match u32::try_from(time.secs) {
        Ok(secs) => {
            out.u32(secs);
            out.u32(time.nanos);
        }
        Err(_) => {
            out.u32(if time.secs < 0 { 0 } else { u32::MAX });
            out.u32(0);
        }
    }
}

/// # Errors
/// `Garbage` where the bytes end; `Ok(None)` where the nanoseconds make no time.
fn time(input: &mut Decoder) -> Result<Option<Time>, Garbage> {
    let (secs, nanos) = (input.u32()?, input.u32()?);
    Ok((nanos < NANOS_PER_SECOND).then_some(Time { secs: i64::from(secs), nanos }))
}

/// Major and minor of a device number as Linux packs it in `st_rdev`.
pub const fn split_device(rdev: u64) -> (u32, u32) {
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & !0xfff);
    let minor = (rdev & 0xff) | ((rdev >> 12) & !0xff);
    (major as u32, minor as u32)
}

/// The device number of `major` and `minor`; `None` where Linux cannot have it (12 and 20 bits).
pub const fn join_device(major: u32, minor: u32) -> Option<u64> {
    if major > 0xfff || minor > 0xf_ffff {
        return None;
    }
    let (major, minor) = (major as u64, minor as u64);
    Some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

pub fn put_fattr(out: &mut Encoder, fsid: u64, attr: &Attr) {
    let (major, minor) = split_device(attr.rdev);
    for word in [file_type(attr.kind), attr.mode & 0o7777, attr.nlink, attr.uid, attr.gid] {
        out.u32(word);
    }
    out.u64(attr.size);
    out.u64(attr.blocks.saturating_mul(512));
    out.u32(major);
    out.u32(minor);
    out.u64(fsid);
    out.u64(attr.ino.0);
    put_time(out, attr.atime);
    put_time(out, attr.mtime);
    put_time(out, attr.ctime);
}

/// `post_op_attr`.
pub fn put_post_op(out: &mut Encoder, fsid: u64, attr: Option<&Attr>) {
    out.bool(attr.is_some());
    if let Some(attr) = attr {
        put_fattr(out, fsid, attr);
    }
}

/// What a client may conclude about an object that a call changed. `before` is only there where nothing but that call
/// came between the two: a client that finds its cache equal to `before` takes `after` as its own doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wcc {
    pub before: Option<Attr>,
    pub after: Option<Attr>,
}

pub fn put_wcc(out: &mut Encoder, fsid: u64, wcc: &Wcc) {
    out.bool(wcc.before.is_some());
    if let Some(before) = &wcc.before {
        out.u64(before.size);
        put_time(out, before.mtime);
        put_time(out, before.ctime);
    }
    put_post_op(out, fsid, wcc.after.as_ref());
}

/// `sattr3`. `times_valid` is false where a time has a billion nanoseconds or more (`INVAL`, not garbage).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewAttributes {
    pub set: SetAttr,
    pub times_valid: bool,
}

impl NewAttributes {
    pub fn decode(input: &mut Decoder) -> Result<Self, Garbage> {
        let mode = input.bool()?.then(|| input.u32()).transpose()?;
        let uid = input.bool()?.then(|| input.u32()).transpose()?;
        let gid = input.bool()?.then(|| input.u32()).transpose()?;
        let size = input.bool()?.then(|| input.u64()).transpose()?;
        let mut times_valid = true;
        let mut next = || -> Result<Option<SetTime>, Garbage> {
            match input.u32()? {
                0 => Ok(None),
                1 => Ok(Some(SetTime::Now)),
                2 => {
                    let time = time(input)?;
                    times_valid &= time.is_some();
                    Ok(time.map(SetTime::To))
                }
                _ => Err(Garbage),
            }
        };
        let (atime, mtime) = (next()?, next()?);
        let mode = mode.map(|mode| mode & 0o7777);
        Ok(Self { set: SetAttr { mode, uid, gid, size, atime, mtime, kill_suid_sgid: false }, times_valid })
    }

    pub fn encode(&self, out: &mut Encoder) {
        for word in [self.set.mode, self.set.uid, self.set.gid] {
            out.bool(word.is_some());
            if let Some(word) = word {
                out.u32(word);
            }
        }
        out.bool(self.set.size.is_some());
        if let Some(size) = self.set.size {
            out.u64(size);
        }
        for time in [self.set.atime, self.set.mtime] {
            match time {
                None => out.u32(0),
                Some(SetTime::Now) => out.u32(1),
                Some(SetTime::To(time)) => {
                    out.u32(2);
                    put_time(out, time);
                }
            }
        }
    }
}

/// The guard of SETATTR; `None` in `Some` stands for a time that no inode can have.
pub fn guard(input: &mut Decoder) -> Result<Option<Option<Time>>, Garbage> {
    input.bool()?.then(|| time(input)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_keep_their_12_and_20_bits() {
        for (major, minor) in [(0, 0), (8, 1), (0xfff, 0xf_ffff), (259, 70_000)] {
            assert_eq!(join_device(major, minor).map(split_device), Some((major, minor)));
        }
        assert_eq!(join_device(0x1000, 0), None);
        assert_eq!(join_device(0, 0x10_0000), None);
    }
}
