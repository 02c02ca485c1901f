//! Directories: finding, making, removing and moving names.

use std::collections::BTreeMap;

use fs_access::{ACCESS_ACL_XATTR, DEFAULT_ACL_XATTR, EXECUTE, Node, READ, Victim, WRITE};
use fs_api::{
    Attr, Context, Created, DirEntry, FILE_BYTES_MAX, FileKind, Ino, LINKS_MAX, Listing, NewNode, OpenFlags, ROOT_INO,
    RenameMode, SYMLINK_BYTES_MAX, SetAttr, SetTime, Target,
};
use objstore_base::{Error, ErrorKind, Result};

use crate::content::Content;
use crate::model::Inner;
use crate::state::{Body, Directory, Entry, check_name};

fn fail<T>(kind: ErrorKind, op: &'static str) -> Result<T> {
    Err(Error::new(kind, op))
}

/// Whether the maker of `made` may give it `set` from the start.
fn require_first(cx: &Context, made: &Node, set: &SetAttr) -> Result<()> {
    const OP: &str = "set attributes";
    if set.mode.is_some() {
        return fail(ErrorKind::InvalidArgument, OP);
    }
    fs_access::may_set(&cx.credentials, made, None, set, true)?;
    if set.size.is_some_and(|size| size > FILE_BYTES_MAX) { fail(ErrorKind::FileTooLarge, OP) } else { Ok(()) }
}

impl Inner {
    /// The directory `ino`, in which the caller may look for names.
    fn search(&self, cx: &Context, ino: Ino) -> Result<&Directory> {
        let directory = self.state.inode(ino)?.directory()?;
        self.check(cx, ino, EXECUTE)?;
        Ok(directory)
    }

    /// The entry `name` of `parent`, in which the caller may look for names; `.` and `..` are `special`.
    fn entry(
        &self,
        cx: &Context,
        op: &'static str,
        parent: Ino,
        name: &[u8],
        special: ErrorKind,
    ) -> Result<Option<Entry>> {
        let directory = self.search(cx, parent)?;
        check_name(op, name)?;
        match name {
            b"." | b".." => fail(special, op),
            _ => Ok(directory.names.get(name).copied()),
        }
    }

    pub(crate) fn lookup(&self, cx: &Context, parent: Ino, name: &[u8]) -> Result<Attr> {
        let directory = self.search(cx, parent)?;
        check_name("look up", name)?;
        let ino = match name {
            b"." => parent,
            b".." => directory.parent,
            _ => match directory.names.get(name) {
                Some(entry) => entry.ino,
                None => return fail(ErrorKind::NotFound, "look up"),
            },
        };
        Ok(self.state.inode(ino)?.attr())
    }

    /// A removed directory takes no names.
    fn require_living(&self, op: &'static str, parent: Ino) -> Result<()> {
        if self.state.inode(parent)?.stored.nlink == 0 { fail(ErrorKind::NotFound, op) } else { Ok(()) }
    }

    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and of setattr")]
    pub(crate) fn make(
        &mut self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: SetAttr,
    ) -> Result<Attr> {
        const OP: &str = "make";
        match &node {
            NewNode::Symlink(target) if target.is_empty() => return fail(ErrorKind::NotFound, OP),
            NewNode::Symlink(target) if target.len() > SYMLINK_BYTES_MAX => return fail(ErrorKind::NameTooLong, OP),
            NewNode::Symlink(target) if target.contains(&0) => return fail(ErrorKind::InvalidArgument, OP),
            _ => {}
        }
        if self.entry(cx, OP, parent, name, ErrorKind::Exists)?.is_some() {
            return fail(ErrorKind::Exists, OP);
        }
        self.require_living(OP, parent)?;
        let directory = self.state.inode(parent)?;
        fs_access::may_make(&cx.credentials, &directory.node(), directory.acl().as_ref(), &node)?;
        let ino = self.add_node(cx, parent, name, node, mode, umask, &set)?;
        Ok(self.state.inode(ino)?.attr())
    }

