//! The one error type that crosses crates: kind, operation, entity, context, source.
//!
//! Doors map kinds in one total `match`; retry decisions read the kind, never the text. An error without detail
//! (a lookup that finds nothing) costs no allocation.

use std::fmt;
use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as the caller has to treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such name, inode, blob or key.
    NotFound,
    /// The name is taken.
    Exists,
    NotDirectory,
    IsDirectory,
    NotEmpty,
    /// The caller does not own the thing, whatever its mode bits say (EPERM).
    NotPermitted,
    /// The mode bits or the ACL refuse it (EACCES).
    AccessDenied,
    NameTooLong,
    InvalidArgument,
    /// No room on a drive, in the cache, or in the pool.
    NoSpace,
    QuotaExceeded,
    ReadOnly,
    TooManyLinks,
    /// Too many symbolic links, or a directory would become its own ancestor's child.
    Loop,
    CrossDevice,
    /// The inode that a handle names is gone.
    Stale,
    BadHandle,
    /// No such extended attribute.
    NoData,
    NotSupported,
    /// The caller's buffer is too small for the value.
    RangeTooSmall,
    FileTooLarge,
    /// The value is larger than the format allows (an extended attribute).
    TooBig,
    /// A lock is held by someone else and the caller did not want to wait.
    WouldBlock,
    Deadlock,
    Interrupted,
    Busy,
    /// `SEEK_DATA`/`SEEK_HOLE` past the end, or a device without driver.
    NoDeviceOrAddress,
    /// A checksum, magic or length does not fit; redundancy may still repair it.
    Corrupt,
    /// More shards are lost than the code can rebuild: the bytes are gone until drives come back.
    Damaged,
    /// The medium reported an error.
    Io,
    /// A drive, backend or service is away; trying again later may help.
    Unavailable,
    TimedOut,
    /// Written by a newer program.
    NewerFormat,
    /// Another process holds the store.
    StoreLocked,
    /// It belongs to another pool, store or slot.
    Mismatch,
    /// The process is stopping.
    ShuttingDown,
    /// A defect in this program.
    Internal,
}

#[derive(Debug, Default)]
struct Detail {
    entity: String,
    context: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An error with its kind, the operation that failed, what it failed on, and why.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    op: &'static str,
    detail: Option<Box<Detail>>,
}

impl Error {
    /// An error of `kind` in operation `op` (a verb phrase: `"open drive"`).
    pub const fn new(kind: ErrorKind, op: &'static str) -> Self {
        Self { kind, op, detail: None }
    }

    /// The error that an operating system call gave; its kind follows from the errno.
    pub fn io(op: &'static str, source: io::Error) -> Self {
        Self::new(kind_of_io(&source), op).source(source)
    }

    pub fn corrupt(op: &'static str, why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, op).context(why)
    }

    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub const fn op(&self) -> &'static str {
        self.op
    }

    /// What the operation failed on; empty where the caller knows.
    pub fn entity_name(&self) -> &str {
        self.detail.as_ref().map_or("", |d| &d.entity)
    }

    /// Names what the operation failed on (a path, a blob, `inode 12`).
    #[must_use]
    pub fn entity(mut self, entity: impl fmt::Display) -> Self {
        self.detail_mut().entity = entity.to_string();
        self
    }

    /// Adds what a reader needs to know: the cause seen from here, or what to do next.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.detail_mut().context.push(context.into());
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.detail_mut().source = Some(source.into());
        self
    }

    /// The same story under another kind (a corrupt shard that parity cannot repair becomes damage).
    #[must_use]
    pub const fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    fn detail_mut(&mut self) -> &mut Detail {
        self.detail.get_or_insert_with(Box::default)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op)?;
        let Some(detail) = &self.detail else { return write!(f, ": {:?}", self.kind) };
        if !detail.entity.is_empty() {
            write!(f, " {}", detail.entity)?;
        }
        for context in detail.context.iter().rev() {
            write!(f, ": {context}")?;
        }
        match &detail.source {
            Some(source) => write!(f, ": {source}"),
            None if detail.context.is_empty() => write!(f, ": {:?}", self.kind),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.as_ref()?.source.as_deref().map(|s| s as _)
    }
}

/// Context for a `Result` on its way up.
pub trait ResultExt<T> {
    /// Names what failed, where the error does not say it yet.
    fn on(self, entity: impl fmt::Display) -> Result<T>;
    /// Adds a line of context.
    fn why(self, context: impl Into<String>) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn on(self, entity: impl fmt::Display) -> Result<T> {
        self.map_err(|e| if e.entity_name().is_empty() { e.entity(entity) } else { e })
    }

    fn why(self, context: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.context(context))
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
        io::ErrorKind::StorageFull => ErrorKind::NoSpace,
        io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::NotADirectory => ErrorKind::NotDirectory,
        io::ErrorKind::IsADirectory => ErrorKind::IsDirectory,
        io::ErrorKind::DirectoryNotEmpty => ErrorKind::NotEmpty,
        io::ErrorKind::FileTooLarge => ErrorKind::FileTooLarge,
        io::ErrorKind::ResourceBusy => ErrorKind::Busy,
        io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        io::ErrorKind::Interrupted => ErrorKind::Interrupted,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => ErrorKind::InvalidArgument,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_operation_entity_context_and_source() {
        let e = Error::io("open drive", io::Error::from_raw_os_error(28)).entity("/d/3").context("free some space");
        assert_eq!(e.kind(), ErrorKind::NoSpace);
        assert_eq!(e.to_string(), "open drive /d/3: free some space: No space left on device (os error 28)");
        assert_eq!(Error::new(ErrorKind::NotFound, "lookup").to_string(), "lookup: NotFound");
    }
}
