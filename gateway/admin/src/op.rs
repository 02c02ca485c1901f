//! The operations of a `Vfs`, as they are counted and traced.

use fs_api::NewNode;

/// One method of [`fs_api::Vfs`]; `make` is as many as there are kinds of things to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Lookup,
    Create,
    Mkdir,
    Symlink,
    Mknod,
    Link,
    Unlink,
    Rmdir,
    Rename,
    Readlink,
    Readdir,
    Getattr,
    Setattr,
    Access,
    Getxattr,
    Setxattr,
    Listxattr,
    Removexattr,
    Open,
    Release,
    Read,
    Write,
    Flush,
    Fsync,
    Fallocate,
    Seek,
    Copy,
    TestLock,
    SetLock,
    Statfs,
    Sync,
}

impl Op {
    pub const COUNT: usize = 31;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Lookup,
        Self::Create,
        Self::Mkdir,
        Self::Symlink,
        Self::Mknod,
        Self::Link,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Readlink,
        Self::Readdir,
        Self::Getattr,
        Self::Setattr,
        Self::Access,
        Self::Getxattr,
        Self::Setxattr,
        Self::Listxattr,
        Self::Removexattr,
        Self::Open,
        Self::Release,
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Fsync,
        Self::Fallocate,
        Self::Seek,
        Self::Copy,
        Self::TestLock,
        Self::SetLock,
        Self::Statfs,
        Self::Sync,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Create => "create",
            Self::Mkdir => "mkdir",
            Self::Symlink => "symlink",
            Self::Mknod => "mknod",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::Readlink => "readlink",
            Self::Readdir => "readdir",
            Self::Getattr => "getattr",
            Self::Setattr => "setattr",
            Self::Access => "access",
            Self::Getxattr => "getxattr",
            Self::Setxattr => "setxattr",
            Self::Listxattr => "listxattr",
            Self::Removexattr => "removexattr",
            Self::Open => "open",
            Self::Release => "release",
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Fsync => "fsync",
            Self::Fallocate => "fallocate",
            Self::Seek => "seek",
            Self::Copy => "copy",
            Self::TestLock => "test_lock",
            Self::SetLock => "set_lock",
            Self::Statfs => "statfs",
            Self::Sync => "sync",
        }
    }

    /// Of `make`: a regular file is made with `create` as well, and is the same to who looks on.
    pub const fn making(node: &NewNode) -> Self {
        match node {
            NewNode::Regular => Self::Create,
            NewNode::Directory => Self::Mkdir,
            NewNode::Symlink(_) => Self::Symlink,
            NewNode::Fifo | NewNode::Socket | NewNode::CharDevice(_) | NewNode::BlockDevice(_) => Self::Mknod,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// Whether an access audit names it: what opens, reads, changes or removes something, not what only looks.
    pub const fn is_audited(self) -> bool {
        !matches!(
            self,
            Self::Lookup
                | Self::Getattr
                | Self::Access
                | Self::Getxattr
                | Self::Listxattr
                | Self::Release
                | Self::Flush
                | Self::Seek
                | Self::TestLock
                | Self::Statfs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_stand_at_their_own_place_and_have_names_of_their_own() {
        for (place, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, place);
            assert_eq!(Op::ALL.iter().filter(|other| other.name() == op.name()).count(), 1);
            assert_eq!(Op::from_name(op.name()), Some(op));
        }
    }
}
