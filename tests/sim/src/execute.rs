//! Runs one operation on any [`Vfs`] and puts the answer into a form that two filesystems can be compared by.

use std::collections::BTreeMap;

use bytes::Bytes;
use fs_api::{Attr, Context, Credentials, FileKind, HandleId, Ino, NewNode, OpenFlags, ROOT_INO, SetAttr, Target, Vfs};
use objstore_base::{ErrorKind, Result};

use crate::op::{Action, Actor, Fill, Key, Make, Op, Slot, Via};

/// Who [`Actor::User`] is, as user and as group.
pub const USER: u32 = 1000;
const LIST_ENTRIES: usize = 7;
const READ_WRITE: OpenFlags =
    OpenFlags { read: true, write: true, append: false, truncate: false, sync: false, execute: false };

/// Which inode a key is in one filesystem, and which handles are open there.
#[derive(Clone, Debug)]
pub struct Nodes {
    inos: BTreeMap<Key, Ino>,
    keys: BTreeMap<Ino, Key>,
    handles: BTreeMap<Slot, Opened>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    key: Key,
    handle: HandleId,
    append: bool,
    sync: bool,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        Self { inos: BTreeMap::from([(0, ROOT_INO)]), keys: BTreeMap::from([(ROOT_INO, 0)]), handles: BTreeMap::new() }
    }

    /// From now on `key` is `ino` here.
    pub fn learn(&mut self, key: Key, ino: Ino) {
        self.inos.insert(key, ino);
        self.keys.insert(ino, key);
    }

    pub fn ino(&self, key: Key) -> Option<Ino> {
        self.inos.get(&key).copied()
    }

    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.handles.keys().copied().collect()
    }

    pub(crate) fn slot_key(&self, slot: Slot) -> Option<Key> {
        self.handles.get(&slot).map(|opened| opened.key)
    }

    fn opened(&self, via: Via) -> Option<&Opened> {
        match via {
            Via::Node(_) => None,
            Via::Handle(slot) => self.handles.get(&slot),
        }
    }

    pub fn is_append(&self, via: Via) -> bool {
        self.opened(via).is_some_and(|opened| opened.append)
    }

    pub fn is_sync(&self, via: Via) -> bool {
        self.opened(via).is_some_and(|opened| opened.sync)
    }

    /// The node that a file operation is about.
    pub fn key_of(&self, via: Via) -> Option<Key> {
        match via {
            Via::Node(key) => Some(key),
            Via::Handle(slot) => self.slot_key(slot),
        }
    }

    /// After a start: nothing is open, and what `survivors` does not have is gone.
    pub(crate) fn restart(&mut self, survivors: &Self) {
        self.handles.clear();
        self.inos.retain(|key, _| survivors.inos.contains_key(key));
        self.keys.retain(|_, key| survivors.inos.contains_key(key));
    }

    pub fn key(&self, ino: Ino) -> Option<Key> {
        self.keys.get(&ino).copied()
    }

    fn find(&self, key: Key) -> Result<Ino> {
        self.ino(key).ok_or_else(|| objstore_base::Error::new(ErrorKind::Stale, "find node of the history"))
    }

    fn target(&self, via: Via) -> Result<Target> {
        match via {
            Via::Node(key) => self.find(key).map(Target::inode),
            Via::Handle(slot) => match self.handles.get(&slot) {
                Some(opened) => Ok(Target::opened(self.find(opened.key)?, opened.handle)),
                None => Err(objstore_base::Error::new(ErrorKind::BadHandle, "find handle of the history")),
            },
        }
    }
}

/// An attribute without times and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub node: Option<Key>,
    pub kind: FileKind,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of directories 0.
    pub size: u64,
}

impl Seen {
    pub fn of(nodes: &Nodes, attr: &Attr) -> Self {
        Self {
            node: nodes.key(attr.ino),
            kind: attr.kind,
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: if attr.kind == FileKind::Directory { 0 } else { attr.size },
        }
    }
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Failed(ErrorKind),
    Done,
    Seen(Seen),
    Created(Seen, bool),
    Bytes(Bytes),
    Count(u64),
    Names(Vec<Vec<u8>>),
    Listing(BTreeMap<Vec<u8>, (FileKind, Option<Key>)>),
}

impl Outcome {
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// The bytes of a write: a function of the request, so that every write is told from every other.
pub fn bytes_of(request: u64, fill: Fill) -> Vec<u8> {
    let mut word = request.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = |index: u32| {
        if fill.plain {
            return (request as u8).wrapping_add((index / 97) as u8) | 1;
        }
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 56) as u8
    };
    (0..fill.len).map(byte).collect()
}

