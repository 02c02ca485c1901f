//! Inodes without names: kept while a handle or a door's hold ties them, then freed in the background.
//!
//! The `Orphan` column lists them, so that a start after a crash frees what nobody can reach any more. Freeing takes a
//! few inodes at a time in one record; a large file's extents are trimmed in bounded steps by `data`.

mod loose;

use std::collections::HashMap;
use std::ops::ControlFlow;

use fs_api::{DoorId, Ino};
use fs_meta::{Column, Direction, MetaRead};
use objstore_base::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

use self::loose::Loose;
use crate::change::Change;
use crate::engine::Engine;
use crate::keys;
use crate::records::Inode;

pub(crate) use self::loose::{Freeing, LooseUntil};

const SHARDS: usize = 32;

/// What becomes of an inode without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays until nothing ties it.
    Kept,
    Freed,
}

/// What keeps an inode reachable besides its names.
#[derive(Debug, Default)]
struct Tie {
    handles: u64,
    /// By door; hardly ever more than one.
    holds: SmallVec<[(DoorId, u64); 1]>,
    /// Its last name is gone: when the ties go, so does the inode.
    nameless: bool,
}

impl Tie {
    fn is_loose(&self) -> bool {
        self.handles == 0 && self.holds.is_empty()
    }

    fn is_held_by(&self, door: DoorId) -> bool {
        self.holds.iter().any(|(holder, _)| *holder == door)
    }

    fn hold(&mut self, door: DoorId, count: u64) {
        match self.holds.iter_mut().find(|(holder, _)| *holder == door) {
            Some((_, known)) => *known += count,
            None => self.holds.push((door, count)),
        }
    }

    fn unhold(&mut self, door: DoorId, count: u64) {
        self.holds.retain(|(holder, known)| {
            *known = if *holder == door { known.saturating_sub(count) } else { *known };
            *known > 0
        });
    }
}

pub(crate) struct Orphans {
    ties: [Mutex<HashMap<Ino, Tie>>; SHARDS],
    loose: Loose,
    pub(crate) wake: Notify,
}

impl Orphans {
    pub(crate) fn new() -> Self {
        Self { ties: std::array::from_fn(|_| Mutex::default()), loose: Loose::default(), wake: Notify::new() }
    }

    fn shard(&self, ino: Ino) -> &Mutex<HashMap<Ino, Tie>> {
        &self.ties[(ino.0 % SHARDS as u64) as usize]
    }

    /// One more handle. Called with the inode's stripe held, so that it cannot be freed in between.
    pub(crate) fn tie_handle(&self, ino: Ino) {
        self.shard(ino).lock().entry(ino).or_default().handles += 1;
    }

    pub(crate) fn hold(&self, door: DoorId, ino: Ino, count: u64) {
        if count > 0 {
            self.shard(ino).lock().entry(ino).or_default().hold(door, count);
        }
    }

    pub(crate) fn untie_handle(&self, ino: Ino) {
        self.loosen(ino, |tie| tie.handles = tie.handles.saturating_sub(1));
    }

    pub(crate) fn unhold(&self, door: DoorId, ino: Ino, count: u64) {
        self.loosen(ino, |tie| tie.unhold(door, count));
    }

    pub(crate) fn holds(&self, door: DoorId, ino: Ino) -> bool {
        self.shard(ino).lock().get(&ino).is_some_and(|tie| tie.is_held_by(door))
    }

    pub(crate) fn held(&self, door: DoorId) -> Vec<Ino> {
        let mut held = Vec::new();
        for shard in &self.ties {
            held.extend(shard.lock().iter().filter(|(_, tie)| tie.is_held_by(door)).map(|(ino, _)| *ino));
        }
        held
    }

    /// Gives back all holds of `door`.
    pub(crate) fn leave(&self, door: DoorId) {
        self.held(door).into_iter().for_each(|ino| self.unhold(door, ino, u64::MAX));
    }

    fn loosen(&self, ino: Ino, less: impl FnOnce(&mut Tie)) {
        let mut shard = self.shard(ino).lock();
        let Some(tie) = shard.get_mut(&ino) else { return };
        less(tie);
        if tie.is_loose() {
            let nameless = tie.nameless;
            shard.remove(&ino);
            drop(shard);
            if nameless {
                self.enqueue(ino);
            }
        }
    }

