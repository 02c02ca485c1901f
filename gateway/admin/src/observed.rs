//! [`Observed`]: a `Vfs` that tells about every operation that goes through it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fs_api::{
    AccessMask, Attr, Context, Created, DoorId, FallocateMode, Handle, HandleId, Ino, Listing, LockOwner, LockRequest,
    LockSpace, LockWait, NewNode, OpenFlags, Receipt, Registration, RenameMode, SeekFrom, SetAttr, StatFs, Target, Vfs,
    Watcher, XattrMode,
};
use futures::FutureExt;
use objstore_base::{BoxFuture, Error, Result};
use objstore_env::Env;

use crate::counters::DoorCounters;
use crate::observatory::Observatory;
use crate::op::Op;
use crate::trace::Line;

/// One door's way to the filesystem.
pub struct Observed {
    inner: Arc<dyn Vfs>,
    env: Env,
    observatory: Arc<Observatory>,
    counters: Arc<DoorCounters>,
}

/// What an operation is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    op: Op,
    ino: Ino,
    name: Option<&'a [u8]>,
    to: Option<(Ino, &'a [u8])>,
    offset: u64,
    len: u64,
}

impl<'a> Subject<'a> {
    const fn new(op: Op, ino: Ino) -> Self {
        Self { op, ino, name: None, to: None, offset: 0, len: 0 }
    }

    const fn named(op: Op, parent: Ino, name: &'a [u8]) -> Self {
        Self { name: Some(name), ..Self::new(op, parent) }
    }

    const fn range(mut self, offset: u64, len: u64) -> Self {
        self.offset = offset;
        self.len = len;
        self
    }

    const fn to(mut self, parent: Ino, name: &'a [u8]) -> Self {
        self.to = Some((parent, name));
        self
    }
}

impl Observed {
    /// Counts what goes through it as `door`.
    pub fn new(inner: Arc<dyn Vfs>, env: &Env, observatory: Arc<Observatory>, door: &str) -> Arc<Self> {
        let counters = observatory.door(door);
        Arc::new(Self { inner, env: env.clone(), observatory, counters })
    }

    fn watch<'a, T: Send + 'a>(
        &'a self,
        cx: &'a Context,
        subject: Subject<'a>,
        work: BoxFuture<'a, Result<T>>,
        bytes: impl Fn(&T) -> u64 + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        self.learn_from(cx, subject, work, bytes, |_| None)
    }

    /// As [`Observed::watch`]; `learn` says which inode the operation's name leads to now.
    fn learn_from<'a, T: Send + 'a>(
        &'a self,
        cx: &'a Context,
        subject: Subject<'a>,
        work: BoxFuture<'a, Result<T>>,
        bytes: impl Fn(&T) -> u64 + Send + 'a,
        learn: impl Fn(&T) -> Option<Ino> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        async move {
            let under_way = self.counters.begin();
            let begin = self.env.clock.monotonic();
            let result = work.await;
            let took = self.env.clock.monotonic().saturating_sub(begin);
            drop(under_way);
            let moved = result.as_ref().map_or(0, bytes);
            let client = cx.origin.as_ref().map(|origin| origin.client.as_str());
            self.counters.note(subject.op, client, took, moved, result.is_err());
            if self.observatory.is_watched() {
                if let (Ok(value), Some((parent, name))) =
                    (&result, subject.to.or(subject.name.map(|n| (subject.ino, n))))
                    && let Some(ino) = learn(value)
                {
                    self.observatory.names.learn(parent, name, ino);
                }
                self.tell(cx, subject, took, result.as_ref().err());
            }
            result
        }
        .boxed()
    }

    fn tell(&self, cx: &Context, subject: Subject<'_>, took: Duration, error: Option<&Error>) {
        let names = &self.observatory.names;
        let (client, share) = cx.origin.as_ref().map(|o| (o.client.clone(), o.share.clone())).unwrap_or_default();
        let line = Line {
            time_ms: u64::try_from(self.env.clock.wall().0 / 1_000_000).unwrap_or(0),
            door: self.counters.door.clone(),
            client,
            share,
            uid: cx.credentials.uid,
            request: cx.request,
            op: subject.op.name().to_owned(),
            ino: subject.ino.0,
            path: names.path(subject.ino, subject.name),
            to: subject.to.map(|(parent, name)| names.path(parent, Some(name))).unwrap_or_default(),
            offset: subject.offset,
            len: subject.len,
            dur_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            result: error.map_or_else(|| "ok".to_owned(), |error| format!("{:?}", error.kind())),
        };
        self.observatory.tell(line, subject.op.is_audited());
    }
}

