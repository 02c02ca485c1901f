//! Renaming: replace, not replace, exchange.

use fs_access::Victim;
use fs_api::{Context, Ino, ROOT_INO, RenameMode, Time};
use objstore_base::{Error, ErrorKind, Result};

use super::directory::{add_name, remove_name, replace_name, require_alive, require_same_project};
use super::{check_length, check_special};
use crate::change::Change;
use crate::engine::Engine;
use crate::records::{Dentry, Inode};

const OP: &str = "rename";

/// A name in a directory.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Ino,
    name: &'a [u8],
}

/// What a rename is about, seen under the stripes of both directories.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    source: Dentry,
    target: Option<Dentry>,
}

impl Seen {
    /// The inode whose stripe stands for the target's; the source's own where there is none.
    fn target_ino(&self) -> Ino {
        self.target.map_or(self.source.ino, |t| t.ino)
    }

    /// Whether a directory changes its parent, which can turn the tree into a loop.
    fn moves_directory(&self) -> bool {
        use fs_api::FileKind::Directory;
        self.source.kind == Directory || self.target.is_some_and(|t| t.kind == Directory)
    }
}

impl Engine {
    pub(crate) async fn rename_entry(
        &self,
        cx: &Context,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let (from, to) = (Place { parent, name }, Place { parent: new_parent, name: new_name });
        self.admit_metadata(cx, new_name.len()).await?;
        let lsn = self.rename_now(cx, from, to, mode)?;
        match lsn {
            Some(lsn) => self.settle(cx, lsn).await,
            None => Ok(()),
        }
    }

    /// `None` where both names are the same inode: nothing is to be done.
    fn rename_now(
        &self,
        cx: &Context,
        from: Place<'_>,
        to: Place<'_>,
        mode: RenameMode,
    ) -> Result<Option<cache_journal::Lsn>> {
        loop {
            let seen = self.see(cx, from, to, mode)?;
            let across = from.parent != to.parent && seen.moves_directory();
            // Taken before the stripes; with it held no other rename changes who is above whom.
            let _renames = across.then(|| self.renames.lock());
            let _stripes = self.stripes.write([from.parent, to.parent, seen.source.ino, seen.target_ino()]);
            if self.seen_locked(from, to)? != seen {
                continue;
            }
            if mode == RenameMode::NoReplace && seen.target.is_some() {
                return Err(Error::new(ErrorKind::Exists, OP));
            }
            if mode == RenameMode::Exchange && seen.target.is_none() {
                return Err(Error::new(ErrorKind::NotFound, OP));
            }
            if across {
                self.refuse_loop(from, to, &seen, mode)?;
            }
            if seen.target.is_some_and(|t| t.ino == seen.source.ino) {
                return Ok(None);
            }
            return Rename::prepare(self, cx, from, to, seen, mode)?.apply().map(Some);
        }
    }

    /// Both entries, with the permission to look for them. Linux's order of refusals: both directories, `.` and `..`,
    /// the source's name and whether it is there, the target's name.
    fn see(&self, cx: &Context, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> Result<Seen> {
        let _stripes = self.stripes.write([from.parent, to.parent]);
        for place in [from, to] {
            let directory = self.directory_locked(OP, place.parent)?;
            self.require_search(cx, &directory)?;
        }
        check_special(OP, from.name, ErrorKind::Busy)?;
        let taken = if mode == RenameMode::NoReplace { ErrorKind::Exists } else { ErrorKind::Busy };
        check_special(OP, to.name, taken)?;
        check_length(OP, from.name)?;
        self.existing_locked(OP, from.parent, from.name)?;
        check_length(OP, to.name)?;
        self.seen_locked(from, to)
    }

    fn seen_locked(&self, from: Place<'_>, to: Place<'_>) -> Result<Seen> {
        let source = self.existing_locked(OP, from.parent, from.name)?;
        Ok(Seen { source, target: self.dentry_locked(to.parent, to.name)? })
    }

    /// Neither inode may be above the directory it moves into.
    fn refuse_loop(&self, from: Place<'_>, to: Place<'_>, seen: &Seen, mode: RenameMode) -> Result<()> {
        if self.is_above(seen.source.ino, to.parent)? {
            return Err(Error::new(ErrorKind::InvalidArgument, OP).context("a directory cannot move into itself"));
        }
        if self.is_above(seen.target_ino(), from.parent)? {
            let kind = if mode == RenameMode::Exchange { ErrorKind::InvalidArgument } else { ErrorKind::NotEmpty };
            return Err(Error::new(kind, OP));
        }
        Ok(())
    }

    /// Whether `ancestor` is `ino` or above it. The caller holds `renames`, so the answer stays true.
    pub(crate) fn is_above(&self, ancestor: Ino, mut ino: Ino) -> Result<bool> {
        while ino != ancestor {
            if ino == ROOT_INO {
                return Ok(false);
            }
            ino = match self.inode_unlocked(ino) {
                Ok(inode) => inode.parent,
                // Removed meanwhile: an empty directory is above nothing.
                Err(e) if e.kind() == ErrorKind::Stale => return Ok(false),
                Err(e) => return Err(e),
            };
        }
        Ok(true)
    }
}

/// A rename that may be done: everything is checked, nothing is changed.
struct Rename<'a> {
    engine: &'a Engine,
    from: Place<'a>,
    to: Place<'a>,
    seen: Seen,
    mode: RenameMode,
    directory: Inode,
    /// `None` where it is the same directory.
    new_directory: Option<Inode>,
    source: Inode,
    target: Option<Inode>,
    now: Time,
    change: Change,
}

