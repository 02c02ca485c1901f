//! Memory that is really there.
//!
//! A virtual machine gets memory from its host when it first touches it, and may give back what it frees: a page of a new
//! file then costs many times what it costs elsewhere, and a server that appends seems slower than one that overwrites.
//! What another file had a moment ago is found again first, by either server.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

static BLOCK: [u8; 1 << 20] = [1; 1 << 20];

/// Has the page cache grow by `mib` and shrink again, with a file in `dir` that never reaches the disk.
pub fn back(dir: &Path, mib: u64) -> io::Result<()> {
    let path = dir.join("memory");
    let mut file = File::create(&path)?;
    let filled = (0..mib).try_for_each(|_| file.write_all(&BLOCK));
    drop(file);
    fs::remove_file(&path)?;
    filled
}
