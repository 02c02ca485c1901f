//! What of the model survives: inodes, names, bytes, attributes. What only processes hold is elsewhere.

use std::collections::BTreeMap;

use fs_access::{ACCESS_ACL_XATTR, Acl, DEFAULT_ACL_XATTR, Node};
use fs_api::{Attr, FileKind, Ino, NAME_BYTES_MAX, ROOT_INO, Time};
use objstore_base::{Error, ErrorKind, Result};

use crate::content::Content;

pub(crate) const DIRECTORY_BYTES: u64 = 4096;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    File(Content),
    Directory(Directory),
    Symlink(Vec<u8>),
    /// Fifos, sockets, devices.
    Special,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Directory {
    pub(crate) parent: Ino,
    pub(crate) names: BTreeMap<Vec<u8>, Entry>,
    pub(crate) next_cookie: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) ino: Ino,
    pub(crate) cookie: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inode {
    /// `size` and `blocks` are filled in by [`Inode::attr`].
    pub(crate) stored: Attr,
    pub(crate) body: Body,
    /// ACLs among them, where they say more than the mode.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Inode {
    pub(crate) fn attr(&self) -> Attr {
        let (size, bytes) = match &self.body {
            Body::File(content) => (content.size, content.allocated()),
            Body::Directory(_) => (DIRECTORY_BYTES, 0),
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Special => (0, 0),
        };
        Attr { size, blocks: bytes.div_ceil(512), ..self.stored }
    }

    pub(crate) fn node(&self) -> Node {
        Node::from(&self.stored)
    }

    pub(crate) fn acl(&self) -> Option<Acl> {
        self.acl_named(ACCESS_ACL_XATTR)
    }

    pub(crate) fn default_acl(&self) -> Option<Acl> {
        self.acl_named(DEFAULT_ACL_XATTR)
    }

    fn acl_named(&self, name: &[u8]) -> Option<Acl> {
        self.xattrs.get(name).and_then(|value| Acl::decode(value).expect("only valid ACLs are stored"))
    }

    pub(crate) fn put_acl(&mut self, name: &[u8], acl: Option<Acl>) {
        match acl {
            Some(acl) => self.xattrs.insert(name.to_vec(), acl.encode()),
            None => self.xattrs.remove(name),
        };
    }

    pub(crate) fn directory(&self) -> Result<&Directory> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Error::new(ErrorKind::NotDirectory, "use directory").entity(self.stored.ino)),
        }
    }

    pub(crate) fn content(&self) -> Result<&Content> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Error::new(ErrorKind::IsDirectory, "use file").entity(self.stored.ino)),
            _ => Err(Error::new(ErrorKind::InvalidArgument, "use file").entity(self.stored.ino)),
        }
    }

    pub(crate) fn touch_ctime(&mut self, now: Time) {
        self.stored.ctime = now;
        self.stored.change += 1;
    }

    pub(crate) fn touch_mtime(&mut self, now: Time) {
        self.stored.mtime = now;
        self.touch_ctime(now);
    }
}

/// The whole filesystem at one moment. Equal states look the same through every operation but for inode numbers'
/// owners: they are compared with their inode numbers, times and cookies.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) inodes: BTreeMap<Ino, Inode>,
    pub(crate) next_ino: u64,
    /// Ticks once per change, and stands for the time.
    pub(crate) clock: i64,
}

impl State {
    pub(crate) fn new(uid: u32, gid: u32, mode: u32) -> Self {
        let mut state = Self { inodes: BTreeMap::new(), next_ino: ROOT_INO.0, clock: 0 };
        let root = Directory { parent: ROOT_INO, names: BTreeMap::new(), next_cookie: 3 };
        state.add_inode(FileKind::Directory, Body::Directory(root), (uid, gid, mode, 0));
        state
    }

    pub(crate) fn now(&mut self) -> Time {
        self.clock += 1;
        Time { secs: self.clock, nanos: 0 }
    }

    pub(crate) fn add_inode(&mut self, kind: FileKind, body: Body, owner: (u32, u32, u32, u64)) -> Ino {
        let (ino, now) = (Ino(self.next_ino), self.now());
        self.next_ino += 1;
        let (uid, gid, mode, rdev) = owner;
        let nlink = if kind == FileKind::Directory { 2 } else { 1 };
        let stored = Attr {
            ino,
            kind,
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            change: 1,
        };
        self.inodes.insert(ino, Inode { stored, body, xattrs: BTreeMap::new() });
        ino
    }

    pub(crate) fn inode(&self, ino: Ino) -> Result<&Inode> {
        self.inodes.get(&ino).ok_or_else(|| Error::new(ErrorKind::Stale, "find inode").entity(ino))
    }

    pub(crate) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or_else(|| Error::new(ErrorKind::Stale, "find inode").entity(ino))
    }

    pub(crate) fn directory_mut(&mut self, ino: Ino) -> Result<&mut Directory> {
        match &mut self.inode_mut(ino)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Error::new(ErrorKind::NotDirectory, "use directory").entity(ino)),
        }
    }

    pub(crate) fn content_mut(&mut self, ino: Ino) -> Result<&mut Content> {
        match &mut self.inode_mut(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Error::new(ErrorKind::IsDirectory, "use file").entity(ino)),
            _ => Err(Error::new(ErrorKind::InvalidArgument, "use file").entity(ino)),
        }
    }

    /// What a crash leaves: inodes without names are freed.
    pub(crate) fn without_orphans(mut self) -> Self {
        self.inodes.retain(|_, inode| inode.stored.nlink > 0);
        self
    }
}

/// # Errors
/// `NameTooLong`; `InvalidArgument` for an empty name or one with `/` or NUL.
pub(crate) fn check_name(op: &'static str, name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, op));
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::new(ErrorKind::InvalidArgument, op));
    }
    Ok(())
}