    /// What becomes of `ino`, which loses its last name: where something ties it, it is queued when that goes. Called
    /// with the inode's stripe held exclusively, and once per loss: a tie may come right after the answer.
    pub(crate) fn fate(&self, ino: Ino) -> Fate {
        match self.shard(ino).lock().get_mut(&ino) {
            Some(tie) => {
                tie.nameless = true;
                Fate::Kept
            }
            None => Fate::Freed,
        }
    }

    /// How many removed inodes are still there.
    pub(crate) fn nameless(&self) -> u64 {
        let tied = self.ties.iter().map(|shard| shard.lock().values().filter(|tie| tie.nameless).count());
        (tied.sum::<usize>() + self.loose.len()) as u64
    }

    fn enqueue(&self, ino: Ino) {
        self.loose.push(ino);
        self.wake.notify_one();
    }

    /// What nothing ties any more and is still there.
    pub(crate) fn loose_now(&self) -> LooseUntil {
        self.loose.now()
    }

    pub(crate) fn freeing(&self, until: LooseUntil) -> Freeing {
        self.loose.freeing(until)
    }

    /// Queues everything that the last run left behind.
    pub(crate) fn load(&self, meta: &dyn MetaRead) -> Result<()> {
        let mut found = Ok(());
        meta.scan(
            Column::Orphan,
            &[][..]..&[0xff; 9][..],
            Direction::Forward,
            &mut |key, _| match keys::leading_number(key) {
                Ok(ino) => {
                    self.loose.push(Ino(ino));
                    ControlFlow::Continue(())
                }
                Err(e) => {
                    found = Err(e);
                    ControlFlow::Break(())
                }
            },
        )?;
        found
    }
}

impl Engine {
    /// `inode` has just lost its last name: it is freed in `change`, or kept as an orphan. The caller holds its stripe
    /// exclusively and has set `nlink` to 0; the writes gathered for an inode that is kept are settled.
    pub(crate) fn bury_locked(&self, inode: &Inode, fate: Fate, change: &mut Change) -> Result<()> {
        self.env.failpoints.hit("engine.names.bury").map_err(|e| Error::io("engine.names.bury", e))?;
        match fate {
            Fate::Kept => {
                change.put_inode(inode);
                change.put_orphan(inode.ino);
                Ok(())
            }
            Fate::Freed => self.free_inode_locked(inode, change),
        }
    }

    fn free_inode_locked(&self, inode: &Inode, change: &mut Change) -> Result<()> {
        self.free_locked(inode, change)?;
        self.delete_xattrs_locked(inode, change)?;
        change.delete_inode(inode);
        Ok(())
    }

    /// Frees some of the inodes that nothing ties any more; gives whether there was any.
    pub(crate) fn drain_orphans(&self) -> Result<bool> {
        let Some(group) = self.orphans.loose.take() else { return Ok(false) };
        let freed = self.free_group(&group.inos);
        // Where that failed they stay listed in the index; the next attempt or the next start frees them.
        self.orphans.loose.put_back(group, freed.is_ok());
        freed.map(|()| true)
    }

    fn free_group(&self, group: &[Ino]) -> Result<()> {
        self.env.failpoints.hit("engine.orphans.free").map_err(|e| Error::io("engine.orphans.free", e))?;
        let _stripes = self.stripes.write_many(group);
        let mut change = Change::background();
        for &ino in group {
            if self.orphans.fate(ino) == Fate::Kept {
                continue;
            }
            match self.inode_locked(ino) {
                Ok(inode) if inode.nlink > 0 => continue,
                Ok(inode) => self.free_inode_locked(&inode, &mut change)?,
                Err(e) if e.kind() == ErrorKind::Stale => {}
                Err(e) => return Err(e),
            }
            change.delete_orphan(ino);
            // Each of them is bounded; together they could be more than a segment holds.
            if change.extents() >= self.step_extents() {
                self.apply(std::mem::replace(&mut change, Change::background()))?;
            }
        }
        if !change.batch.is_empty() {
            self.apply(change)?;
        }
        Ok(())
    }
}
