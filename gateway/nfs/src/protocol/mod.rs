//! NFSv3 and MOUNT v3 on the wire: numbers, arguments and replies, without any meaning.

pub mod args;
pub mod attributes;
pub mod status;

pub const NFS_PROGRAM: u32 = 100_003;
pub const MOUNT_PROGRAM: u32 = 100_005;
pub const VERSION: u32 = 3;

/// Longest file handle (`NFS3_FHSIZE`).
pub const HANDLE_BYTES_MAX: usize = 64;
/// Names and targets on the wire have no limit of their own; a longer one than any path is garbage, a shorter one that is
/// too long for the filesystem gets `NAMETOOLONG`.
pub const NAME_WIRE_BYTES_MAX: usize = 65_536;
/// Longest path of a MOUNT call (`MNTPATHLEN`).
pub const MOUNT_PATH_BYTES_MAX: usize = 1024;
/// Largest READ and WRITE.
pub const TRANSFER_BYTES_MAX: u32 = 1 << 20;

/// Procedure numbers of the NFS program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Procedure {
    Null = 0,
    GetAttr = 1,
    SetAttr = 2,
    Lookup = 3,
    Access = 4,
    ReadLink = 5,
    Read = 6,
    Write = 7,
    Create = 8,
    MkDir = 9,
    SymLink = 10,
    MkNod = 11,
    Remove = 12,
    RmDir = 13,
    Rename = 14,
    Link = 15,
    ReadDir = 16,
    ReadDirPlus = 17,
    FsStat = 18,
    FsInfo = 19,
    PathConf = 20,
    Commit = 21,
}

impl Procedure {
    pub const ALL: [Self; 22] = [
        Self::Null,
        Self::GetAttr,
        Self::SetAttr,
        Self::Lookup,
        Self::Access,
        Self::ReadLink,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::MkDir,
        Self::SymLink,
        Self::MkNod,
        Self::Remove,
        Self::RmDir,
        Self::Rename,
        Self::Link,
        Self::ReadDir,
        Self::ReadDirPlus,
        Self::FsStat,
        Self::FsInfo,
        Self::PathConf,
        Self::Commit,
    ];

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}
