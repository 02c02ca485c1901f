//! Opening.

use fs_api::{AccessMask, Credentials, FileKind, OpenFlags};
use objstore_base::{Error, ErrorKind, Result};

use crate::acl::Acl;
use crate::node::Node;
use crate::permission::check;

/// Whether the caller may open `node` (with its access `acl`) with `flags`. Truncating needs write permission, whatever
/// else is asked for; opening for execution needs execute permission instead of read.
///
/// # Errors
/// `Loop` for a symlink, `IsDirectory` for writing to a directory, `AccessDenied`; `NoDeviceOrAddress` for a socket.
///
/// # Source
/// Linux `may_open` (fs/namei.c).
pub fn may_open(caller: &Credentials, node: &Node, acl: Option<&Acl>, flags: &OpenFlags) -> Result<()> {
    const OP: &str = "open";
    let write = flags.write || flags.truncate;
    match node.kind {
        FileKind::Symlink => return Err(Error::new(ErrorKind::Loop, OP)),
        FileKind::Directory if write => return Err(Error::new(ErrorKind::IsDirectory, OP)),
        FileKind::Regular => {}
        _ if flags.execute => return Err(Error::new(ErrorKind::AccessDenied, OP)),
        _ => {}
    }
    let mask = AccessMask { read: flags.read && !flags.execute, write, execute: flags.execute };
    check(caller, node, acl, mask)?;
    if node.kind == FileKind::Socket { Err(Error::new(ErrorKind::NoDeviceOrAddress, OP)) } else { Ok(()) }
}
