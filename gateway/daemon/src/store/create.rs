//! Making a store: folders, drives, and last of all the file that makes it one.

use std::path::{Path, PathBuf};

use objstore_base::Error;
use objstore_env::real::RealDisk;
use objstore_env::{Disk, Env};
use objstore_shard::PoolUuid;

use super::plan::NewStore;
use super::{FORMAT, Layout, StoreFile};
use crate::cli::Compression;
use crate::exit::Failure;
use crate::host;

/// Journal segments, and so the blobs of the pool.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Takes back what a creation made when it does not come to its end.
struct Undo(Vec<PathBuf>);

impl Drop for Undo {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let gone = match host::metadata(path) {
                Ok(found) if found.is_dir() => host::remove_tree(path),
                Ok(_) => host::remove_file(path),
                Err(_) => Ok(()),
            };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "a part of an unfinished store stays behind");
            }
        }
    }
}

/// The store's own folder, private to its owner, before anything is in it. Dropped, it goes as it came.
pub(crate) struct FreshFolder(Undo);

/// Makes the folder where it is missing.
pub(crate) fn make_folder(layout: &Layout) -> Result<FreshFolder, Failure> {
    let data = &layout.data;
    let top = topmost_missing(data);
    let failed = |error: std::io::Error| Failure::from(Error::io("make data folder", error).entity(data.display()));
    RealDisk.create_dir_all(data).map_err(failed)?;
    let made = top.map_or_else(|| vec![layout.lock(), layout.control(), layout.admin_token()], |top| vec![top]);
    let folder = FreshFolder(Undo(made));
    host::make_private(data).map_err(failed)?;
    Ok(folder)
}

/// A store being made. Dropped before [`Unfinished::finish`], it takes everything back.
pub(crate) struct Unfinished {
    undo: Undo,
    store: StoreFile,
}

impl Unfinished {
    /// Makes the folders of the store, whose own folder is locked and otherwise empty.
    pub(crate) fn begin(
        env: &Env,
        layout: &Layout,
        new: &NewStore,
        compression: Compression,
        folder: FreshFolder,
    ) -> Result<Self, Failure> {
        let FreshFolder(mut undo) = folder;
        let drives = new.drives.iter().map(|drive| layout.drive(drive));
        for path in drives.chain([layout.pool(), layout.journal(), layout.cache(), layout.log()]) {
            if let Some(top) = topmost_missing(&path) {
                undo.0.push(top);
                let failed = |error| Error::io("make folder", error).entity(path.display());
                env.disk.create_dir_all(&path).map_err(failed)?;
            }
        }
        undo.0.push(layout.index());
        let store = StoreFile {
            format: FORMAT,
            store_uuid: PoolUuid::random(&*env.rng),
            pool_uuid: PoolUuid::random(&*env.rng),
            code: new.code.to_string(),
            drives: new.drives.clone(),
            compression,
            segment_bytes: SEGMENT_BYTES,
        };
        Ok(Self { undo, store })
    }

    pub(crate) fn store(&self) -> &StoreFile {
        &self.store
    }

    /// Writes the file that makes it a store.
    pub(crate) fn finish(mut self, layout: &Layout) -> Result<(), Failure> {
        self.store.write(layout)?;
        self.undo.0.clear();
        Ok(())
    }
}

/// The highest part of `path` that does not exist: removing it removes all that making `path` made.
fn topmost_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors().take_while(|part| host::metadata(part).is_err()).last().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().join("deep/er/data"));
        let folder = make_folder(&layout).expect("made");
        assert!(layout.data.is_dir());
        drop(folder);
        assert!(!dir.path().join("deep").exists());
    }

    #[test]
    fn a_folder_that_was_there_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        let folder = make_folder(&layout).expect("used");
        std::fs::write(layout.lock(), "1").expect("written");
        drop(folder);
        assert!(layout.data.is_dir() && !layout.lock().exists());
    }
}
