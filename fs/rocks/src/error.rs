//! RocksDB's errors in the house's words.

use std::path::Path;

use objstore_base::{Error, ErrorKind};

const REPAIR: &str =
    "the metadata index is damaged; nothing is lost that is in the pool: `tidegate recover` rebuilds it";

/// `op` on the store at `path` failed with what RocksDB says.
pub(crate) fn map(op: &'static str, path: &Path, source: rocksdb::Error) -> Error {
    let kind = kind(&source);
    let error = Error::new(kind, op).entity(path.display()).source(source);
    match kind {
        ErrorKind::Corrupt => error.context(REPAIR),
        ErrorKind::NoSpace => error.context("the volume of the metadata index is full; free some space there"),
        ErrorKind::StoreLocked => error.context("another process has the metadata index open"),
        ErrorKind::NewerFormat => error.context("a newer version of tidegate wrote this metadata index"),
        _ => error,
    }
}

/// The store at `path` is damaged in a way that RocksDB does not call so.
pub(crate) fn damaged(op: &'static str, path: &Path, why: &str) -> Error {
    Error::corrupt(op, why).context(REPAIR).entity(path.display())
}

/// RocksDB gives a code and a text; the errno behind an I/O error is in the text only.
fn kind(error: &rocksdb::Error) -> ErrorKind {
    let text = || AsRef::<str>::as_ref(error);
    match error.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
        rocksdb::ErrorKind::IOError if text().contains("No space left") => ErrorKind::NoSpace,
        rocksdb::ErrorKind::IOError if text().contains("quota exceeded") => ErrorKind::NoSpace,
        rocksdb::ErrorKind::IOError if text().contains("LOCK") || text().contains("lock hold by") => {
            ErrorKind::StoreLocked
        }
        // A file that the manifest names is missing or shorter than it says.
        rocksdb::ErrorKind::IOError if text().contains("No such file") => ErrorKind::Corrupt,
        rocksdb::ErrorKind::IOError if text().contains("Permission denied") => ErrorKind::AccessDenied,
        rocksdb::ErrorKind::IOError if text().contains("Read-only file system") => ErrorKind::ReadOnly,
        rocksdb::ErrorKind::InvalidArgument if text().contains("olumn famil") => ErrorKind::NewerFormat,
        rocksdb::ErrorKind::NotSupported => ErrorKind::NewerFormat,
        rocksdb::ErrorKind::TimedOut => ErrorKind::TimedOut,
        rocksdb::ErrorKind::Busy | rocksdb::ErrorKind::TryAgain => ErrorKind::Busy,
        rocksdb::ErrorKind::ShutdownInProgress => ErrorKind::ShuttingDown,
        rocksdb::ErrorKind::IOError => ErrorKind::Io,
        _ => ErrorKind::Internal,
    }
}
