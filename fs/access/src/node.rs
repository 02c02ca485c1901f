//! What a decision needs to know of an inode.

use fs_api::{Attr, FileKind};

pub const SETUID: u32 = 0o4000;
pub const SETGID: u32 = 0o2000;
/// In a directory: only the owner of a name's inode or of the directory removes the name.
pub const STICKY: u32 = 0o1000;
pub const GROUP_EXECUTE: u32 = 0o010;

/// Kind, owner and mode of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: FileKind,
    pub uid: u32,
    pub gid: u32,
    /// Permission, setuid, setgid and sticky bits (`0o7777`).
    pub mode: u32,
}

impl Node {
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind, FileKind::Directory)
    }
}

impl From<&Attr> for Node {
    fn from(attr: &Attr) -> Self {
        Self { kind: attr.kind, uid: attr.uid, gid: attr.gid, mode: attr.mode }
    }
}
