//! Names: directories and what is done to their entries, one operation per file.
//!
//! Each operation checks in the order Linux does (what the name is, then whether the caller may), on state that the
//! held stripes keep still, and makes one [`Change`](crate::change::Change).

mod create;
mod directory;
mod link;
mod lookup;
mod make;
mod readdir;
mod remove;
mod rename;

use fs_api::NAME_BYTES_MAX;
use objstore_base::{Error, ErrorKind, Result};

pub(crate) use remove::Removal;

/// What a name may be for an operation that makes or removes it.
///
/// # Errors
/// `NameTooLong`; `InvalidArgument` for an empty name or one with `/` or NUL; `special` for `.` and `..`.
fn check_name(op: &'static str, name: &[u8], special: ErrorKind) -> Result<()> {
    check_length(op, name)?;
    check_special(op, name, special)
}

fn check_special(op: &'static str, name: &[u8], special: ErrorKind) -> Result<()> {
    if matches!(name, b"." | b"..") { Err(Error::new(special, op)) } else { Ok(()) }
}

fn check_length(op: &'static str, name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, op));
    }
    if name.is_empty() || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(Error::new(ErrorKind::InvalidArgument, op).context("a name is 1 to 255 bytes without / and NUL"));
    }
    Ok(())
}
