//! Directory listings.

use crate::{Attr, FileKind, Ino};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub ino: Ino,
    pub kind: FileKind,
    /// Position of this entry; passing it back continues after it. Fixed while the name lives, never reused in the
    /// directory. `.` and `..` have 1 and 2; a listing starts after 0.
    pub cookie: u64,
    pub name: Vec<u8>,
    /// Present where the listing asked for attributes (and then for every entry but those that vanished meanwhile).
    pub attr: Option<Attr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<DirEntry>,
    /// No entry follows the last one.
    pub end: bool,
}
