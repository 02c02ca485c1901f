//! Numbers of projects, and what the `System` column keeps of them; see FORMAT.md.

use std::fmt;
use std::ops::ControlFlow;

use fs_api::Ino;
use fs_meta::{Batch, Column, Direction, MetaRead};
use objstore_base::{Error, Result};

use super::limit::QuotaLimits;
use crate::records::Cursor;

const VERSION: u8 = 1;
const FLAG_BYTES: u8 = 1;
const FLAG_INODES: u8 = 2;

/// Before the number and the kind, in the key.
const PREFIX: &[u8] = b"quota/";
/// Behind all keys with the prefix.
const PREFIX_END: &[u8] = b"quota0";
/// The first number that was never given out, u32.
const NEXT: &[u8] = b"quota-next";
/// Number and kind.
const KEY_BYTES: usize = PREFIX.len() + 5;

const KIND_RECORD: u8 = 0;
const KIND_BYTES: u8 = 1;
const KIND_INODES: u8 = 2;
const KIND_COUNTING: u8 = 3;

/// Number of a project; it is never given out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(pub u32);

impl ProjectId {
    /// Of inodes that count for no quota.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "project {}", self.0)
    }
}

/// What the index keeps of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Its directory and its limits.
    Record(ProjectId),
    /// Counter: bytes of the extents of its inodes.
    Bytes(ProjectId),
    /// Counter: its inodes.
    Inodes(ProjectId),
    /// There while its tree is walked.
    Counting(ProjectId),
}

impl Key {
    pub(crate) fn encode(self) -> [u8; KEY_BYTES] {
        let (project, kind) = match self {
            Self::Record(project) => (project, KIND_RECORD),
            Self::Bytes(project) => (project, KIND_BYTES),
            Self::Inodes(project) => (project, KIND_INODES),
            Self::Counting(project) => (project, KIND_COUNTING),
        };
        let mut key = [kind; KEY_BYTES];
        key[..PREFIX.len()].copy_from_slice(PREFIX);
        key[PREFIX.len()..KEY_BYTES - 1].copy_from_slice(&project.0.to_be_bytes());
        key
    }
}

/// What `key` of the `System` column says of a project; `None` where it is about something else.
///
/// # Errors
/// `Corrupt` where it begins as one and is none.
fn key_of(key: &[u8]) -> Result<Option<Key>> {
    let Some(rest) = key.strip_prefix(PREFIX) else { return Ok(None) };
    let bad = || Error::corrupt("read quota", format!("{key:02x?} is no key of a project"));
    let Some((number, [kind])) = rest.split_first_chunk() else { return Err(bad()) };
    let project = ProjectId(u32::from_be_bytes(*number));
    Ok(Some(match *kind {
        KIND_RECORD => Key::Record(project),
        KIND_BYTES => Key::Bytes(project),
        KIND_INODES => Key::Inodes(project),
        KIND_COUNTING => Key::Counting(project),
        _ => return Err(bad()),
    }))
}

pub(crate) fn is_counter(key: &[u8]) -> Result<bool> {
    Ok(matches!(key_of(key)?, Some(Key::Bytes(_) | Key::Inodes(_))))
}

/// All that the index keeps of projects.
///
/// # Errors
/// `Corrupt` where a key cannot be read.
pub(super) fn stored(read: &dyn MetaRead) -> Result<Vec<(Key, Vec<u8>)>> {
    let (mut found, mut bad) = (Vec::new(), None);
    read.scan(Column::System, PREFIX..PREFIX_END, Direction::Forward, &mut |key, value| match key_of(key) {
        Ok(key) => {
            found.extend(key.map(|key| (key, value.to_vec())));
            ControlFlow::Continue(())
        }
        Err(error) => {
            bad = Some(error);
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(found), Err)
}

/// Where a project lies and what it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProjectRecord {
    pub(crate) root: Ino,
    pub(crate) limits: QuotaLimits,
}

impl ProjectRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let QuotaLimits { bytes, inodes } = self.limits;
        let flags = if bytes.is_some() { FLAG_BYTES } else { 0 } | if inodes.is_some() { FLAG_INODES } else { 0 };
        let mut out = vec![VERSION, flags];
        for n in [self.root.0, bytes.unwrap_or(0), inodes.unwrap_or(0)] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let (mut c, _) = Cursor::new("decode project", value, VERSION)?;
        let flags = c.u8()?;
        if flags & !(FLAG_BYTES | FLAG_INODES) != 0 {
            return Err(c.bad("unknown flags"));
        }
        let root = Ino(c.u64()?);
        let (bytes, inodes) = (c.u64()?, c.u64()?);
        c.end()?;
        let limits = QuotaLimits {
            bytes: (flags & FLAG_BYTES != 0).then_some(bytes),
            inodes: (flags & FLAG_INODES != 0).then_some(inodes),
        };
        Ok(Self { root, limits })
    }
}

/// The number that the next project gets.
pub(crate) fn next_project(read: &dyn MetaRead) -> Result<ProjectId> {
    let Some(value) = read.get(Column::System, NEXT)? else { return Ok(ProjectId(1)) };
    let number =
        value.as_slice().try_into().map_err(|_| Error::corrupt("read quota", "the next number is no number"))?;
    Ok(ProjectId(u32::from_le_bytes(number)))
}

pub(super) fn put_next_project(batch: &mut Batch, next: ProjectId) {
    batch.put(Column::System, NEXT, &next.0.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use objstore_base::ErrorKind;

    use super::*;

    #[test]
    fn keys_are_told_apart_and_from_everything_else() {
        let project = ProjectId(0x0102_0304);
        for key in [Key::Record(project), Key::Bytes(project), Key::Inodes(project), Key::Counting(project)] {
            let encoded = key.encode();
            assert_eq!(key_of(&encoded).ok(), Some(Some(key)));
            assert!(PREFIX < &encoded[..] && &encoded[..] < PREFIX_END);
            assert_eq!(is_counter(&encoded).ok(), Some(matches!(key, Key::Bytes(_) | Key::Inodes(_))));
        }
        assert_eq!(&Key::Bytes(project).encode()[..], b"quota/\x01\x02\x03\x04\x01");
        assert_eq!(key_of(NEXT).ok(), Some(None));
        for bad in [&b"quota/"[..], b"quota/\0\0\0\x01", b"quota/\0\0\0\x01\x09", b"quota/\0\0\0\x01\0\0"] {
            assert_eq!(key_of(bad).map_err(|e| e.kind()), Err(ErrorKind::Corrupt), "{bad:?}");
        }
    }

    #[test]
    fn the_record_stays_as_it_is_written_down() {
        let record = ProjectRecord { root: Ino(9), limits: QuotaLimits { bytes: Some(1 << 33), inodes: None } };
        let value = record.encode();
        assert_eq!(value, [1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let both = ProjectRecord { root: Ino(1), limits: QuotaLimits { bytes: Some(0), inodes: Some(5) } };
        for record in [record, both, ProjectRecord { root: Ino(2), limits: QuotaLimits::default() }] {
            assert_eq!(ProjectRecord::decode(&record.encode()).ok(), Some(record));
        }
        for end in 0..value.len() {
            assert!(ProjectRecord::decode(&value[..end]).is_err(), "{end} bytes");
        }
        let newer = [&[2], &value[1..]].concat();
        assert_eq!(ProjectRecord::decode(&newer).map_err(|e| e.kind()), Err(ErrorKind::NewerFormat));
        let unknown = [&[1, 4], &value[2..]].concat();
        assert_eq!(ProjectRecord::decode(&unknown).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    }
}
