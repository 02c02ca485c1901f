//! Two filesystems side by side: each is dumped through its [`Vfs`] into a canonical tree, and the trees are compared.
//!
//! Inode numbers, times and cookies are left out, for they differ between any two filesystems; names that share an
//! inode are recognised by the path that comes first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use fs_api::{Attr, Context, FileKind, Ino, ROOT_INO, SeekFrom, Target, Vfs};
use objstore_base::{ErrorKind, Result, ResultExt};

const READ_BYTES: u32 = 1 << 20;
const LIST_ENTRIES: usize = 100;

/// What is looked at besides names, attributes and content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// `st_blocks` and the ranges of data that `SEEK_DATA` and `SEEK_HOLE` report.
    pub layout: bool,
}

/// All that is compared of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub rdev: u64,
    /// Of directories 0.
    pub size: u64,
    /// Hash of the content; of other kinds than regular files 0.
    pub content: u64,
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode, where it is another one.
    pub same_as: Option<Vec<u8>>,
    pub layout: Option<Layout>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub blocks: u64,
    pub data: Vec<Range<u64>>,
}

/// Path (components separated by `/`; the root is empty) → entry.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// Everything that `vfs` holds, as `cx` (root, best) sees it.
pub async fn dump(vfs: &dyn Vfs, cx: &Context, depth: Depth) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut first_paths = BTreeMap::new();
    let mut pending = vec![(Vec::new(), ROOT_INO)];
    while let Some((path, ino)) = pending.pop() {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let mut entry = entry(vfs, cx, ino, depth).await.why(shown.clone())?;
        match first_paths.entry(ino) {
            MapEntry::Vacant(first) => {
                first.insert(path.clone());
            }
            MapEntry::Occupied(first) => entry.same_as = Some(first.get().clone()),
        }
        if entry.kind == FileKind::Directory {
            let mut names = names(vfs, cx, ino).await.why(shown)?;
            // The last one is looked at first: descending names give ascending paths.
            names.sort_unstable_by(|a, b| b.cmp(a));
            pending.extend(names.into_iter().map(|(name, ino)| (join(&path, &name), ino)));
        }
        tree.insert(path, entry);
    }
    Ok(tree)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The inode at `path` (as in [`Tree`]); symbolic links are not followed.
pub async fn find(vfs: &dyn Vfs, cx: &Context, path: &[u8]) -> Result<Attr> {
    let mut attr = vfs.getattr(cx, Target::inode(ROOT_INO)).await?;
    for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        attr = vfs.lookup(cx, attr.ino, name).await?;
    }
    Ok(attr)
}

/// All names of a directory but `.` and `..`, listed in small steps.
pub(crate) async fn names(vfs: &dyn Vfs, cx: &Context, ino: Ino) -> Result<Vec<(Vec<u8>, Ino)>> {
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let listing = vfs.readdir(cx, Target::inode(ino), cookie, LIST_ENTRIES, false).await?;
        cookie = listing.entries.last().map_or(cookie, |entry| entry.cookie);
        let (end, empty) = (listing.end, listing.entries.is_empty());
        let proper = listing.entries.into_iter().filter(|entry| entry.name != b"." && entry.name != b"..");
        names.extend(proper.map(|entry| (entry.name, entry.ino)));
        if end || empty {
            return Ok(names);
        }
    }
}

async fn entry(vfs: &dyn Vfs, cx: &Context, ino: Ino, depth: Depth) -> Result<Entry> {
    let attr = vfs.getattr(cx, Target::inode(ino)).await?;
    let regular = attr.kind == FileKind::Regular;
    let mut xattrs = BTreeMap::new();
    for name in vfs.listxattr(cx, ino).await? {
        let value = vfs.getxattr(cx, ino, &name).await?;
        xattrs.insert(name, value.to_vec());
    }
    Ok(Entry {
        kind: attr.kind,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        nlink: attr.nlink,
        rdev: attr.rdev,
        size: if attr.kind == FileKind::Directory { 0 } else { attr.size },
        content: if regular { content(vfs, cx, &attr).await? } else { 0 },
        target: if attr.kind == FileKind::Symlink { vfs.readlink(cx, ino).await?.to_vec() } else { Vec::new() },
        xattrs,
        same_as: None,
        layout: if regular && depth.layout { Some(layout(vfs, cx, &attr).await?) } else { None },
    })
}

/// Hashes the data with its offsets, so that a sparse file of a tebibyte costs what it holds. Zeros count as a hole.
async fn content(vfs: &dyn Vfs, cx: &Context, attr: &Attr) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for range in data(vfs, cx, attr).await? {
        let mut at = range.start;
        while at < range.end {
            // Cut at fixed offsets, wherever the ranges begin and end.
            let len = (READ_BYTES as u64 - at % READ_BYTES as u64).min(range.end - at);
            let bytes = vfs.read(cx, Target::inode(attr.ino), at, len as u32).await?;
            for (i, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                hasher.write_u64(at + i as u64);
                hasher.write_u8(*byte);
            }
            at += len;
        }
    }
    Ok(hasher.finish())
}

async fn data(vfs: &dyn Vfs, cx: &Context, attr: &Attr) -> Result<Vec<Range<u64>>> {
    let target = Target::inode(attr.ino);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < attr.size {
        let start = match vfs.seek(cx, target, SeekFrom::Data(at)).await {
            Ok(start) => start,
            Err(e) if e.kind() == ErrorKind::NoDeviceOrAddress => break,
            Err(e) => return Err(e),
        };
        at = vfs.seek(cx, target, SeekFrom::Hole(start)).await?;
        ranges.push(start..at);
    }
    Ok(ranges)
}

async fn layout(vfs: &dyn Vfs, cx: &Context, attr: &Attr) -> Result<Layout> {
    Ok(Layout { blocks: attr.blocks, data: data(vfs, cx, attr).await? })
}

/// What differs, one line per path; empty where the trees are equal.
pub fn difference(left: &Tree, right: &Tree) -> String {
    let mut lines = String::new();
    let mut line = |path: &[u8], text: String| {
        writeln!(lines, "/{}: {text}", String::from_utf8_lossy(path)).expect("a string takes everything");
    };
    for (path, entry) in left {
        match right.get(path) {
            None => line(path, format!("only on the left: {entry:?}")),
            Some(other) if other != entry => line(path, format!("left {entry:?}, right {other:?}")),
            Some(_) => {}
        }
    }
    for (path, entry) in right.iter().filter(|(path, _)| !left.contains_key(*path)) {
        line(path, format!("only on the right: {entry:?}"));
    }
    lines
}