    #[expect(clippy::too_many_arguments, reason = "all of mknod(2) and of setattr")]
    fn add_node(
        &mut self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: &SetAttr,
    ) -> Result<Ino> {
        let directory = Directory { parent, names: BTreeMap::new(), next_cookie: 3 };
        let (kind, body, rdev) = match node {
            NewNode::Regular => (FileKind::Regular, Body::File(Content::default()), 0),
            NewNode::Directory => (FileKind::Directory, Body::Directory(directory), 0),
            NewNode::Symlink(target) => (FileKind::Symlink, Body::Symlink(target), 0),
            NewNode::Fifo => (FileKind::Fifo, Body::Special, 0),
            NewNode::Socket => (FileKind::Socket, Body::Special, 0),
            NewNode::CharDevice(rdev) => (FileKind::CharDevice, Body::Special, rdev),
            NewNode::BlockDevice(rdev) => (FileKind::BlockDevice, Body::Special, rdev),
        };
        let parent_inode = self.state.inode(parent)?;
        let default_acl = parent_inode.default_acl();
        let new = fs_access::inherit(&cx.credentials, &parent_inode.node(), default_acl.as_ref(), kind, mode, umask);
        let made = Node { kind, mode: new.mode, uid: new.uid, gid: new.gid };
        require_first(cx, &made, set)?;
        let owner = fs_access::owner_after(&cx.credentials, &made, set);
        let ino = self.state.add_inode(kind, body, (owner.uid, owner.gid, owner.mode, rdev));
        if let Some(size) = set.size {
            self.state.content_mut(ino)?.truncate(size);
        }
        let inode = self.state.inode_mut(ino)?;
        let first = inode.stored.ctime;
        let resolve = |time| match time {
            SetTime::Now => first,
            SetTime::To(time) => time,
        };
        inode.stored.atime = set.atime.map_or(first, resolve);
        inode.stored.mtime = set.mtime.map_or(first, resolve);
        inode.put_acl(ACCESS_ACL_XATTR, new.access_acl);
        inode.put_acl(DEFAULT_ACL_XATTR, new.default_acl);
        self.add_name(parent, name, ino)?;
        Ok(ino)
    }

