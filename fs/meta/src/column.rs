//! The columns of the index. Discriminants are on-disk values and are never reused.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Column {
    /// ino → inode record.
    Inode = 1,
    /// (parent, name) → child.
    Dentry = 2,
    /// (parent, cookie) → name and child.
    DentryOrder = 3,
    /// (ino, file offset) → extent.
    Extent = 4,
    /// (segment, frame) → reference count, where it is not one.
    FrameRef = 5,
    /// segment → live bytes (a counter) and state.
    Segment = 6,
    /// (segment, frame) → where compaction moved it.
    Forward = 7,
    /// (ino, name) → value.
    Xattr = 8,
    /// ino → (), inodes without names that are still in use.
    Orphan = 9,
    /// Counters and settings of the whole store.
    System = 10,
}

impl Column {
    pub const ALL: [Column; 10] = [
        Self::Inode,
        Self::Dentry,
        Self::DentryOrder,
        Self::Extent,
        Self::FrameRef,
        Self::Segment,
        Self::Forward,
        Self::Xattr,
        Self::Orphan,
        Self::System,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Inode => "inode",
            Self::Dentry => "dentry",
            Self::DentryOrder => "dentry-order",
            Self::Extent => "extent",
            Self::FrameRef => "frame-ref",
            Self::Segment => "segment",
            Self::Forward => "forward",
            Self::Xattr => "xattr",
            Self::Orphan => "orphan",
            Self::System => "system",
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| *c as u8 == tag)
    }

    /// Position in [`Column::ALL`].
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}
