//! `nfsstat3` and the one total map from error kinds to it.

use objstore_base::{Error, ErrorKind};

/// # Source
/// RFC 1813, section 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    Perm = 1,
    NoEnt = 2,
    Io = 5,
    NxIo = 6,
    Acces = 13,
    Exist = 17,
    XDev = 18,
    NotDir = 20,
    IsDir = 21,
    Inval = 22,
    FBig = 27,
    NoSpc = 28,
    RoFs = 30,
    MLink = 31,
    NameTooLong = 63,
    NotEmpty = 66,
    DQuot = 69,
    Stale = 70,
    BadHandle = 10_001,
    NotSync = 10_002,
    NotSupp = 10_004,
    TooSmall = 10_005,
    ServerFault = 10_006,
    BadType = 10_007,
    Jukebox = 10_008,
}

impl Status {
    /// The status for `error`. A kind that no client can act on is `IO` here and an ERROR line in the log.
    pub const fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NoEnt,
            ErrorKind::Exists => Self::Exist,
            ErrorKind::NotDirectory => Self::NotDir,
            ErrorKind::IsDirectory => Self::IsDir,
            ErrorKind::NotEmpty => Self::NotEmpty,
            ErrorKind::NotPermitted => Self::Perm,
            ErrorKind::AccessDenied => Self::Acces,
            ErrorKind::NameTooLong => Self::NameTooLong,
            // A directory into itself: Linux clients expect INVAL for what is ELOOP elsewhere.
            ErrorKind::InvalidArgument | ErrorKind::Loop => Self::Inval,
            ErrorKind::NoSpace => Self::NoSpc,
            ErrorKind::QuotaExceeded => Self::DQuot,
            ErrorKind::ReadOnly => Self::RoFs,
            ErrorKind::TooManyLinks => Self::MLink,
            ErrorKind::CrossDevice => Self::XDev,
            ErrorKind::Stale => Self::Stale,
            ErrorKind::BadHandle => Self::BadHandle,
            ErrorKind::NotSupported => Self::NotSupp,
            ErrorKind::RangeTooSmall => Self::TooSmall,
            ErrorKind::FileTooLarge | ErrorKind::TooBig => Self::FBig,
            ErrorKind::NoDeviceOrAddress => Self::NxIo,
            // The client asks again later, without telling its program.
            ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::Busy
            | ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::ShuttingDown => Self::Jukebox,
            ErrorKind::Internal => Self::ServerFault,
            ErrorKind::NoData
            | ErrorKind::Deadlock
            | ErrorKind::Corrupt
            | ErrorKind::Damaged
            | ErrorKind::Io
            | ErrorKind::NewerFormat
            | ErrorKind::StoreLocked
            | ErrorKind::Mismatch => Self::Io,
        }
    }

    /// Whether only an operator can mend it.
    pub const fn needs_operator(self) -> bool {
        matches!(self, Self::Io | Self::ServerFault)
    }
}

impl From<Error> for Status {
    /// Every failure of the filesystem passes here once: what only an operator can mend is logged with its story.
    fn from(error: Error) -> Self {
        let status = Self::of(&error);
        if status.needs_operator() {
            tracing::error!(proto = "nfs", %error, "a call failed");
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f12_damage_is_io_and_an_absent_backend_makes_the_client_wait() {
        assert_eq!(Status::of(&Error::new(ErrorKind::Damaged, "read")), Status::Io);
        assert_eq!(Status::of(&Error::new(ErrorKind::Unavailable, "read")), Status::Jukebox);
        assert_eq!(Status::of(&Error::new(ErrorKind::Stale, "getattr")), Status::Stale);
    }
}