/// Runs `op` on `vfs`, where nodes and handles are those of `nodes`.
pub async fn execute(vfs: &dyn Vfs, nodes: &mut Nodes, op: &Op) -> Outcome {
    run(vfs, nodes, op).await.unwrap_or_else(|error| Outcome::Failed(error.kind()))
}

/// What `op` is called with.
pub fn context(op: &Op) -> Context {
    let credentials = match op.actor {
        Actor::Root => Credentials::root(),
        Actor::User => Credentials::user(USER, USER, &[]),
    };
    Context { durability: op.durability, ..Context::new(op.request, credentials) }
}

async fn run(vfs: &dyn Vfs, nodes: &mut Nodes, op: &Op) -> Result<Outcome> {
    let cx = &context(op);
    match &op.action {
        Action::Lookup { .. }
        | Action::Make { .. }
        | Action::Create { .. }
        | Action::Link { .. }
        | Action::Unlink { .. }
        | Action::Rmdir { .. }
        | Action::Rename { .. }
        | Action::Readdir { .. } => names(vfs, cx, nodes, op).await,
        Action::Truncate { .. }
        | Action::Open { .. }
        | Action::Close { .. }
        | Action::Write { .. }
        | Action::Read { .. }
        | Action::Fallocate { .. }
        | Action::CopyRange { .. }
        | Action::Fsync { .. }
        | Action::Sync => files(vfs, cx, nodes, op).await,
        Action::Readlink { .. }
        | Action::Getattr { .. }
        | Action::Chmod { .. }
        | Action::Chown { .. }
        | Action::Setxattr { .. }
        | Action::Getxattr { .. }
        | Action::Listxattr { .. }
        | Action::Removexattr { .. } => attributes(vfs, cx, nodes, op).await,
    }
}