const fn none<T>(_: &T) -> u64 {
    0
}

impl Vfs for Observed {
    fn lookup<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        let subject = Subject::named(Op::Lookup, parent, name);
        self.learn_from(cx, subject, self.inner.lookup(cx, parent, name), none, |attr| Some(attr.ino))
    }

    fn make_with<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        node: NewNode,
        mode: u32,
        umask: u32,
        set: SetAttr,
    ) -> BoxFuture<'a, Result<Attr>> {
        let subject = Subject::named(Op::making(&node), parent, name);
        let work = self.inner.make_with(cx, parent, name, node, mode, umask, set);
        self.learn_from(cx, subject, work, none, |attr| Some(attr.ino))
    }

    fn create<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: OpenFlags,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Created>> {
        let subject = Subject::named(Op::Create, parent, name);
        let work = self.inner.create(cx, parent, name, mode, umask, flags, exclusive);
        self.learn_from(cx, subject, work, none, |created| Some(created.attr.ino))
    }

    fn link<'a>(&'a self, cx: &'a Context, ino: Ino, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Attr>> {
        let subject = Subject::new(Op::Link, ino).to(parent, name);
        self.learn_from(cx, subject, self.inner.link(cx, ino, parent, name), none, |attr| Some(attr.ino))
    }

    fn unlink<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::named(Op::Unlink, parent, name), self.inner.unlink(cx, parent, name), none)
    }

    fn rmdir<'a>(&'a self, cx: &'a Context, parent: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::named(Op::Rmdir, parent, name), self.inner.rmdir(cx, parent, name), none)
    }

    fn rename<'a>(
        &'a self,
        cx: &'a Context,
        parent: Ino,
        name: &'a [u8],
        new_parent: Ino,
        new_name: &'a [u8],
        mode: RenameMode,
    ) -> BoxFuture<'a, Result<()>> {
        let subject = Subject::named(Op::Rename, parent, name).to(new_parent, new_name);
        self.watch(cx, subject, self.inner.rename(cx, parent, name, new_parent, new_name, mode), none)
    }

    fn readlink<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Bytes>> {
        self.watch(cx, Subject::new(Op::Readlink, ino), self.inner.readlink(cx, ino), none)
    }

    fn readdir<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> BoxFuture<'a, Result<Listing>> {
        let subject = Subject::new(Op::Readdir, target.ino).range(cookie, limit as u64);
        let listing = self.watch(cx, subject, self.inner.readdir(cx, target, cookie, limit, with_attr), none);
        async move {
            let listing = listing.await?;
            if self.observatory.is_watched() {
                let names = &self.observatory.names;
                listing.entries.iter().for_each(|entry| names.learn(target.ino, &entry.name, entry.ino));
            }
            Ok(listing)
        }
        .boxed()
    }

    fn getattr<'a>(&'a self, cx: &'a Context, target: Target) -> BoxFuture<'a, Result<Attr>> {
        self.watch(cx, Subject::new(Op::Getattr, target.ino), self.inner.getattr(cx, target), none)
    }

    fn setattr<'a>(&'a self, cx: &'a Context, target: Target, set: SetAttr) -> BoxFuture<'a, Result<Attr>> {
        self.watch(cx, Subject::new(Op::Setattr, target.ino), self.inner.setattr(cx, target, set), none)
    }

    fn access<'a>(&'a self, cx: &'a Context, ino: Ino, mask: AccessMask) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Access, ino), self.inner.access(cx, ino, mask), none)
    }

    fn getxattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<Bytes>> {
        self.watch(cx, Subject::new(Op::Getxattr, ino), self.inner.getxattr(cx, ino, name), none)
    }

    fn setxattr<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        name: &'a [u8],
        value: &'a [u8],
        mode: XattrMode,
    ) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Setxattr, ino), self.inner.setxattr(cx, ino, name, value, mode), none)
    }

    fn listxattr<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        self.watch(cx, Subject::new(Op::Listxattr, ino), self.inner.listxattr(cx, ino), none)
    }

    fn removexattr<'a>(&'a self, cx: &'a Context, ino: Ino, name: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Removexattr, ino), self.inner.removexattr(cx, ino, name), none)
    }

    fn hold(&self, door: DoorId, ino: Ino, count: u64) {
        self.inner.hold(door, ino, count);
    }

    fn unhold(&self, door: DoorId, ino: Ino, count: u64) {
        self.inner.unhold(door, ino, count);
    }

    fn holds(&self, door: DoorId, ino: Ino) -> bool {
        self.inner.holds(door, ino)
    }

    fn held(&self, door: DoorId) -> Vec<Ino> {
        self.inner.held(door)
    }

    fn leave(&self, door: DoorId) {
        self.inner.leave(door);
    }

    fn open<'a>(&'a self, cx: &'a Context, ino: Ino, flags: OpenFlags) -> BoxFuture<'a, Result<Handle>> {
        self.watch(cx, Subject::new(Op::Open, ino), self.inner.open(cx, ino, flags), none)
    }

    fn release<'a>(&'a self, cx: &'a Context, ino: Ino, handle: HandleId) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Release, ino), self.inner.release(cx, ino, handle), none)
    }

    fn read<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, len: u32) -> BoxFuture<'a, Result<Bytes>> {
        let subject = Subject::new(Op::Read, target.ino).range(offset, len.into());
        self.watch(cx, subject, self.inner.read(cx, target, offset, len), |bytes| bytes.len() as u64)
    }

    fn write<'a>(&'a self, cx: &'a Context, target: Target, offset: u64, data: &'a [u8]) -> BoxFuture<'a, Result<u32>> {
        let subject = Subject::new(Op::Write, target.ino).range(offset, data.len() as u64);
        self.watch(cx, subject, self.inner.write(cx, target, offset, data), |written| u64::from(*written))
    }

    fn flush<'a>(&'a self, cx: &'a Context, target: Target, owner: LockOwner) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Flush, target.ino), self.inner.flush(cx, target, owner), none)
    }

    fn fsync<'a>(&'a self, cx: &'a Context, target: Target, data_only: bool) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Fsync, target.ino), self.inner.fsync(cx, target, data_only), none)
    }

    fn fallocate<'a>(
        &'a self,
        cx: &'a Context,
        target: Target,
        offset: u64,
        len: u64,
        mode: FallocateMode,
    ) -> BoxFuture<'a, Result<()>> {
        let subject = Subject::new(Op::Fallocate, target.ino).range(offset, len);
        self.watch(cx, subject, self.inner.fallocate(cx, target, offset, len, mode), none)
    }

    fn seek<'a>(&'a self, cx: &'a Context, target: Target, from: SeekFrom) -> BoxFuture<'a, Result<u64>> {
        self.watch(cx, Subject::new(Op::Seek, target.ino), self.inner.seek(cx, target, from), none)
    }

    fn copy_range<'a>(
        &'a self,
        cx: &'a Context,
        source: Target,
        source_offset: u64,
        target: Target,
        target_offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<u64>> {
        let subject = Subject::new(Op::Copy, target.ino).range(target_offset, len);
        let work = self.inner.copy_range(cx, source, source_offset, target, target_offset, len);
        self.watch(cx, subject, work, |copied| *copied)
    }

    fn test_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
    ) -> BoxFuture<'a, Result<Option<LockRequest>>> {
        self.watch(cx, Subject::new(Op::TestLock, ino), self.inner.test_lock(cx, ino, request), none)
    }

    fn set_lock<'a>(
        &'a self,
        cx: &'a Context,
        ino: Ino,
        request: LockRequest,
        wait: LockWait,
    ) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::SetLock, ino), self.inner.set_lock(cx, ino, request, wait), none)
    }

    fn drop_locks(&self, ino: Ino, space: LockSpace, owner: LockOwner) {
        self.inner.drop_locks(ino, space, owner);
    }

    fn statfs<'a>(&'a self, cx: &'a Context, ino: Ino) -> BoxFuture<'a, Result<StatFs>> {
        self.watch(cx, Subject::new(Op::Statfs, ino), self.inner.statfs(cx, ino), none)
    }

    fn sync<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        self.watch(cx, Subject::new(Op::Sync, fs_api::ROOT_INO), self.inner.sync(cx), none)
    }

    fn watch(&self, door: DoorId, watcher: Arc<dyn Watcher>) -> Registration {
        self.inner.watch(door, watcher)
    }

    fn receipts(&self) -> Result<Vec<Receipt>> {
        self.inner.receipts()
    }

    fn attr_lifetime(&self) -> Duration {
        self.inner.attr_lifetime()
    }
}
