//! [`SimDisk`]: a disk in memory that forgets what was not synced, tears, reorders, fails by rule, and tells what was
//! done to it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;
use parking_lot::{Mutex, MutexGuard};

use super::faults::{Effect, Fault, FaultId, Faults, Ops};
use super::file::SimFile;
use super::latency::Latency;
use super::rng::SimRng;
use super::state::{Change, Kind, NodeId, State, UNLIMITED_BYTES, errno};
use super::survival::Survival;
use super::trace::Trace;
use crate::{DirEntry, Disk, DiskFile, DiskLock, DiskMetadata, DiskSpace, OpenMode, Rng};

/// The stream of the disk's own generator under its seed.
const STREAM: u64 = 1;

/// How much was asked of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub reads: u64,
    pub bytes_read: u64,
    pub writes: u64,
    pub bytes_written: u64,
    pub syncs: u64,
    pub dir_syncs: u64,
}

/// One power-on of a simulated disk; clones share it. After `crash` or `power_off` every call on it, and on files and
/// locks taken from it, fails or counts for nothing, so that leftovers of the dead program cannot touch the disk of
/// the next one.
#[derive(Clone)]
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
    pub(super) boot: u64,
}

pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    rng: SimRng,
    latency: Latency,
}

pub(super) struct Inner {
    pub(super) state: State,
    /// The power-on that is running; `None` while the power is off.
    boot: Option<u64>,
    boots: u64,
    /// Changes until the power goes, where a test asked for it.
    power_off_after: Option<u64>,
    pub(super) open: HashMap<NodeId, usize>,
    locks: HashSet<NodeId>,
    faults: Faults,
    trace: Option<Trace>,
    pub(super) counts: Counts,
}

impl SimDisk {
    /// An empty disk; `seed` decides torn writes, flipped bits and what crashes leave.
    pub fn new(seed: u64) -> Self {
        Self::with_state(State::new(UNLIMITED_BYTES), seed)
    }

    pub(super) fn with_state(state: State, seed: u64) -> Self {
        let inner = Inner {
            state,
            boot: Some(0),
            boots: 0,
            power_off_after: None,
            open: HashMap::new(),
            locks: HashSet::new(),
            faults: Faults::default(),
            trace: None,
            counts: Counts::default(),
        };
        let shared =
            Shared { inner: Mutex::new(inner), rng: SimRng::stream(seed, STREAM), latency: Latency::default() };
        Self { shared: Arc::new(shared), boot: 0 }
    }

    /// What slow calls owe in time, for [`super::SimTasks`].
    pub fn latency(&self) -> Latency {
        self.shared.latency.clone()
    }

    // Crashes ----------------------------------------------------------------------------------------------------

    /// Cuts the power now: every call fails until `crash` has given the next power-on.
    pub fn power_off(&self) {
        self.shared.inner.lock().power_off();
    }

    /// Lets `changes` more changes happen and cuts the power in place of the next one.
    pub fn power_off_after(&self, changes: u64) {
        self.shared.inner.lock().power_off_after = Some(changes);
    }

    /// Takes back `power_off_after`.
    pub fn spare(&self) {
        self.shared.inner.lock().power_off_after = None;
    }

    pub fn is_off(&self) -> bool {
        self.shared.inner.lock().boot != Some(self.boot)
    }

    /// Crashes the disk (at the moment the power went, if it is off) and gives it powered on again. Faults stay armed:
    /// they belong to the medium.
    pub fn crash(&self, survival: Survival) -> Self {
        let seed = self.shared.rng.next_u64();
        let mut inner = self.shared.inner.lock();
        inner.power_off();
        inner.state = inner.state.crash(survival, seed);
        // A trace ends where replaying changes would no longer give this disk.
        inner.trace = None;
        inner.boots += 1;
        inner.boot = Some(inner.boots);
        Self { shared: Arc::clone(&self.shared), boot: inner.boots }
    }

    /// What `crash` would leave, on another disk; this one goes on.
    pub fn crash_image(&self, survival: Survival, seed: u64) -> Self {
        Self::with_state(self.shared.inner.lock().state.crash(survival, seed), seed)
    }

