//! Files, directories and filesystems of a simulated disk, live and durable, changed only by [`Change`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use nix::libc;

use super::content::Content;
use super::names::Names;
use super::pages::PAGE_BYTES;
use super::survival::{Chooser, Survival};

pub(super) type NodeId = u64;
pub(super) const ROOT: NodeId = 1;
/// A capacity that no test fills: the space in use need not be counted at every write.
pub(super) const UNLIMITED_BYTES: u64 = 1 << 50;

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Dir,
}

/// Everything that can happen to a disk: the alphabet of recorded traces.
#[derive(Clone)]
pub(super) enum Change {
    Make {
        dir: NodeId,
        name: String,
        node: NodeId,
        kind: Kind,
    },
    Remove {
        dir: NodeId,
        name: String,
    },
    Rename {
        from: (NodeId, String),
        to: (NodeId, String),
    },
    Write {
        node: NodeId,
        offset: u64,
        bytes: Bytes,
    },
    SetLen {
        node: NodeId,
        len: u64,
    },
    Reserve {
        node: NodeId,
        range: Range<u64>,
    },
    Sync {
        node: NodeId,
    },
    LoseSync {
        node: NodeId,
        seed: u64,
    },
    SyncDir {
        dir: NodeId,
    },
    /// Nothing happens to the disk; the recording test wants to find this moment again.
    Mark(u64),
}

#[derive(Clone)]
pub(super) enum Node {
    File(Box<Content>),
    Dir,
}

#[derive(Clone)]
struct Filesystem {
    root: PathBuf,
    capacity: u64,
}

#[derive(Clone)]
pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    names: Names,
    next_node: NodeId,
    sequence: u64,
    /// Nested ones after what they are nested in; the first is the root.
    filesystems: Vec<Filesystem>,
}

