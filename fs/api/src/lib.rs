//! What a door sees of the filesystem: the [`Vfs`] trait and the words it is spoken in.
//!
//! Doors depend on this crate and never on the engine or a store. The reference model implements [`Vfs`] too.

#![forbid(unsafe_code)]

mod attr;
mod context;
mod dir;
mod ids;
mod lock;
mod receipt;
mod requests;
mod vfs;
mod watch;

pub use attr::{Attr, FileKind, SetAttr, SetTime, Time};
pub use context::{Context, Credentials, Durability, Groups, Origin};
pub use dir::{DirEntry, Listing};
pub use ids::{Handle, HandleId, Ino, ROOT_INO};
pub use lock::{LockKind, LockOwner, LockRange, LockRequest, LockSpace, LockWait};
pub use receipt::Receipt;
pub use requests::{
    AccessMask, Created, FallocateMode, NewNode, OpenFlags, RenameMode, SeekFrom, StatFs, Target, XattrMode,
};
pub use vfs::Vfs;
pub use watch::{DoorId, Notice, Registration, Watcher};

/// Longest name of a directory entry, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest target of a symbolic link, in bytes (`PATH_MAX` less the terminating NUL).
pub const SYMLINK_BYTES_MAX: usize = 4095;
/// Longest value of an extended attribute, in bytes (`XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 65_536;
/// Longest name of an extended attribute, in bytes (`XATTR_NAME_MAX`).
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Largest file, in bytes (`loff_t`).
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// Most hard links of one inode.
pub const LINKS_MAX: u32 = 65_000;