    /// Makes everything durable, as a test does after building its starting point.
    pub fn settle(&self) {
        let mut inner = self.shared.inner.lock();
        inner.state.sync_all();
        assert!(inner.trace.is_none(), "recording begins after the disk has settled");
    }

    // Recording --------------------------------------------------------------------------------------------------

    /// Records every change from now on.
    pub fn record(&self) {
        let mut inner = self.shared.inner.lock();
        inner.trace = Some(Trace { base: inner.state.clone(), changes: Vec::new() });
    }

    /// Marks this moment in the recording.
    pub fn mark(&self, mark: u64) {
        if let Some(trace) = &mut self.shared.inner.lock().trace {
            trace.changes.push(Change::Mark(mark));
        }
    }

    /// Ends the recording.
    pub fn take_trace(&self) -> Option<Trace> {
        self.shared.inner.lock().trace.take()
    }

    pub fn counts(&self) -> Counts {
        self.shared.inner.lock().counts
    }

    // Faults -----------------------------------------------------------------------------------------------------

    /// Makes `root` a filesystem of its own with `capacity` bytes, or changes the capacity of the one that it is.
    pub fn mount(&self, root: impl AsRef<Path>, capacity: u64) {
        self.shared.inner.lock().state.mount(root.as_ref(), capacity);
    }

    pub fn arm(&self, fault: Fault) -> FaultId {
        self.shared.inner.lock().faults.arm(fault)
    }

    /// Disarms a fault and tells how often it hit.
    pub fn disarm(&self, id: FaultId) -> u64 {
        self.shared.inner.lock().faults.disarm(id)
    }

    /// How often a fault has hit.
    pub fn hits(&self, id: FaultId) -> u64 {
        self.shared.inner.lock().faults.hits(id)
    }

    /// Disarms every fault and brings everything back that vanished.
    pub fn clear_faults(&self) {
        self.shared.inner.lock().faults.clear();
    }

    /// Everything under `root` is gone (ENOENT; EIO through files already open) until `reappear`: an unplugged drive.
    pub fn vanish(&self, root: impl AsRef<Path>) {
        self.shared.inner.lock().faults.vanish(root.as_ref());
    }

    pub fn reappear(&self, root: impl AsRef<Path>) {
        self.shared.inner.lock().faults.reappear(root.as_ref());
    }

    /// Changes bytes of a file on the medium behind everyone's back, without sync, trace or fault.
    ///
    /// # Errors
    /// There is no such file, or it ends before.
    pub fn poke(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        let node = inner.state.find(path.as_ref())?;
        let content = inner.state.file_mut(node)?;
        if offset + bytes.len() as u64 > content.len() {
            return Err(errno(libc::EINVAL));
        }
        content.poke(offset, bytes);
        Ok(())
    }

    /// Flips bit `bit` of a file on the medium.
    ///
    /// # Errors
    /// There is no such file, or it ends before.
    pub fn flip(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        let mut byte = [0];
        {
            let inner = self.shared.inner.lock();
            let node = inner.state.find(path.as_ref())?;
            if inner.state.file(node)?.read(&mut byte, bit / 8) == 0 {
                return Err(errno(libc::EINVAL));
            }
        }
        self.poke(path, bit / 8, &[byte[0] ^ (1 << (bit % 8))])
    }

    /// Reads see the medium again where a sync lost content, as after memory pressure.
    pub fn drop_caches(&self) {
        self.shared.inner.lock().state.files_mut().for_each(super::content::Content::drop_cache);
    }

    // Calls ------------------------------------------------------------------------------------------------------

