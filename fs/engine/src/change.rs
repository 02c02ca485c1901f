//! [`Change`]: one atomic change while it is put together, and what the caches have to learn when it is applied.

use std::ops::Range;

use fs_api::{Context, DoorId, Ino, Notice};
use fs_meta::{Batch, Column};

use crate::data::Edit;
use crate::keys;
use crate::quota::{Charge, Growth, Key, ProjectId};
use crate::receipts;
use crate::records::{Dentry, Inode, OrderEntry};
use crate::system;

pub(crate) struct Change {
    pub(crate) batch: Batch,
    pub(crate) effects: Vec<Effect>,
    /// Changes of extents, encoded when the gate is held.
    pub(crate) edits: Vec<Edit>,
    pub(crate) inodes: i64,
    pub(crate) bytes: i64,
    /// What it takes of the quotas of its inodes, and whether that may be refused.
    pub(crate) charges: Vec<Charge>,
    pub(crate) growth: Growth,
    /// The door that it was asked for through.
    pub(crate) door: Option<DoorId>,
    requests: Vec<u64>,
    request: [u64; 1],
}

/// What the caches have to learn, in order.
pub(crate) enum Effect {
    Inode(Inode),
    InodeGone(Ino),
    Name {
        parent: Ino,
        name: Box<[u8]>,
        dentry: Option<Dentry>,
    },
    /// The extents from `from` on are to be removed in the background.
    Trim {
        ino: Ino,
        from: u64,
    },
    /// What is gathered for the inode goes with it. Not before the change is applied: where it fails the writes stay.
    GatheredGone(Ino),
    /// These bytes are others now: nothing that a cache of ours holds.
    Content {
        ino: Ino,
        range: Range<u64>,
    },
}

/// What those who watch have to hear of an effect.
pub(crate) enum Told {
    Attributes(Ino),
    Content(Ino, Range<u64>),
    Name(Ino, Box<[u8]>),
}

impl Told {
    pub(crate) fn of(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::Inode(inode) => Some(Self::Attributes(inode.ino)),
            Effect::Name { parent, name, .. } => Some(Self::Name(*parent, name.clone())),
            Effect::Content { ino, range } => Some(Self::Content(*ino, range.clone())),
            // Its name says it.
            Effect::InodeGone(_) | Effect::Trim { .. } | Effect::GatheredGone(_) => None,
        }
    }

    pub(crate) fn notice(&self) -> Notice<'_> {
        match self {
            Self::Attributes(ino) => Notice::Attributes(*ino),
            Self::Content(ino, range) => Notice::Content { ino: *ino, range: range.clone() },
            Self::Name(parent, name) => Notice::Name { parent: *parent, name },
        }
    }
}

impl Change {
    /// A change made for the request of `cx`.
    pub(crate) fn new(cx: &Context) -> Self {
        let mut change = Self { door: Some(cx.door), request: [cx.request], ..Self::background() };
        if let Some(receipt) = &cx.receipt {
            receipts::put(&mut change.batch, receipt);
        }
        change
    }

    /// A change that no request asked for.
    pub(crate) fn background() -> Self {
        Self {
            batch: Batch::new(),
            effects: Vec::new(),
            edits: Vec::new(),
            inodes: 0,
            bytes: 0,
            charges: Vec::new(),
            growth: Growth::default(),
            door: None,
            requests: Vec::new(),
            request: [0],
        }
    }

    /// A change that carries what several requests did (gathered writes).
    pub(crate) fn of_requests(requests: Vec<u64>) -> Self {
        Self { requests, ..Self::background() }
    }

    /// The requests it carries; empty for background work.
    pub(crate) fn requests(&self) -> &[u64] {
        match self.request {
            [0] => &self.requests,
            _ => &self.request,
        }
    }

    /// Stores `inode` as it is now.
    pub(crate) fn put_inode(&mut self, inode: &Inode) {
        self.batch.put(Column::Inode, &keys::inode(inode.ino), &inode.encode());
        self.effects.push(Effect::Inode(inode.clone()));
    }

    /// The bytes of `range` are others after it.
    pub(crate) fn content(&mut self, ino: Ino, range: Range<u64>) {
        self.effects.push(Effect::Content { ino, range });
    }

    /// Adds what `edit` does to extents and their accounts.
    pub(crate) fn edit(&mut self, edit: Edit) {
        if !edit.is_empty() {
            self.edits.push(edit);
        }
    }

    /// Extents that it removes or puts.
    pub(crate) fn extents(&self) -> usize {
        self.edits.iter().map(Edit::extents).sum()
    }

