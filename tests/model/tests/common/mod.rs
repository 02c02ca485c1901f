//! The model driven by paths, as a user of it would.

#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;

use bytes::Bytes;
use fs_api::*;
use futures::future::FutureExt;
use objstore_base::{ErrorKind, Result};
use tests_model::Model;
use tests_model::compare::{self, Depth, Tree};

/// Everything but a contended lock is ready at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing in the model waits")
}

pub fn root() -> Context {
    Context::new(1, Credentials::root())
}

pub fn user(uid: u32, gid: u32) -> Context {
    Context::new(1, Credentials::user(uid, gid, &[]))
}

pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("it must fail").kind()
}

pub struct World {
    pub model: Model,
}

impl World {
    pub fn new() -> Self {
        Self { model: Model::with_root(0, 0, 0o777) }
    }

    pub fn ino(&self, path: &str) -> Ino {
        now(compare::find(&self.model, &root(), path.as_bytes())).unwrap_or_else(|e| panic!("{path}: {e}")).ino
    }

    pub fn attr(&self, path: &str) -> Attr {
        now(self.model.getattr(&root(), Target::inode(self.ino(path)))).unwrap()
    }

    pub fn has(&self, path: &str) -> bool {
        now(compare::find(&self.model, &root(), path.as_bytes())).is_ok()
    }

    fn split<'p>(&self, path: &'p str) -> (Ino, &'p [u8]) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.ino(parent), name.as_bytes())
    }

    pub fn make(&self, cx: &Context, path: &str, node: NewNode, mode: u32) -> Result<Attr> {
        let (parent, name) = self.split(path);
        now(self.model.make(cx, parent, name, node, mode, 0))
    }

    pub fn mkdir(&self, path: &str) -> Ino {
        self.make(&root(), path, NewNode::Directory, 0o755).unwrap().ino
    }

    pub fn file(&self, path: &str, content: &[u8]) -> Ino {
        let ino = self.make(&root(), path, NewNode::Regular, 0o644).unwrap().ino;
        now(self.model.write(&root(), Target::inode(ino), 0, content)).unwrap();
        ino
    }

    pub fn read(&self, path: &str) -> Bytes {
        now(self.model.read(&root(), Target::inode(self.ino(path)), 0, 1 << 20)).unwrap()
    }

    pub fn unlink(&self, cx: &Context, path: &str) -> Result<()> {
        let (parent, name) = self.split(path);
        now(self.model.unlink(cx, parent, name))
    }

    pub fn rmdir(&self, cx: &Context, path: &str) -> Result<()> {
        let (parent, name) = self.split(path);
        now(self.model.rmdir(cx, parent, name))
    }

    pub fn rename(&self, cx: &Context, from: &str, to: &str, mode: RenameMode) -> Result<()> {
        let ((parent, name), (new_parent, new_name)) = (self.split(from), self.split(to));
        now(self.model.rename(cx, parent, name, new_parent, new_name, mode))
    }

    pub fn link(&self, from: &str, to: &str) -> Result<Attr> {
        let (parent, name) = self.split(to);
        now(self.model.link(&root(), self.ino(from), parent, name))
    }

    pub fn dump(&self) -> Tree {
        now(compare::dump(&self.model, &root(), Depth { layout: true })).unwrap()
    }
}
