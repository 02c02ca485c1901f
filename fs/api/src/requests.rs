//! Arguments and answers of the operations.

use crate::{Attr, Handle, HandleId, Ino};

/// A file for I/O: by an open handle (permission was decided at open) or by inode (decided now).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub ino: Ino,
    pub handle: Option<HandleId>,
}

impl Target {
    pub const fn inode(ino: Ino) -> Self {
        Self { ino, handle: None }
    }

    pub const fn opened(ino: Ino, handle: HandleId) -> Self {
        Self { ino, handle: Some(handle) }
    }
}

/// What to create under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewNode {
    Regular,
    Directory,
    /// The target, 1 to `SYMLINK_BYTES_MAX` bytes, uninterpreted.
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    CharDevice(u64),
    BlockDevice(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    /// Writes go to the end of the file, wherever it is then.
    pub append: bool,
    pub truncate: bool,
    /// Every write through the handle is durable when it returns (O_SYNC, O_DSYNC).
    pub sync: bool,
    /// Opened for execution: needs execute permission instead of read.
    pub execute: bool,
}

/// Answer of `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    pub attr: Attr,
    pub handle: Handle,
    /// False where the name was there and was opened.
    pub created: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces the target.
    Replace,
    /// `Exists` where the target exists.
    NoReplace,
    /// Both exist and change places.
    Exchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallocateMode {
    /// Reserve the range; grow the file over it unless `keep_size`.
    Allocate { keep_size: bool },
    /// Turn the range into a hole; the size stays.
    PunchHole,
    /// The range reads as zeros and is reserved; grow the file over it unless `keep_size`.
    ZeroRange { keep_size: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    Data(u64),
    Hole(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    Set,
    /// `Exists` where it is there.
    Create,
    /// `NoData` where it is not.
    Replace,
}

/// Permissions asked for by `access(2)`, NFS ACCESS and open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessMask {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

/// Answer of `statfs`, in bytes and inodes of user data (parity deducted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    pub bytes_total: u64,
    pub bytes_free: u64,
    pub inodes_used: u64,
    pub inodes_free: u64,
}
