//! A disk that can be cut off at an instant, under the machine's own kernel.
//!
//! `disk.img` lies in a filesystem of its own (`lower`) and is mounted through a loop device. Freezing `lower` stops
//! every write to the image at once; a copy of the image taken then holds what the upper filesystem had sent to its
//! device and nothing of what it still had in memory: what a power cut leaves behind.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::command::Run;
use crate::site::is_mounted;

/// Sizes of the images; both are sparse.
const LOWER_BYTES: &str = "3G";
const DISK_BYTES: &str = "1200M";

/// The disk, mounted at `disk()`. Dropping it unmounts everything.
pub struct FrozenDisk {
    dir: PathBuf,
}

impl FrozenDisk {
    /// Makes and mounts the images in `dir`, an empty folder.
    pub fn new(dir: &Path) -> Self {
        let disk = Self { dir: dir.to_path_buf() };
        disk.bash(&format!(
            "mkdir lower disk; truncate -s {LOWER_BYTES} lower.img; mkfs.ext4 -q lower.img; mount -o loop lower.img lower
             truncate -s {DISK_BYTES} lower/disk.img; mkfs.ext4 -q lower/disk.img; mount -o loop lower/disk.img disk"
        ));
        disk
    }

    /// The mounted filesystem.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// Cuts the disk off and keeps the image of that instant; `note` takes down what was promised until then, while no
    /// write can reach the disk any more. Then `end` ends whoever used the disk, and the kept image is mounted in the
    /// old one's place.
    pub fn cut(&self, note: impl FnOnce(), end: impl FnOnce()) {
        self.bash("fsfreeze -f lower; cp --sparse=always lower/disk.img after.img || { fsfreeze -u lower; exit 1; }");
        note();
        self.bash("fsfreeze -u lower");
        end();
        self.bash(
            "for i in $(seq 1 200); do umount disk && break; sleep 0.05; done
             for i in $(seq 1 200); do losetup -j lower/disk.img | grep -q . || break; sleep 0.05; done
             cp --sparse=always after.img lower/disk.img; rm after.img; mount -o loop lower/disk.img disk",
        );
    }

    fn bash(&self, script: &str) {
        Run::bash(script).dir(&self.dir).deadline_secs(180).ok();
    }
}

impl Drop for FrozenDisk {
    fn drop(&mut self) {
        // It is frozen only where a note panicked.
        Run::bash("fsfreeze -u lower 2>/dev/null || true").dir(&self.dir).finish();
        for name in ["disk", "lower"] {
            let path = self.dir.join(name);
            while is_mounted(&path) && umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
        }
    }
}