    /// Stores the inode as the first record of its number.
    pub(crate) fn add_inode(&mut self, inode: &Inode) {
        self.put_inode(inode);
        self.count_inodes(1);
        self.charge(inode.project, 0, 1);
    }

    /// Stores the inode, which is there already, as the first record with its project.
    pub(crate) fn adopt(&mut self, inode: &Inode) {
        self.put_inode(inode);
        self.charge(inode.project, i64::try_from(inode.allocated).unwrap_or(i64::MAX), 1);
    }

    /// Removes the record of `inode`, with all that it counts for its project: extents that are left go as nobody's.
    /// Bytes and attributes are the caller's.
    pub(crate) fn delete_inode(&mut self, inode: &Inode) {
        self.batch.delete(Column::Inode, &keys::inode(inode.ino));
        self.effects.push(Effect::InodeGone(inode.ino));
        self.count_inodes(-1);
        self.charge(inode.project, i64::try_from(inode.allocated).map_or(i64::MIN, |bytes| -bytes), -1);
    }

    /// Makes `name` lead to `dentry`, replacing the entry `before` if there is one.
    pub(crate) fn put_name(&mut self, parent: Ino, name: &[u8], dentry: Dentry, before: Option<Dentry>) {
        if let Some(before) = before.filter(|b| b.cookie != dentry.cookie) {
            self.batch.delete(Column::DentryOrder, &keys::dentry_order(parent, before.cookie));
        }
        let order = OrderEntry { ino: dentry.ino, kind: dentry.kind, name };
        self.batch.put(Column::Dentry, &keys::dentry(parent, name), &dentry.encode());
        self.batch.put(Column::DentryOrder, &keys::dentry_order(parent, dentry.cookie), &order.encode());
        self.effects.push(Effect::Name { parent, name: name.into(), dentry: Some(dentry) });
    }

    pub(crate) fn delete_name(&mut self, parent: Ino, name: &[u8], before: Dentry) {
        self.batch.delete(Column::Dentry, &keys::dentry(parent, name));
        self.batch.delete(Column::DentryOrder, &keys::dentry_order(parent, before.cookie));
        self.effects.push(Effect::Name { parent, name: name.into(), dentry: None });
    }

    /// Marks `ino` as nameless but in use: it is freed when its last tie goes, or at the next start.
    pub(crate) fn put_orphan(&mut self, ino: Ino) {
        self.batch.put(Column::Orphan, &keys::orphan(ino), &[]);
    }

    pub(crate) fn delete_orphan(&mut self, ino: Ino) {
        self.batch.delete(Column::Orphan, &keys::orphan(ino));
    }

    fn count_inodes(&mut self, delta: i64) {
        self.batch.add(Column::System, system::INODES, delta);
        self.inodes += delta;
    }

    /// Adds to the bytes of the extents of `inode`, whose record says the same.
    pub(crate) fn count_bytes(&mut self, inode: &Inode, delta: i64) {
        self.count_nobodys_bytes(delta);
        self.charge(inode.project, delta, 0);
    }

    /// Adds to the bytes that files occupy in this store, for `statfs` and `status`: of an inode whose record goes in
    /// this change or has gone.
    pub(crate) fn count_nobodys_bytes(&mut self, delta: i64) {
        if delta != 0 {
            self.batch.add(Column::System, system::BYTES, delta);
            self.bytes += delta;
        }
    }

    /// The change makes what `bytes` of the project of `inode` were reserved for.
    pub(crate) fn redeem(&mut self, inode: &Inode, bytes: u64) {
        self.note_charge(Charge {
            project: inode.project,
            bytes: i64::try_from(bytes).map_or(i64::MIN, |bytes| -bytes),
            inodes: 0,
        });
    }

    fn charge(&mut self, project: ProjectId, bytes: i64, inodes: i64) {
        if project == ProjectId::NONE {
            return;
        }
        for (key, delta) in [(Key::Bytes(project), bytes), (Key::Inodes(project), inodes)] {
            if delta != 0 {
                self.batch.add(Column::System, &key.encode(), delta);
            }
        }
        self.note_charge(Charge { project, bytes, inodes });
    }

    /// One charge for each project: what one part of the change frees, another may take.
    fn note_charge(&mut self, charge: Charge) {
        if charge == (Charge { project: charge.project, ..Charge::default() }) {
            return;
        }
        match self.charges.iter_mut().find(|known| known.project == charge.project) {
            Some(known) => {
                known.bytes += charge.bytes;
                known.inodes += charge.inodes;
            }
            None => self.charges.push(charge),
        }
    }
}
