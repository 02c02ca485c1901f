//! Early write-out: the one system call that no safe binding offers.
//!
//! JUSTIFICATION: without it a commit of a small record waits behind all dirty pages of the segment; the safe
//! alternative, `posix_fadvise(DONTNEED)`, also drops the clean pages, which are the cache of what was just written.

#![allow(unsafe_code, reason = "see the JUSTIFICATION above")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// Asks the kernel to begin writing the dirty pages of `range`; neither waits for them nor makes anything durable.
pub(super) fn start(file: &File, range: Range<u64>) -> io::Result<()> {
    let (Ok(offset), Ok(len)) =
        (libc::off64_t::try_from(range.start), libc::off64_t::try_from(range.end.saturating_sub(range.start)))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if len == 0 {
        return Ok(()); // A length of 0 would mean "to the end of the file".
    }
    // SAFETY: no pointers are passed; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    match Errno::result(result) {
        // Not every filesystem can; it is a hint.
        Ok(_) | Err(Errno::ENOSYS | Errno::ESPIPE | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
