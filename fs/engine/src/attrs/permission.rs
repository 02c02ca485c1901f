//! Who may do what: brings the engine's state before `fs_access`, which decides.

use fs_access::{Acl, Node, Victim};
use fs_api::{AccessMask, Context, NewNode};
use objstore_base::Result;

use crate::engine::Engine;
use crate::records::Inode;

/// What a decision needs to know of `inode`.
pub(crate) const fn node(inode: &Inode) -> Node {
    Node { kind: inode.kind, uid: inode.uid, gid: inode.gid, mode: inode.mode }
}

impl Engine {
    /// # Errors
    /// `AccessDenied` where any permission of `mask` is missing.
    pub(crate) fn require(&self, cx: &Context, inode: &Inode, mask: AccessMask) -> Result<()> {
        fs_access::check(&cx.credentials, &node(inode), self.deciding_acl(cx, inode)?.as_ref(), mask)
    }

    /// Permission to look for a name in `directory`.
    pub(crate) fn require_search(&self, cx: &Context, directory: &Inode) -> Result<()> {
        self.require(cx, directory, fs_access::EXECUTE)
    }

    /// Permission to make `what` in `directory`; `None` for a name of an inode that is there.
    pub(crate) fn require_make(&self, cx: &Context, directory: &Inode, what: Option<&NewNode>) -> Result<()> {
        let (node, acl) = (node(directory), self.deciding_acl(cx, directory)?);
        match what {
            Some(what) => fs_access::may_make(&cx.credentials, &node, acl.as_ref(), what),
            None => fs_access::may_create(&cx.credentials, &node, acl.as_ref()),
        }
    }

    /// Permission to give `source` one more name in `directory`.
    pub(crate) fn require_link(&self, cx: &Context, source: &Inode, directory: &Inode) -> Result<()> {
        let acl = self.deciding_acl(cx, directory)?;
        fs_access::may_link(&cx.credentials, &node(source), &node(directory), acl.as_ref())
    }

    /// Permission to take a name of `inode` out of `directory`.
    pub(crate) fn require_delete(&self, cx: &Context, directory: &Inode, inode: &Inode, victim: Victim) -> Result<()> {
        let acl = self.deciding_acl(cx, directory)?;
        fs_access::may_delete(&cx.credentials, &node(directory), acl.as_ref(), &node(inode), victim)
    }

    /// The access ACL of `inode`, where it can make a difference for this caller.
    pub(super) fn deciding_acl(&self, cx: &Context, inode: &Inode) -> Result<Option<Acl>> {
        let caller = &cx.credentials;
        if !inode.has_access_acl || caller.uid == inode.uid || caller.is_privileged() {
            return Ok(None);
        }
        self.access_acl(inode)
    }
}