    fn add_name(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<()> {
        let now = self.state.now();
        let is_dir = self.node(ino)?.is_dir();
        let directory = self.state.directory_mut(parent)?;
        let entry = Entry { ino, cookie: directory.next_cookie };
        directory.next_cookie += 1;
        directory.names.insert(name.to_vec(), entry);
        let inode = self.state.inode_mut(parent)?;
        inode.stored.nlink += u32::from(is_dir);
        inode.touch_mtime(now);
        self.adopt(parent, ino)
    }

    /// A directory knows what it is in.
    fn adopt(&mut self, parent: Ino, ino: Ino) -> Result<()> {
        if let Body::Directory(directory) = &mut self.state.inode_mut(ino)?.body {
            directory.parent = parent;
        }
        Ok(())
    }

    /// Takes the name away; its inode keeps its link count.
    fn remove_name(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<()> {
        let now = self.state.now();
        let is_dir = self.node(ino)?.is_dir();
        self.state.directory_mut(parent)?.names.remove(name);
        let inode = self.state.inode_mut(parent)?;
        inode.stored.nlink -= u32::from(is_dir);
        inode.touch_mtime(now);
        Ok(())
    }

    fn lose_link(&mut self, ino: Ino) -> Result<()> {
        let now = self.state.now();
        let inode = self.state.inode_mut(ino)?;
        inode.stored.nlink = if inode.node().is_dir() { 0 } else { inode.stored.nlink - 1 };
        inode.touch_ctime(now);
        self.reap(ino);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "all of open(2) with O_CREAT")]
    pub(crate) fn create(
        &mut self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> Result<Created> {
        const OP: &str = "create";
        let special = if exclusive { ErrorKind::Exists } else { ErrorKind::IsDirectory };
        if let Some(found) = self.entry(cx, OP, parent, name, special)? {
            if exclusive {
                return fail(ErrorKind::Exists, OP);
            }
            if self.node(found.ino)?.is_dir() {
                return fail(ErrorKind::IsDirectory, OP);
            }
            let handle = self.open_inode(cx, found.ino, flags)?;
            return Ok(Created { attr: self.state.inode(found.ino)?.attr(), handle, created: false });
        }
        self.require_living(OP, parent)?;
        let directory = self.state.inode(parent)?;
        fs_access::may_create(&cx.credentials, &directory.node(), directory.acl().as_ref())?;
        let ino = self.add_node(cx, parent, name, NewNode::Regular, mode, umask, &SetAttr::default())?;
        let handle = self.open(cx.door, ino, flags);
        Ok(Created { attr: self.state.inode(ino)?.attr(), handle, created: true })
    }

    pub(crate) fn link(&mut self, cx: &Context, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        const OP: &str = "link";
        self.state.inode(ino)?;
        if self.entry(cx, OP, parent, name, ErrorKind::Exists)?.is_some() {
            return fail(ErrorKind::Exists, OP);
        }
        self.require_living(OP, parent)?;
        let (source, directory) = (self.state.inode(ino)?, self.state.inode(parent)?);
        fs_access::may_link(&cx.credentials, &source.node(), &directory.node(), directory.acl().as_ref())?;
        match source.stored.nlink {
            0 => return fail(ErrorKind::NotFound, OP),
            LINKS_MAX.. => return fail(ErrorKind::TooManyLinks, OP),
            _ => {}
        }
        let now = self.state.now();
        let inode = self.state.inode_mut(ino)?;
        inode.stored.nlink += 1;
        inode.touch_ctime(now);
        self.add_name(parent, name, ino)?;
        Ok(self.state.inode(ino)?.attr())
    }

    fn may_delete(&self, cx: &Context, parent: Ino, ino: Ino, victim: Victim) -> Result<()> {
        let directory = self.state.inode(parent)?;
        let acl = directory.acl();
        fs_access::may_delete(&cx.credentials, &directory.node(), acl.as_ref(), &self.node(ino)?, victim)
    }

    fn require_empty(&self, op: &'static str, ino: Ino) -> Result<()> {
        match &self.state.inode(ino)?.body {
            Body::Directory(directory) if !directory.names.is_empty() => fail(ErrorKind::NotEmpty, op),
            _ => Ok(()),
        }
    }

    pub(crate) fn unlink(&mut self, cx: &Context, parent: Ino, name: &[u8]) -> Result<()> {
        let entry = self.entry(cx, "unlink", parent, name, ErrorKind::IsDirectory)?;
        self.remove(cx, "unlink", parent, name, entry, Victim::NotDirectory)
    }

    pub(crate) fn rmdir(&mut self, cx: &Context, parent: Ino, name: &[u8]) -> Result<()> {
        let special = if name == b"." { ErrorKind::InvalidArgument } else { ErrorKind::NotEmpty };
        let entry = self.entry(cx, "rmdir", parent, name, special)?;
        self.remove(cx, "rmdir", parent, name, entry, Victim::Directory)
    }

    fn remove(
        &mut self,
        cx: &Context,
        op: &'static str,
        parent: Ino,
        name: &[u8],
        entry: Option<Entry>,
        victim: Victim,
    ) -> Result<()> {
        let Some(Entry { ino, .. }) = entry else { return fail(ErrorKind::NotFound, op) };
        self.may_delete(cx, parent, ino, victim)?;
        self.require_empty(op, ino)?;
        self.remove_name(parent, name, ino)?;
        self.lose_link(ino)
    }

    /// Whether `ancestor` is `ino` or above it.
    fn is_above(&self, ancestor: Ino, mut ino: Ino) -> Result<bool> {
        while ino != ancestor {
            if ino == ROOT_INO {
                return Ok(false);
            }
            ino = self.state.inode(ino)?.directory()?.parent;
        }
        Ok(true)
    }

    pub(crate) fn rename(
        &mut self,
        cx: &Context,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        const OP: &str = "rename";
        let exchange = mode == RenameMode::Exchange;
        let special = if mode == RenameMode::NoReplace { ErrorKind::Exists } else { ErrorKind::Busy };
        // Both ways are walked before either name is looked at.
        self.search(cx, from.0)?;
        self.search(cx, to.0)?;
        if matches!(from.1, b"." | b"..") {
            return fail(ErrorKind::Busy, OP);
        }
        if matches!(to.1, b"." | b"..") {
            return fail(special, OP);
        }
        let Some(source) = self.entry(cx, OP, from.0, from.1, ErrorKind::Busy)? else {
            return fail(ErrorKind::NotFound, OP);
        };
        let target = self.entry(cx, OP, to.0, to.1, special)?;
        match target {
            Some(_) if mode == RenameMode::NoReplace => return fail(ErrorKind::Exists, OP),
            None if exchange => return fail(ErrorKind::NotFound, OP),
            _ => {}
        }
        if self.is_above(source.ino, to.0)? {
            return fail(ErrorKind::InvalidArgument, OP);
        }
        if target.is_some_and(|target| self.is_above(target.ino, from.0).unwrap_or(false)) {
            return fail(if exchange { ErrorKind::InvalidArgument } else { ErrorKind::NotEmpty }, OP);
        }
        if target.is_some_and(|target| target.ino == source.ino) {
            return Ok(());
        }
        self.may_rename(cx, from.0, source.ino, to.0, target.map(|target| target.ino), exchange)?;
        match target {
            Some(target) if exchange => self.exchange(from, source, to, target),
            _ => self.replace(from, source, to, target),
        }
    }

    fn may_rename(
        &self,
        cx: &Context,
        from: Ino,
        source: Ino,
        to: Ino,
        target: Option<Ino>,
        exchange: bool,
    ) -> Result<()> {
        const OP: &str = "rename";
        let is_dir = self.node(source)?.is_dir();
        self.may_delete(cx, from, source, Victim::Any)?;
        match target {
            None => {
                self.require_living(OP, to)?;
                let directory = self.state.inode(to)?;
                fs_access::may_create(&cx.credentials, &directory.node(), directory.acl().as_ref())?;
            }
            Some(target) if exchange => self.may_delete(cx, to, target, Victim::Any)?,
            Some(target) if is_dir => self.may_delete(cx, to, target, Victim::Directory)?,
            Some(target) => self.may_delete(cx, to, target, Victim::NotDirectory)?,
        }
        // A directory that moves gets a new `..`.
        for ino in [Some(source), target.filter(|_| exchange)].into_iter().flatten() {
            if from != to && self.node(ino)?.is_dir() {
                self.check(cx, ino, WRITE)?;
            }
        }
        target.filter(|_| !exchange).map_or(Ok(()), |target| self.require_empty(OP, target))
    }

    fn replace(&mut self, from: (Ino, &[u8]), source: Entry, to: (Ino, &[u8]), target: Option<Entry>) -> Result<()> {
        self.remove_name(from.0, from.1, source.ino)?;
        if let Some(target) = target {
            self.remove_name(to.0, to.1, target.ino)?;
        }
        self.add_name(to.0, to.1, source.ino)?;
        self.touch(source.ino)?;
        if let Some(target) = target {
            // A replaced name keeps its place in listings.
            if let Some(entry) = self.state.directory_mut(to.0)?.names.get_mut(to.1) {
                entry.cookie = target.cookie;
            }
            self.lose_link(target.ino)?;
        }
        Ok(())
    }

    fn exchange(&mut self, from: (Ino, &[u8]), source: Entry, to: (Ino, &[u8]), target: Entry) -> Result<()> {
        self.remove_name(from.0, from.1, source.ino)?;
        self.remove_name(to.0, to.1, target.ino)?;
        self.add_name(from.0, from.1, target.ino)?;
        self.add_name(to.0, to.1, source.ino)?;
        for (place, entry) in [(from, source), (to, target)] {
            if let Some(now) = self.state.directory_mut(place.0)?.names.get_mut(place.1) {
                now.cookie = entry.cookie;
            }
            self.touch(entry.ino)?;
        }
        Ok(())
    }

    fn touch(&mut self, ino: Ino) -> Result<()> {
        let now = self.state.now();
        self.state.inode_mut(ino)?.touch_ctime(now);
        Ok(())
    }

    pub(crate) fn readdir(
        &self,
        cx: &Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> Result<Listing> {
        let open = self.handle(target)?;
        let inode = self.state.inode(target.ino)?;
        let directory = inode.directory()?;
        if open.is_none() {
            self.check(cx, target.ino, READ)?;
        }
        if inode.stored.nlink == 0 {
            return fail(ErrorKind::NotFound, "list directory");
        }
        let dots = [(1, target.ino, b".".as_slice()), (2, directory.parent, b"..")];
        let names = directory.names.iter().map(|(name, entry)| (entry.cookie, entry.ino, name.as_slice()));
        let mut all: Vec<_> = dots.into_iter().chain(names).filter(|(at, ..)| *at > cookie).collect();
        all.sort_unstable();
        let end = all.len() <= limit;
        all.truncate(limit);
        let entry = |(cookie, ino, name): (u64, Ino, &[u8])| {
            let attr = self.state.inode(ino)?.attr();
            Ok(DirEntry { ino, kind: attr.kind, cookie, name: name.to_vec(), attr: with_attr.then_some(attr) })
        };
        Ok(Listing { entries: all.into_iter().map(entry).collect::<Result<_>>()?, end })
    }
}