impl<'a> Rename<'a> {
    /// Checks in the order of Linux `vfs_rename`. All stripes are held.
    fn prepare(
        engine: &'a Engine,
        cx: &Context,
        from: Place<'a>,
        to: Place<'a>,
        seen: Seen,
        mode: RenameMode,
    ) -> Result<Self> {
        for ino in [Some(seen.source.ino), seen.target.map(|t| t.ino)].into_iter().flatten() {
            // What is gathered belongs before this change of the inode.
            if seen.target.is_none_or(|t| t.ino != ino) || mode == RenameMode::Exchange {
                engine.flush_gathered_locked(ino)?;
            }
        }
        let directory = engine.directory_locked(OP, from.parent)?;
        let other = (from.parent != to.parent).then(|| engine.directory_locked(OP, to.parent)).transpose()?;
        let source = engine.inode_locked(seen.source.ino)?;
        let target = seen.target.map(|t| engine.inode_locked(t.ino)).transpose()?;
        let rename = Self {
            engine,
            from,
            to,
            seen,
            mode,
            directory,
            new_directory: other,
            source,
            target,
            now: engine.now(),
            change: Change::new(cx),
        };
        rename.check(cx)?;
        Ok(rename)
    }

    fn new_directory(&self) -> &Inode {
        self.new_directory.as_ref().unwrap_or(&self.directory)
    }

    fn check(&self, cx: &Context) -> Result<()> {
        let engine = self.engine;
        engine.require_delete(cx, &self.directory, &self.source, Victim::Any)?;
        let exchange = self.mode == RenameMode::Exchange;
        match &self.target {
            None => {
                require_alive(OP, self.new_directory())?;
                engine.require_make(cx, self.new_directory(), None)?;
            }
            Some(target) => {
                let victim = match (exchange, self.source.is_dir()) {
                    (true, _) => Victim::Any,
                    (false, true) => Victim::Directory,
                    (false, false) => Victim::NotDirectory,
                };
                engine.require_delete(cx, self.new_directory(), target, victim)?;
            }
        }
        if self.new_directory.is_some() {
            // A directory that moves gets a new `..`: that is a write to it.
            let moved = [Some(&self.source), self.target.as_ref().filter(|_| exchange)];
            for inode in moved.into_iter().flatten().filter(|inode| inode.is_dir()) {
                engine.require(cx, inode, fs_access::WRITE)?;
            }
        }
        self.require_same_project(&self.source, self.new_directory())?;
        if let Some(target) = self.target.as_ref().filter(|_| exchange) {
            self.require_same_project(target, &self.directory)?;
        }
        if !exchange && self.target.as_ref().is_some_and(|target| target.entries > 0) {
            return Err(Error::new(ErrorKind::NotEmpty, OP));
        }
        Ok(())
    }

    /// What moves between directories of one project changes no account, whatever it counts for itself.
    fn require_same_project(&self, moved: &Inode, into: &Inode) -> Result<()> {
        if self.directory.project != self.new_directory().project {
            require_same_project(OP, moved, into)?;
        }
        self.engine.projects.note_move(moved, into);
        Ok(())
    }

    fn apply(mut self) -> Result<cache_journal::Lsn> {
        match self.mode {
            RenameMode::Exchange => self.exchange(),
            RenameMode::Replace | RenameMode::NoReplace => self.replace()?,
        }
        self.directory.touch_mtime(self.now);
        self.change.put_inode(&self.directory);
        if let Some(directory) = &mut self.new_directory {
            directory.touch_mtime(self.now);
            self.change.put_inode(directory);
        }
        self.engine.apply(self.change)
    }

    fn replace(&mut self) -> Result<()> {
        let (kind, source) = (self.source.kind, self.seen.source);
        remove_name(&mut self.directory, self.from.name, source, &mut self.change);
        let directory = self.new_directory.as_mut().unwrap_or(&mut self.directory);
        match self.seen.target {
            Some(before) => {
                replace_name(directory, self.to.name, before, source.ino, kind, &mut self.change);
            }
            None => add_name(directory, self.to.name, source.ino, kind, &mut self.change),
        }
        self.source.touch_ctime(self.now);
        if self.source.is_dir() {
            self.source.parent = self.to.parent;
        }
        self.change.put_inode(&self.source);
        match self.target.take() {
            Some(target) => self.engine.lose_name_locked(target, self.now, &mut self.change),
            None => Ok(()),
        }
    }

    fn exchange(&mut self) {
        let (Some(mut target), Some(target_entry)) = (self.target.take(), self.seen.target) else { return };
        let source_entry = self.seen.source;
        let (now, change) = (self.now, &mut self.change);
        replace_name(&mut self.directory, self.from.name, source_entry, target.ino, target.kind, change);
        let directory = self.new_directory.as_mut().unwrap_or(&mut self.directory);
        replace_name(directory, self.to.name, target_entry, self.source.ino, self.source.kind, change);
        for (inode, parent) in [(&mut self.source, self.to.parent), (&mut target, self.from.parent)] {
            inode.touch_ctime(now);
            if inode.is_dir() {
                inode.parent = parent;
            }
            change.put_inode(inode);
        }
    }
}