impl State {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir)]),
            names: Names::default(),
            next_node: ROOT + 1,
            sequence: 0,
            filesystems: vec![Filesystem { root: PathBuf::from("/"), capacity }],
        }
    }

    // Finding ----------------------------------------------------------------------------------------------------

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in parts(path)? {
            node = self.child(node, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(node)
    }

    /// The directory a path ends in, and the last name.
    pub(super) fn find_parent<'a>(&self, path: &'a Path) -> io::Result<(NodeId, &'a str)> {
        let mut names = parts(path)?;
        let name = names.pop().ok_or_else(|| errno(libc::EBUSY))?;
        let mut dir = ROOT;
        for part in names {
            dir = self.child(dir, part)?.ok_or_else(|| errno(libc::ENOENT))?;
        }
        match self.kind(dir)? {
            Kind::Dir => Ok((dir, name)),
            Kind::File => Err(errno(libc::ENOTDIR)),
        }
    }

    pub(super) fn child(&self, dir: NodeId, name: &str) -> io::Result<Option<NodeId>> {
        match self.kind(dir)? {
            Kind::Dir => Ok(self.names.get(dir, name)),
            Kind::File => Err(errno(libc::ENOTDIR)),
        }
    }

    pub(super) fn kind(&self, node: NodeId) -> io::Result<Kind> {
        match self.nodes.get(&node) {
            Some(Node::File(_)) => Ok(Kind::File),
            Some(Node::Dir) => Ok(Kind::Dir),
            None => Err(errno(libc::ESTALE)),
        }
    }

    pub(super) fn file(&self, node: NodeId) -> io::Result<&Content> {
        match self.nodes.get(&node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ESTALE)),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ESTALE)),
        }
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        self.nodes.values_mut().filter_map(|node| match node {
            Node::File(content) => Some(&mut **content),
            Node::Dir => None,
        })
    }

    pub(super) fn entries(&self, dir: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.names.list(dir)
    }

    pub(super) const fn next_node(&self) -> NodeId {
        self.next_node
    }

    /// Whether `node` is `dir` or lies under it.
    pub(super) fn is_under(&self, node: NodeId, dir: NodeId) -> bool {
        node == dir || self.names.list(dir).any(|(_, child)| self.is_under(node, child))
    }

    // Space ------------------------------------------------------------------------------------------------------

    pub(super) fn mount(&mut self, root: &Path, capacity: u64) {
        match self.filesystems.iter_mut().find(|filesystem| filesystem.root == root) {
            Some(filesystem) => filesystem.capacity = capacity,
            None => self.filesystems.push(Filesystem { root: root.to_owned(), capacity }),
        }
        self.filesystems.sort_by_key(|filesystem| filesystem.root.components().count());
    }

    /// The number of the filesystem that holds `path`.
    pub(super) fn filesystem(&self, path: &Path) -> usize {
        self.filesystems.iter().rposition(|filesystem| path.starts_with(&filesystem.root)).unwrap_or(0)
    }

    /// Total and used bytes.
    pub(super) fn space(&self, filesystem: usize) -> (u64, u64) {
        let mut pages = 0;
        self.count_used(ROOT, Path::new("/"), filesystem, &mut pages);
        (self.filesystems[filesystem].capacity, pages * PAGE_BYTES as u64)
    }

    /// Whether anything can ever fail for want of space there.
    pub(super) fn is_unlimited(&self, filesystem: usize) -> bool {
        self.filesystems[filesystem].capacity >= UNLIMITED_BYTES
    }

    fn count_used(&self, dir: NodeId, path: &Path, filesystem: usize, pages: &mut u64) {
        for (name, node) in self.names.list(dir) {
            let path = path.join(name);
            match &self.nodes[&node] {
                Node::File(content) if self.filesystem(&path) == filesystem => *pages += content.occupied(),
                Node::File(_) => {}
                Node::Dir => self.count_used(node, &path, filesystem, pages),
            }
        }
    }

    // Changing ---------------------------------------------------------------------------------------------------

    /// Carries out a change that the caller has checked.
    pub(super) fn apply(&mut self, change: &Change) -> io::Result<()> {
        self.sequence += 1;
        let sequence = self.sequence;
        match change {
            Change::Make { dir, name, node, kind } => {
                self.next_node = self.next_node.max(node + 1);
                let made = match kind {
                    Kind::File => Node::File(Box::default()),
                    Kind::Dir => Node::Dir,
                };
                self.nodes.insert(*node, made);
                self.names.change(sequence, [((*dir, name.clone()), Some(*node))]);
            }
            Change::Remove { dir, name } => self.names.change(sequence, [((*dir, name.clone()), None)]),
            Change::Rename { from, to } => {
                let node = self.names.get(from.0, &from.1).ok_or_else(|| errno(libc::ENOENT))?;
                self.names.change(sequence, [(from.clone(), None), (to.clone(), Some(node))]);
            }
            Change::Write { node, offset, bytes } => self.file_mut(*node)?.write(sequence, *offset, bytes),
            Change::SetLen { node, len } => self.file_mut(*node)?.set_len(sequence, *len),
            Change::Reserve { node, range } => self.file_mut(*node)?.reserve(sequence, range.clone()),
            Change::Sync { node } => self.file_mut(*node)?.sync(),
            Change::LoseSync { node, seed } => {
                let mut chooser = Chooser::new(Survival::Scattered, *seed, 0..0);
                self.file_mut(*node)?.lose(&mut chooser);
            }
            Change::SyncDir { dir } => self.names.sync(*dir),
            Change::Mark(_) => {}
        }
        Ok(())
    }

    /// Frees nodes that no name, live or durable or on its way, leads to, and that nobody holds open.
    pub(super) fn collect(&mut self, is_open: impl Fn(NodeId) -> bool) {
        for node in self.names.take_unnamed(is_open) {
            self.nodes.remove(&node);
        }
    }

    /// Makes everything durable, as `sync(2)` does.
    pub(super) fn sync_all(&mut self) {
        self.names.sync_all();
        for content in self.files_mut() {
            if content.first_unsynced().is_some() {
                content.sync();
            }
        }
    }

    /// The disk after a crash; `seed` decides what of the unsynced is kept.
    pub(super) fn crash(&self, survival: Survival, seed: u64) -> Self {
        let unsynced = self.first_unsynced()..self.sequence + 1;
        let mut chooser = Chooser::new(survival, seed, unsynced);
        let names = self.names.crash(&mut chooser);
        let mut reachable = BTreeSet::from([ROOT]);
        let mut to_visit = vec![ROOT];
        while let Some(dir) = to_visit.pop() {
            to_visit.extend(names.list(dir).map(|(_, node)| node).filter(|&node| reachable.insert(node)));
        }
        let nodes = self.nodes.iter().filter(|(node, _)| reachable.contains(node)).map(|(&id, node)| {
            let node = match node {
                Node::File(content) => Node::File(Box::new(content.crash(&mut chooser))),
                Node::Dir => Node::Dir,
            };
            (id, node)
        });
        let nodes = nodes.collect();
        let mut after = Self {
            nodes,
            names,
            next_node: self.next_node,
            sequence: self.sequence,
            filesystems: self.filesystems.clone(),
        };
        after.names.retain_dirs(&reachable);
        after
    }

    fn first_unsynced(&self) -> u64 {
        // A node without a future has no say: whether it was collected already must make no difference.
        let possible = self.names.possible();
        let contents = possible.iter().filter_map(|node| match self.nodes.get(node)? {
            Node::File(content) => content.first_unsynced(),
            Node::Dir => None,
        });
        contents.chain(self.names.first_unsynced()).min().unwrap_or(self.sequence + 1)
    }
}

/// The names of a path from the root; a relative path starts there too.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let names = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    names
        .map(|part| match part {
            Component::Normal(name) => name.to_str().ok_or_else(|| errno(libc::EILSEQ)),
            _ => Err(errno(libc::EINVAL)),
        })
        .map(|name| match name {
            Ok(name) if name.len() > 255 => Err(errno(libc::ENAMETOOLONG)),
            name => name,
        })
        .collect()
}
