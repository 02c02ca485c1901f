//! The lock on a store's folder: one process at a time, and it says who.

use std::io::IoSlice;

use objstore_env::real::RealDisk;
use objstore_env::{Disk, DiskLock, OpenMode};

use super::Layout;
use crate::exit::{Exit, Failure};

/// Held while the store is open; it dies with the process.
pub(crate) struct StoreLock {
    _lock: Box<dyn DiskLock>,
}

impl StoreLock {
    /// Takes the lock and leaves this process's id in it.
    pub(crate) fn take(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.lock();
        let failed = |error: std::io::Error| Failure::refuse("lock store", path.display(), error);
        let Some(lock) = RealDisk.lock(&path).map_err(failed)? else {
            let who = holder(layout).map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return Err(Failure::refuse(
                "open store",
                layout.data.display(),
                format!("{who} has it open: use `tidegate umount` on its mount point first"),
            )
            .with_exit(Exit::InUse));
        };
        let file = RealDisk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all_at(&[IoSlice::new(pid.as_bytes())], 0)).map_err(failed)?;
        Ok(Self { _lock: lock })
    }
}

/// The process that has the store open, as it wrote itself down; whether it still runs is for the lock to say.
fn holder(layout: &Layout) -> Option<u32> {
    let content = RealDisk.read_file(&layout.lock(), 64).ok()?;
    String::from_utf8(content).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        let lock = StoreLock::take(&layout).expect("free");
        let refused = StoreLock::take(&layout).err().expect("taken");
        assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
        assert_eq!(refused.exit, Exit::InUse);
        drop(lock);
        StoreLock::take(&layout).expect("free again");
    }
}
