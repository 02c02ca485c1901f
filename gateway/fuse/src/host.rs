//! The few files of the running system that this door reads: `/proc`, `/sys`, mount points.
//!
//! They are the kernel's own interfaces about the kernel's own requests, so they are not part of the simulated `Disk`.

#![allow(clippy::disallowed_methods, reason = "procfs and sysfs are interfaces of the kernel, not stored files")]

use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn read_text(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// Bytes of a file that may hold names in any encoding.
pub(crate) fn read_bytes(path: &str) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

pub(crate) fn write_text(path: &str, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}

pub(crate) fn read_link(path: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(path)
}

/// Names in a directory, in the order the kernel gives them; nothing where it cannot be read.
pub(crate) fn names_in(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

pub(crate) fn metadata(path: &Path) -> io::Result<std::fs::Metadata> {
    std::fs::metadata(path)
}

pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

pub(crate) fn is_empty_directory(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(path)?.next().is_none())
}

/// Closes every descriptor but the standard ones: what a program of ours was started with and does not need.
pub(crate) fn close_inherited() {
    for path in names_in(Path::new("/proc/self/fd")) {
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<i32>().ok());
        // The listing's own is closed by now, and that of standard error and below stay.
        if let Some(number) = number.filter(|number| *number > 2) {
            nix::unistd::close(number).ok();
        }
    }
}

/// In a process without a runtime.
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// A new connection to the kernel's FUSE; nothing is mounted on it yet.
pub(crate) fn open_fuse_device() -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse")
}