async fn names(vfs: &dyn Vfs, cx: &Context, nodes: &mut Nodes, op: &Op) -> Result<Outcome> {
    match &op.action {
        Action::Lookup { parent, name } => {
            let attr = vfs.lookup(cx, nodes.find(*parent)?, &[*name]).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Make { parent, name, what, mode } => {
            let node = match what {
                Make::Regular => NewNode::Regular,
                Make::Directory => NewNode::Directory,
                Make::Symlink => NewNode::Symlink(format!("target of {}", op.request).into_bytes()),
                Make::Fifo => NewNode::Fifo,
            };
            let attr = vfs.make(cx, nodes.find(*parent)?, &[*name], node, *mode, 0).await?;
            nodes.learn(op.request, attr.ino);
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Create { parent, name, mode, exclusive, slot } => {
            let parent = nodes.find(*parent)?;
            let made = vfs.create(cx, parent, &[*name], *mode, 0, READ_WRITE, *exclusive).await?;
            if made.created {
                nodes.learn(op.request, made.attr.ino);
            }
            match (slot, nodes.keys.get(&made.attr.ino)) {
                (Some(slot), Some(key)) => {
                    nodes
                        .handles
                        .insert(*slot, Opened { key: *key, handle: made.handle.id, append: false, sync: false });
                }
                _ => vfs.release(cx, made.attr.ino, made.handle.id).await?,
            }
            Ok(Outcome::Created(Seen::of(nodes, &made.attr), made.created))
        }
        Action::Link { node, parent, name } => {
            let attr = vfs.link(cx, nodes.find(*node)?, nodes.find(*parent)?, &[*name]).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Unlink { parent, name } => vfs.unlink(cx, nodes.find(*parent)?, &[*name]).await.map(|()| Outcome::Done),
        Action::Rmdir { parent, name } => vfs.rmdir(cx, nodes.find(*parent)?, &[*name]).await.map(|()| Outcome::Done),
        Action::Rename { from, to, mode } => {
            let (from_dir, to_dir) = (nodes.find(from.0)?, nodes.find(to.0)?);
            vfs.rename(cx, from_dir, &[from.1], to_dir, &[to.1], *mode).await.map(|()| Outcome::Done)
        }
        Action::Readdir { node } => listing(vfs, cx, nodes, *node).await,
        other => unreachable!("{other:?} is not about names"),
    }
}

async fn listing(vfs: &dyn Vfs, cx: &Context, nodes: &Nodes, node: Key) -> Result<Outcome> {
    let target = Target::inode(nodes.find(node)?);
    let mut names = BTreeMap::new();
    let mut cookie = 0;
    loop {
        let page = vfs.readdir(cx, target, cookie, LIST_ENTRIES, false).await?;
        for entry in &page.entries {
            assert!(entry.cookie > cookie, "cookies ascend: {} after {cookie}", entry.cookie);
            cookie = entry.cookie;
            let key = nodes.keys.get(&entry.ino).copied();
            let twice = names.insert(entry.name.clone(), (entry.kind, key));
            assert!(twice.is_none(), "{:?} is listed twice", entry.name);
        }
        assert!(page.end || !page.entries.is_empty(), "a listing that is not at its end goes on");
        if page.end {
            return Ok(Outcome::Listing(names));
        }
    }
}

async fn attributes(vfs: &dyn Vfs, cx: &Context, nodes: &Nodes, op: &Op) -> Result<Outcome> {
    let xattr = |name: u8| format!("user.{}", char::from(name)).into_bytes();
    match &op.action {
        Action::Readlink { node } => vfs.readlink(cx, nodes.find(*node)?).await.map(Outcome::Bytes),
        Action::Getattr { node } => {
            let attr = vfs.getattr(cx, Target::inode(nodes.find(*node)?)).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Chmod { node, mode } => {
            let set = SetAttr { mode: Some(*mode), ..SetAttr::default() };
            let attr = vfs.setattr(cx, Target::inode(nodes.find(*node)?), set).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Chown { node, uid, gid } => {
            let set = SetAttr { uid: Some(*uid), gid: Some(*gid), ..SetAttr::default() };
            let attr = vfs.setattr(cx, Target::inode(nodes.find(*node)?), set).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Setxattr { node, name, len, mode } => {
            let value = bytes_of(op.request, Fill { len: *len, plain: true });
            vfs.setxattr(cx, nodes.find(*node)?, &xattr(*name), &value, *mode).await.map(|()| Outcome::Done)
        }
        Action::Getxattr { node, name } => {
            vfs.getxattr(cx, nodes.find(*node)?, &xattr(*name)).await.map(Outcome::Bytes)
        }
        Action::Listxattr { node } => {
            let mut names = vfs.listxattr(cx, nodes.find(*node)?).await?;
            names.sort();
            Ok(Outcome::Names(names))
        }
        Action::Removexattr { node, name } => {
            vfs.removexattr(cx, nodes.find(*node)?, &xattr(*name)).await.map(|()| Outcome::Done)
        }
        other => unreachable!("{other:?} is not about attributes"),
    }
}

async fn files(vfs: &dyn Vfs, cx: &Context, nodes: &mut Nodes, op: &Op) -> Result<Outcome> {
    match &op.action {
        Action::Open { node, slot, append, sync } => {
            let flags = OpenFlags { append: *append, sync: *sync, ..READ_WRITE };
            let handle = vfs.open(cx, nodes.find(*node)?, flags).await?;
            nodes.handles.insert(*slot, Opened { key: *node, handle: handle.id, append: *append, sync: *sync });
            Ok(Outcome::Done)
        }
        Action::Close { slot } => match nodes.handles.remove(slot) {
            Some(opened) => vfs.release(cx, nodes.find(opened.key)?, opened.handle).await.map(|()| Outcome::Done),
            None => Ok(Outcome::Done),
        },
        Action::Truncate { via, size } => {
            let set = SetAttr { size: Some(*size), ..SetAttr::default() };
            let attr = vfs.setattr(cx, nodes.target(*via)?, set).await?;
            Ok(Outcome::Seen(Seen::of(nodes, &attr)))
        }
        Action::Write { via, offset, fill } => {
            let written = vfs.write(cx, nodes.target(*via)?, *offset, &bytes_of(op.request, *fill)).await?;
            Ok(Outcome::Count(written.into()))
        }
        Action::Read { via, offset, len } => vfs.read(cx, nodes.target(*via)?, *offset, *len).await.map(Outcome::Bytes),
        Action::Fallocate { via, offset, len, mode } => {
            vfs.fallocate(cx, nodes.target(*via)?, *offset, *len, *mode).await.map(|()| Outcome::Done)
        }
        Action::CopyRange { from, from_offset, to, to_offset, len } => {
            let (from, to) = (nodes.target(*from)?, nodes.target(*to)?);
            vfs.copy_range(cx, from, *from_offset, to, *to_offset, *len).await.map(Outcome::Count)
        }
        Action::Fsync { via, data_only } => {
            vfs.fsync(cx, nodes.target(*via)?, *data_only).await.map(|()| Outcome::Done)
        }
        Action::Sync => vfs.sync(cx).await.map(|()| Outcome::Done),
        other => unreachable!("{other:?} is not about files"),
    }
}
