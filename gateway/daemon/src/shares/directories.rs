//! The directories of shares, as the store has them.

use fs_api::{Context, Credentials, FileKind, Ino, NewNode, ROOT_INO, Vfs};
use fs_engine::Engine;
use nix::unistd::{getegid, geteuid};
use objstore_base::ErrorKind;

use super::quota;
use super::record::{ShareRecord, ShareTerms};
use crate::exit::Failure;

/// Of a directory that `--make` makes.
const MADE_MODE: u32 = 0o755;

/// The directory at `path`, made with those above it where it is missing and `make` says so.
///
/// # Errors
/// With what to do: it is no directory, or not there, or could not have the limits of `terms`.
pub(super) async fn find_or_make(engine: &Engine, path: &str, make: bool, terms: &ShareTerms) -> Result<Ino, Failure> {
    let refuse = |why: &str| Failure::refuse("create share", path, why);
    match engine.lookup_path(path.as_bytes()) {
        Ok(inode) if inode.kind == FileKind::Directory => return Ok(inode.ino),
        Ok(inode) if inode.kind == FileKind::Symlink => {
            return Err(refuse("it is a symbolic link: name the directory itself"));
        }
        Ok(_) => return Err(refuse("it is no directory: name the one it lies in")),
        Err(error) if error.kind() == ErrorKind::NotDirectory => {
            return Err(refuse("a part of it is a file or a link: name directories only"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound && make => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(refuse("there is no such directory in the store: make it, or let it be made with --make"));
        }
        Err(error) => return Err(error.into()),
    }
    quota::require_none_at(engine, nearest(engine, path), terms).map_err(|why| refuse(&why))?;
    // As whoever runs the service, who owns the root of the store.
    let owner = Credentials::user(geteuid().as_raw(), getegid().as_raw(), &[]);
    let cx = Context::new(0, owner);
    let mut parent = ROOT_INO;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let made = engine.make(&cx, parent, name.as_bytes(), NewNode::Directory, MADE_MODE, 0).await;
        parent = match made {
            Ok(attr) => attr.ino,
            Err(error) if error.kind() == ErrorKind::Exists => engine.lookup(&cx, parent, name.as_bytes()).await?.ino,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(parent)
}

/// The last directory on the way to `path` that is there.
fn nearest(engine: &Engine, path: &str) -> Ino {
    let there = path.match_indices('/').filter_map(|(end, _)| engine.lookup_path(&path.as_bytes()[..end]).ok());
    there.last().map_or(ROOT_INO, |inode| inode.ino)
}

/// What has become of the directory since it was shared, in a word.
pub(super) fn state(engine: &Engine, record: &ShareRecord) -> &'static str {
    match engine.lookup_path(record.directory.as_bytes()) {
        Ok(inode) if inode.ino.0 == record.inode => "there",
        _ if engine.inspect(Ino(record.inode)).is_ok_and(|inode| inode.nlink > 0) => "renamed",
        _ => "removed",
    }
}

/// `ino` and the directories above it.
pub(super) fn around(engine: &Engine, mut ino: Ino) -> Vec<Ino> {
    let mut around = vec![ino];
    while ino != ROOT_INO
        && let Ok(inode) = engine.inspect(ino)
        && !around.contains(&inode.parent)
    {
        ino = inode.parent;
        around.push(ino);
    }
    around
}
