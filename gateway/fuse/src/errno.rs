//! Error kinds as errno: one total match, so that a new kind is a compile error here.

use fuser::Errno;
use objstore_base::{Error, ErrorKind};

/// The errno for `error`. Never `ENOSYS`: the kernel would stop sending that operation for good.
pub(crate) const fn errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Exists => Errno::EEXIST,
        ErrorKind::NotDirectory => Errno::ENOTDIR,
        ErrorKind::IsDirectory => Errno::EISDIR,
        ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        ErrorKind::NotPermitted => Errno::EPERM,
        ErrorKind::AccessDenied => Errno::EACCES,
        ErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        ErrorKind::InvalidArgument => Errno::EINVAL,
        ErrorKind::NoSpace => Errno::ENOSPC,
        ErrorKind::QuotaExceeded => Errno::EDQUOT,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::TooManyLinks => Errno::EMLINK,
        ErrorKind::Loop => Errno::ELOOP,
        ErrorKind::CrossDevice => Errno::EXDEV,
        ErrorKind::Stale => Errno::ESTALE,
        ErrorKind::BadHandle => Errno::EBADF,
        ErrorKind::NoData => Errno::ENODATA,
        ErrorKind::NotSupported => Errno::EOPNOTSUPP,
        ErrorKind::RangeTooSmall => Errno::ERANGE,
        ErrorKind::FileTooLarge => Errno::EFBIG,
        ErrorKind::TooBig => Errno::E2BIG,
        ErrorKind::WouldBlock => Errno::EAGAIN,
        ErrorKind::Deadlock => Errno::EDEADLK,
        ErrorKind::Interrupted => Errno::EINTR,
        ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::NoDeviceOrAddress => Errno::ENXIO,
        // Programs know EIO; that a backend is away or too slow stands in the log.
        ErrorKind::Corrupt
        | ErrorKind::Damaged
        | ErrorKind::Io
        | ErrorKind::Unavailable
        | ErrorKind::TimedOut
        | ErrorKind::NewerFormat
        | ErrorKind::StoreLocked
        | ErrorKind::Mismatch
        | ErrorKind::ShuttingDown
        | ErrorKind::Internal => Errno::EIO,
    }
}

/// The errno for `error` of a request for a lock: too many locks are not a full disk to `fcntl`.
pub(crate) const fn lock_errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NoSpace => Errno::ENOLCK,
        _ => errno(error),
    }
}

/// Whether an operator has to hear of it: the caller only sees EIO.
pub(crate) const fn needs_operator(error: &Error) -> bool {
    matches!(errno(error), Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_eio_and_reaches_the_operator_while_a_missing_name_does_not() {
        let damaged = Error::new(ErrorKind::Damaged, "read frame");
        assert_eq!(errno(&damaged), Errno::EIO);
        assert!(needs_operator(&damaged));
        let missing = Error::new(ErrorKind::NotFound, "lookup");
        assert_eq!(errno(&missing), Errno::ENOENT);
        assert!(!needs_operator(&missing));
    }

    #[test]
    fn too_many_locks_are_enolck_and_all_else_is_as_for_other_requests() {
        let full = Error::new(ErrorKind::NoSpace, "lock");
        assert_eq!((lock_errno(&full), errno(&full)), (Errno::ENOLCK, Errno::ENOSPC));
        for kind in [ErrorKind::WouldBlock, ErrorKind::Deadlock, ErrorKind::Interrupted, ErrorKind::Io] {
            let error = Error::new(kind, "lock");
            assert_eq!(lock_errno(&error), errno(&error));
        }
    }

    #[test]
    fn what_a_backend_does_not_support_is_never_enosys() {
        assert_eq!(errno(&Error::new(ErrorKind::NotSupported, "x")), Errno::EOPNOTSUPP);
    }
}
