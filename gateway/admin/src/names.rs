//! Paths of inodes, as far as names have been seen while somebody watched.
//!
//! A door asks by inode; a person wants to read a path. What lookups and changes of names tell is remembered, bounded.
//! An inode whose name went by unseen is shown by its number.

use std::sync::Arc;

use fs_api::{Ino, ROOT_INO};
use quick_cache::sync::Cache;

/// Names that are remembered.
const NAMES_MAX: usize = 65_536;
/// A tree deeper than this is shown from here down; also ends a circle that a race of renames may leave here.
const DEPTH_MAX: usize = 128;

struct Name {
    parent: Ino,
    name: Box<[u8]>,
}

pub(crate) struct Names(Cache<Ino, Arc<Name>>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(Cache::new(NAMES_MAX))
    }

    pub(crate) fn learn(&self, parent: Ino, name: &[u8], ino: Ino) {
        if !matches!(name, b"." | b"..") {
            self.0.insert(ino, Arc::new(Name { parent, name: name.into() }));
        }
    }

    /// The path of `ino`, or of `name` in the directory `ino`.
    pub(crate) fn path(&self, ino: Ino, name: Option<&[u8]>) -> String {
        let mut parts: Vec<String> = name.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let mut at = ino;
        while at != ROOT_INO {
            match self.0.get(&at).filter(|_| parts.len() < DEPTH_MAX) {
                Some(known) => {
                    parts.push(String::from_utf8_lossy(&known.name).into_owned());
                    at = known.parent;
                }
                None => {
                    parts.push(format!("[{at}]"));
                    parts.reverse();
                    return parts.join("/");
                }
            }
        }
        parts.reverse();
        format!("/{}", parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_long_as_what_is_known() {
        let names = Names::new();
        names.learn(ROOT_INO, b"a", Ino(2));
        names.learn(Ino(2), b"b", Ino(3));
        names.learn(Ino(3), b"..", Ino(2));
        assert_eq!(names.path(ROOT_INO, None), "/");
        assert_eq!(names.path(ROOT_INO, Some(b"x")), "/x");
        assert_eq!(names.path(Ino(3), Some(b"new")), "/a/b/new");
        assert_eq!(names.path(Ino(9), Some(b"x")), "[inode 9]/x");
        names.learn(Ino(2), b"circle", Ino(2));
        assert!(names.path(Ino(2), None).starts_with("[inode 2]/circle/circle"));
    }
}
