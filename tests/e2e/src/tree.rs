//! Test content: byte patterns that say where they belong, and trees of files.

use std::fs;
use std::io;
use std::path::Path;

/// Self-describing content: any wrong, stale or misplaced byte shows.
#[derive(Clone, Copy, Debug)]
pub struct Pattern(pub u64);

impl Pattern {
    /// The bytes of this pattern from `offset`, `len` long.
    pub fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        (offset..offset + len as u64).map(|at| self.byte(at)).collect()
    }

    fn byte(self, at: u64) -> u8 {
        let mixed = (self.0 ^ (at / 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()[(at % 8) as usize]
    }
}

/// Fills `dir` with `files` files of varied sizes in nested folders, with links and modes.
pub fn fill_tree(dir: &Path, files: u64) -> io::Result<()> {
    for i in 0..files {
        let folder = dir.join(format!("d{}", i % 7)).join(format!("e{}", i % 3));
        fs::create_dir_all(&folder)?;
        let len = [0, 1, 100, 4095, 4096, 70_000, 300_000][(i % 7) as usize] + (i as usize * 13) % 97;
        let file = folder.join(format!("f{i}"));
        fs::write(&file, Pattern(i).bytes(0, len))?;
        if i % 5 == 0 {
            fs::hard_link(&file, folder.join(format!("hard{i}")))?;
        }
        if i % 6 == 0 {
            std::os::unix::fs::symlink(format!("f{i}"), folder.join(format!("soft{i}")))?;
        }
    }
    Ok(())
}
