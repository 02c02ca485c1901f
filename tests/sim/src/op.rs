//! Operations of a history, free of inode numbers: nodes are named by the operation that made them.

use fs_api::{Durability, FallocateMode, RenameMode, XattrMode};

/// A node: 0 is the root, any other is the number of the request that made it.
pub type Key = u64;

/// A place for an open handle.
pub type Slot = u8;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Root,
    User,
}

/// What a file operation goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Node(Key),
    Handle(Slot),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub len: u32,
    /// Bytes that compress, or not.
    pub plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Regular,
    Directory,
    Symlink,
    Fifo,
}

/// One call. Names are single letters: few, so that they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Lookup {
        parent: Key,
        name: u8,
    },
    Make {
        parent: Key,
        name: u8,
        what: Make,
        mode: u32,
    },
    /// Creates and opens; the handle goes to `slot` or is closed at once.
    Create {
        parent: Key,
        name: u8,
        mode: u32,
        exclusive: bool,
        slot: Option<Slot>,
    },
    Link {
        node: Key,
        parent: Key,
        name: u8,
    },
    Unlink {
        parent: Key,
        name: u8,
    },
    Rmdir {
        parent: Key,
        name: u8,
    },
    Rename {
        from: (Key, u8),
        to: (Key, u8),
        mode: RenameMode,
    },
    Readlink {
        node: Key,
    },
    Readdir {
        node: Key,
    },
    Getattr {
        node: Key,
    },
    Truncate {
        via: Via,
        size: u64,
    },
    Chmod {
        node: Key,
        mode: u32,
    },
    Chown {
        node: Key,
        uid: u32,
        gid: u32,
    },
    Setxattr {
        node: Key,
        name: u8,
        len: u32,
        mode: XattrMode,
    },
    Getxattr {
        node: Key,
        name: u8,
    },
    Listxattr {
        node: Key,
    },
    Removexattr {
        node: Key,
        name: u8,
    },
    Open {
        node: Key,
        slot: Slot,
        append: bool,
        sync: bool,
    },
    Close {
        slot: Slot,
    },
    Write {
        via: Via,
        offset: u64,
        fill: Fill,
    },
    Read {
        via: Via,
        offset: u64,
        len: u32,
    },
    Fallocate {
        via: Via,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    },
    CopyRange {
        from: Via,
        from_offset: u64,
        to: Via,
        to_offset: u64,
        len: u64,
    },
    Fsync {
        via: Via,
        data_only: bool,
    },
    Sync,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Unique in its history, from 1.
    pub request: u64,
    pub actor: Actor,
    pub durability: Durability,
    pub action: Action,
}

impl Via {
    const fn is_handle(self) -> bool {
        matches!(self, Self::Handle(_))
    }
}

impl Action {
    pub(crate) const fn uses_handle(&self) -> bool {
        match self {
            Self::Truncate { via, .. }
            | Self::Write { via, .. }
            | Self::Read { via, .. }
            | Self::Fallocate { via, .. }
            | Self::Fsync { via, .. } => via.is_handle(),
            Self::CopyRange { from, to, .. } => from.is_handle() || to.is_handle(),
            Self::Open { .. } | Self::Close { .. } => true,
            _ => false,
        }
    }

    /// The file that the call changes through a node or handle.
    pub(crate) const fn written(&self) -> Option<Via> {
        match self {
            Self::Truncate { via, .. } | Self::Write { via, .. } | Self::Fallocate { via, .. } => Some(*via),
            Self::CopyRange { to, .. } => Some(*to),
            _ => None,
        }
    }

    /// The nodes whose names or attributes the call changes, besides what it writes to.
    pub(crate) fn touched(&self, request: u64) -> Vec<Key> {
        match self {
            Self::Make { parent, .. } | Self::Create { parent, .. } => vec![*parent, request],
            Self::Link { node, parent, .. } => vec![*node, *parent],
            Self::Unlink { parent, .. } | Self::Rmdir { parent, .. } => vec![*parent],
            Self::Rename { from, to, .. } => vec![from.0, to.0],
            Self::Chmod { node, .. }
            | Self::Chown { node, .. }
            | Self::Setxattr { node, .. }
            | Self::Removexattr { node, .. } => vec![*node],
            _ => Vec::new(),
        }
    }
}
