//! `damaged`: the files of which some bytes cannot be read, by name (F12).
//!
//! Every frame that an extent names is read from where it is and verified; memory stays with one step of frames and
//! with what is found.

use std::collections::{BTreeMap, HashMap, HashSet};

use cache_journal::FrameId;
use fs_api::{Ino, ROOT_INO};
use fs_meta::{Column, MetaRead};
use objstore_base::{Error, ErrorKind, Result};

use super::check::scan;
use super::forward::forward_of;
use super::records::{Extent, Forward, Placed, decode_pair};
use crate::engine::Engine;
use crate::keys;
use crate::records::Dentry;

/// Frames read together: a few ranged gets, some mebibytes.
const STEP_FRAMES: usize = 32;
/// Levels of folders that a path has at most: as many as `PATH_MAX` holds.
const DEPTH_MAX: usize = 2048;

/// A file with bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    pub ino: Ino,
    /// Every path that leads to it, from the root of the store; empty for one that was removed and is still open.
    pub paths: Vec<Vec<u8>>,
    /// Bytes of it that cannot be read.
    pub bytes: u64,
    /// The first error, which names frame, blob and drives.
    pub why: String,
}

/// The frames that extents name, where they are, with who names them.
type Users = BTreeMap<FrameId, Vec<(u64, u64)>>;

impl Engine {
    /// Reads every byte of every file and names the files that are damaged.
    ///
    /// # Errors
    /// What stops the search; `Unavailable` while drives are away that may come back.
    pub async fn damaged(&self) -> Result<Vec<DamagedFile>> {
        self.flush_gathered_all()?;
        let snapshot = {
            let _gate = self.gate.write();
            self.meta.snapshot()?
        };
        let users = users(&*snapshot)?;
        let mut found: BTreeMap<u64, DamagedFile> = BTreeMap::new();
        let frames: Vec<FrameId> = users.keys().copied().collect();
        for step in frames.chunks(STEP_FRAMES) {
            for (frame, error) in self.unreadable(step).await? {
                for (ino, bytes) in users.get(&frame).into_iter().flatten() {
                    let file = found.entry(*ino).or_insert_with(|| DamagedFile {
                        ino: Ino(*ino),
                        paths: Vec::new(),
                        bytes: 0,
                        why: error.to_string(),
                    });
                    file.bytes += bytes;
                }
            }
        }
        let mut files: Vec<DamagedFile> = found.into_values().collect();
        name_files(&*snapshot, &mut files)?;
        Ok(files)
    }

    /// Those of `frames` that cannot be read, with the error.
    async fn unreadable(&self, frames: &[FrameId]) -> Result<Vec<(FrameId, Error)>> {
        let mut bad = Vec::new();
        for frame in frames {
            let error = match self.read_whole(*frame).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Corrupt | ErrorKind::Damaged | ErrorKind::Io => bad.push((*frame, error)),
                _ => return Err(error),
            }
        }
        Ok(bad)
    }

    async fn read_whole(&self, frame: FrameId) -> Result<()> {
        match self.read_whole_local(frame) {
            Ok(Some(())) => return Ok(()),
            Ok(None) => {}
            // As for a reader of the file: the pool's copy is asked for what the local one does not give.
            Err(error) if self.pool_may_help(frame, &error) => {}
            Err(error) => return Err(error),
        }
        self.data.blobs.read_frames(frame.segment, &[frame.frame]).await.map(drop)
    }

    fn read_whole_local(&self, frame: FrameId) -> Result<Option<()>> {
        let Some(len) = self.journal.frame_len(frame)? else { return Ok(None) };
        let mut bytes = vec![0; len as usize];
        self.journal.read(frame, 0..len, &mut bytes)
    }
}

fn users(read: &dyn MetaRead) -> Result<Users> {
    let mut users = Users::new();
    let mut named = Vec::new();
    scan(read, Column::Extent, &mut |key, value| {
        let (ino, _) = decode_pair(key).unwrap_or_default();
        if let Extent::Data { frame, len, .. } = Placed::decode(key, value)?.extent {
            named.push((frame, ino, u64::from(len)));
        }
        Ok(())
    })?;
    for (frame, ino, bytes) in named {
        let home = match forward_of(read, frame)? {
            Some(Forward::MovedTo(home)) => home,
            _ => frame,
        };
        users.entry(home).or_default().push((ino, bytes));
    }
    Ok(users)
}

/// Finds the paths of `files`: one pass over all names, and one over those of each folder on the way up.
fn name_files(read: &dyn MetaRead, files: &mut [DamagedFile]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let wanted: HashSet<Ino> = files.iter().map(|file| file.ino).collect();
    let mut names: HashMap<Ino, Vec<(Ino, Vec<u8>)>> = HashMap::new();
    // Folders have one name each; keeping all of them costs less than looking for each.
    let mut folders: HashMap<Ino, (Ino, Vec<u8>)> = HashMap::new();
    scan(read, Column::Dentry, &mut |key, value| {
        let (parent, name) = (Ino(keys::leading_number(key)?), keys::name_of(key)?.to_vec());
        let dentry = Dentry::decode(value)?;
        if dentry.kind == fs_api::FileKind::Directory {
            folders.insert(dentry.ino, (parent, name));
        } else if wanted.contains(&dentry.ino) {
            names.entry(dentry.ino).or_default().push((parent, name));
        }
        Ok(())
    })?;
    for file in files {
        let own = names.remove(&file.ino).unwrap_or_default();
        file.paths = own.into_iter().map(|(parent, name)| path(&folders, parent, name)).collect();
    }
    Ok(())
}

fn path(folders: &HashMap<Ino, (Ino, Vec<u8>)>, parent: Ino, name: Vec<u8>) -> Vec<u8> {
    let (mut parts, mut at) = (vec![name], parent);
    while let Some((above, name)) = folders.get(&at).filter(|_| at != ROOT_INO && parts.len() < DEPTH_MAX) {
        parts.push(name.clone());
        at = *above;
    }
    parts.reverse();
    let mut path = Vec::new();
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(&part);
    }
    path
}