    /// Begins a call on a path: the power is on, the drive is there, and no fault strikes.
    fn call(&self, op: Ops, path: &Path) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.powered()?;
        if inner.faults.has_vanished(path) {
            return Err(errno(libc::ENOENT));
        }
        match self.effect(&mut inner, op, path) {
            None => Ok(inner),
            Some(effect) => Err(errno(effect.errno())),
        }
    }

    /// Begins a call on an open file; what a fault does to it is the file's business.
    pub(super) fn file_call(&self, op: Ops, path: &Path) -> io::Result<(MutexGuard<'_, Inner>, Option<Effect>)> {
        let mut inner = self.powered()?;
        if inner.faults.has_vanished(path) {
            return Err(errno(libc::EIO));
        }
        let effect = self.effect(&mut inner, op, path);
        Ok((inner, effect))
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.shared.inner.lock();
        if inner.boot == Some(self.boot) { Ok(inner) } else { Err(errno(libc::EIO)) }
    }

    /// The fault that strikes; a delay is accounted and is none.
    fn effect(&self, inner: &mut Inner, op: Ops, path: &Path) -> Option<Effect> {
        let mut chance = || self.shared.rng.below(1_000_000) as u32;
        match inner.faults.check(op, path, &mut chance) {
            Some(Effect::Delay(duration)) => {
                self.shared.latency.owe(duration);
                None
            }
            effect => effect,
        }
    }

    pub(super) fn draw(&self, bound: u64) -> u64 {
        self.shared.rng.below(bound)
    }

    pub(super) fn close(&self, node: NodeId) {
        let mut inner = self.shared.inner.lock();
        if inner.boot == Some(self.boot)
            && let Some(count) = inner.open.get_mut(&node)
        {
            *count -= 1;
            if *count == 0 {
                inner.open.remove(&node);
            }
        }
    }
}

impl Inner {
    fn power_off(&mut self) {
        self.boot = None;
        self.power_off_after = None;
        self.open.clear();
        self.locks.clear();
    }

