//! What stands in a folder that is refused: a store without its `store.json`, a drive of some pool.

use std::path::Path;

use objstore_env::real::RealDisk;
use objstore_shard::DriveIdentity;

use super::Layout;
use crate::host;

/// The parts of a store that lie in a folder without `store.json`, with what to do; `None` where it is none.
pub(crate) fn of_store(layout: &Layout) -> Option<String> {
    let parts = [layout.journal(), layout.index(), layout.pool(), layout.data.join("drives")];
    let found: Vec<String> = parts
        .iter()
        .filter(|part| host::metadata(part).is_ok_and(|found| found.is_dir()))
        .filter_map(|part| Some(format!("{}/", part.file_name()?.to_str()?)))
        .collect();
    if found.len() < 2 {
        return None;
    }
    let drive = layout.drive("drives/0");
    let pool = identity(&drive).map_or_else(String::new, |drive| format!(", of pool {}", drive.pool));
    Some(format!(
        "it holds {} but no store.json: a store whose store.json is lost{pool}, or one that was never finished: \
         put store.json back from a copy, or, if there is nothing in it that you need, remove the folder",
        found.join(", ")
    ))
}

/// Whose drive `path` is, with what to do; `None` where it is none.
pub(crate) fn of_drive(path: &Path) -> Option<String> {
    let drive = identity(path)?;
    Some(format!(
        "it belongs to pool {} already, as its drive {}: mount that pool's store with --data, or choose an empty directory",
        drive.pool, drive.slot
    ))
}

fn identity(path: &Path) -> Option<DriveIdentity> {
    // An identity that cannot be read says nothing; the folder is refused all the same.
    DriveIdentity::load(&RealDisk, path).ok().flatten()
}