    /// Carries out a change and records it.
    pub(super) fn change(&mut self, change: Change) -> io::Result<()> {
        if let Some(left) = &mut self.power_off_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.power_off();
                    return Err(errno(libc::EIO));
                }
            }
        }
        self.state.apply(&change)?;
        if let Some(trace) = &mut self.trace {
            trace.changes.push(change);
        }
        Ok(())
    }

    /// Bytes that may still be allocated where `path` lies.
    pub(super) fn room(&self, path: &Path) -> u64 {
        let filesystem = self.state.filesystem(path);
        if self.state.is_unlimited(filesystem) {
            return UNLIMITED_BYTES;
        }
        let (total, used) = self.state.space(filesystem);
        total.saturating_sub(used)
    }

    fn make(&mut self, dir: NodeId, name: &str, kind: Kind) -> io::Result<NodeId> {
        let node = self.state.next_node();
        self.change(Change::Make { dir, name: name.to_owned(), node, kind })?;
        Ok(node)
    }

    fn remove(&mut self, path: &Path, kind: Kind) -> io::Result<()> {
        let (dir, name) = self.state.find_parent(path)?;
        let node = self.state.child(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        match (self.state.kind(node)?, kind) {
            (Kind::Dir, Kind::File) => return Err(errno(libc::EISDIR)),
            (Kind::File, Kind::Dir) => return Err(errno(libc::ENOTDIR)),
            (Kind::Dir, Kind::Dir) if self.state.entries(node).next().is_some() => {
                return Err(errno(libc::ENOTEMPTY));
            }
            _ => {}
        }
        self.change(Change::Remove { dir, name: name.to_owned() })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.state.find_parent(from)?;
        let (to_dir, to_name) = self.state.find_parent(to)?;
        let node = self.state.child(from_dir, from_name)?.ok_or_else(|| errno(libc::ENOENT))?;
        if self.state.filesystem(from) != self.state.filesystem(to) {
            return Err(errno(libc::EXDEV));
        }
        let kind = self.state.kind(node)?;
        if kind == Kind::Dir && self.state.is_under(to_dir, node) {
            return Err(errno(libc::EINVAL));
        }
        if let Some(target) = self.state.child(to_dir, to_name)? {
            if target == node {
                return Ok(());
            }
            match (kind, self.state.kind(target)?) {
                (Kind::File, Kind::Dir) => return Err(errno(libc::EISDIR)),
                (Kind::Dir, Kind::File) => return Err(errno(libc::ENOTDIR)),
                (Kind::Dir, Kind::Dir) if self.state.entries(target).next().is_some() => {
                    return Err(errno(libc::ENOTEMPTY));
                }
                _ => {}
            }
        }
        self.change(Change::Rename { from: (from_dir, from_name.to_owned()), to: (to_dir, to_name.to_owned()) })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let creates = matches!(mode, OpenMode::CreateOrOpen | OpenMode::CreateNew | OpenMode::Truncate);
        let mut inner = self.call(Ops::OPEN, path)?;
        let found = match inner.state.find(path) {
            Ok(node) => Some(node),
            Err(error) if error.kind() == io::ErrorKind::NotFound && creates => None,
            Err(error) => return Err(error),
        };
        let node = match found {
            Some(_) if mode == OpenMode::CreateNew => return Err(errno(libc::EEXIST)),
            Some(node) if inner.state.kind(node)? == Kind::Dir => return Err(errno(libc::EISDIR)),
            Some(node) => node,
            None => {
                drop(inner);
                inner = self.call(Ops::CREATE, path)?;
                let (dir, name) = inner.state.find_parent(path)?;
                inner.make(dir, name, Kind::File)?
            }
        };
        if mode == OpenMode::Truncate && inner.state.file(node)?.len() > 0 {
            inner.change(Change::SetLen { node, len: 0 })?;
        }
        *inner.open.entry(node).or_default() += 1;
        drop(inner);
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), node, writable: mode != OpenMode::Read }))
    }

    fn metadata(&self, path: &Path) -> io::Result<DiskMetadata> {
        let inner = self.call(Ops::LOOK, path)?;
        let node = inner.state.find(path)?;
        Ok(match inner.state.kind(node)? {
            Kind::Dir => DiskMetadata { len: 0, is_dir: true },
            Kind::File => DiskMetadata { len: inner.state.file(node)?.len(), is_dir: false },
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let inner = self.call(Ops::LOOK, dir)?;
        let node = inner.state.find(dir)?;
        if inner.state.kind(node)? == Kind::File {
            return Err(errno(libc::ENOTDIR));
        }
        let entries = inner.state.entries(node).filter(|(name, _)| !inner.faults.has_vanished(&dir.join(name)));
        entries
            .map(|(name, child)| Ok(DirEntry { name: name.to_owned(), is_dir: inner.state.kind(child)? == Kind::Dir }))
            .collect()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut path = PathBuf::from("/");
        for part in dir.components() {
            path.push(part);
            let inner = self.call(Ops::LOOK, &path)?;
            match inner.state.find(&path) {
                Ok(node) if inner.state.kind(node)? == Kind::Dir => continue,
                Ok(_) => return Err(errno(if path == dir { libc::EEXIST } else { libc::ENOTDIR })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            drop(inner);
            let mut inner = self.call(Ops::MAKE_DIR, &path)?;
            let (parent, name) = inner.state.find_parent(&path)?;
            inner.make(parent, name, Kind::Dir)?;
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(Ops::REMOVE, path)?.remove(path, Kind::File)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Ops::REMOVE, dir)?.remove(dir, Kind::Dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        drop(self.call(Ops::RENAME, from)?);
        let mut inner = self.powered()?;
        if inner.faults.has_vanished(to) {
            return Err(errno(libc::ENOENT));
        }
        inner.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.call(Ops::SYNC_DIR, dir)?;
        let node = inner.state.find(dir)?;
        if inner.state.kind(node)? == Kind::File {
            return Err(errno(libc::ENOTDIR));
        }
        inner.change(Change::SyncDir { dir: node })?;
        inner.counts.dir_syncs += 1;
        let Inner { state, open, .. } = &mut *inner;
        state.collect(|node| open.contains_key(&node));
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let inner = self.call(Ops::LOOK, path)?;
        inner.state.find(path)?;
        let filesystem = inner.state.filesystem(path);
        let (total, used) = inner.state.space(filesystem);
        Ok(DiskSpace { total, available: total.saturating_sub(used), filesystem: filesystem as u64 })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        drop(self.call(Ops::LOCK, path)?);
        drop(self.open(path, OpenMode::CreateOrOpen)?);
        let mut inner = self.powered()?;
        let node = inner.state.find(path)?;
        let free = inner.locks.insert(node);
        drop(inner);
        Ok(if free { Some(Box::new(SimLock { disk: self.clone(), node })) } else { None })
    }
}

struct SimLock {
    disk: SimDisk,
    node: NodeId,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        // A lock of an earlier power-on died with it.
        if let Ok(mut inner) = self.disk.powered() {
            inner.locks.remove(&self.node);
        }
    }
}
