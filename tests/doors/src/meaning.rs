//! What an operation of a history is in NFS's words, what those words mean to the model, and when two answers are the
//! same. Every difference between the doors that is there by design stands here with its reason, and nowhere else.

use fs_api::{AccessMask, Attr, Credentials, Durability, FileKind, NewNode, RenameMode, Target, Vfs};
use gateway_nfs::protocol::status::Status;
use objstore_base::{Error, ErrorKind, Result};
use tests_model::Model;
use tests_nfs::now;
use tests_sim::{Action, Actor, Key, Make, Nodes, Op, Outcome, USER, Via, Worded, context};

/// The mode of a file that is made by EXCLUSIVE: the protocol has no room for another.
pub(crate) const EXCLUSIVE_MODE: u32 = 0o600;
const SUID_SGID: u32 = 0o6000;

/// `op` as the NFS door is called, or `None` where the protocol has no words for it.
pub(crate) fn say(op: &Op, model: &Model, nodes: &Nodes) -> Option<Worded> {
    match &op.action {
        Action::Lookup { .. } | Action::Readlink { .. } | Action::Readdir { .. } | Action::Getattr { .. } => {
            Some(same(op.clone()))
        }
        // A change of names or attributes is durable before the reply, whatever the caller asked.
        Action::Make { .. }
        | Action::Link { .. }
        | Action::Unlink { .. }
        | Action::Rmdir { .. }
        | Action::Chmod { .. }
        | Action::Chown { .. } => Some(same(synced(op, op.action.clone()))),
        Action::Rename { mode: RenameMode::Replace, .. } => Some(same(synced(op, op.action.clone()))),
        // RENAME replaces; the protocol has no other.
        Action::Rename { .. } => None,
        Action::Create { parent, name, mode, exclusive, .. } => {
            create(op, model, nodes, *parent, *name, *mode, *exclusive)
        }
        Action::Truncate { via, size } => {
            let (node, _) = file(*via, model, nodes)?;
            let worded = synced(op, Action::Truncate { via: Via::Node(node), size: *size });
            overridden(worded, model, nodes, node)
        }
        Action::Write { via, offset, fill } => {
            let (node, attr) = file(*via, model, nodes)?;
            // Without an open there is no append: a client writes at the end that it sees.
            let offset = if nodes.is_append(*via) { attr.size } else { *offset };
            let durability = if nodes.is_sync(*via) { Durability::Synced } else { op.durability };
            let action = Action::Write { via: Via::Node(node), offset, fill: *fill };
            overridden(Op { durability, action, ..op.clone() }, model, nodes, node)
        }
        Action::Read { via, offset, len } => {
            let (node, _) = file(*via, model, nodes)?;
            let action = Action::Read { via: Via::Node(node), offset: *offset, len: *len };
            overridden(Op { action, ..op.clone() }, model, nodes, node)
        }
        // COMMIT is of files, and of all that they have.
        Action::Fsync { via, .. } => {
            let (node, _) = file(*via, model, nodes)?;
            Some(same(Op { action: Action::Fsync { via: Via::Node(node), data_only: false }, ..op.clone() }))
        }
        // The protocol has neither opens, nor extended attributes, nor holes, nor copies, nor a sync of everything.
        Action::Open { .. }
        | Action::Close { .. }
        | Action::Fallocate { .. }
        | Action::CopyRange { .. }
        | Action::Setxattr { .. }
        | Action::Getxattr { .. }
        | Action::Listxattr { .. }
        | Action::Removexattr { .. }
        | Action::Sync => None,
    }
}

/// Whether `answer`, of the NFS door, is what the model means by `expected`: several kinds of errors are one status.
pub(crate) fn agree(answer: &Outcome, expected: &Outcome) -> bool {
    match (answer, expected) {
        (Outcome::Failed(answer), Outcome::Failed(expected)) => status_of(*answer) == status_of(*expected),
        _ => answer == expected,
    }
}

/// A kind of error for a status, which has to stand for that status only.
pub(crate) fn kind_of(status: u32) -> ErrorKind {
    const KINDS: [ErrorKind; 22] = [
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::NotDirectory,
        ErrorKind::IsDirectory,
        ErrorKind::NotEmpty,
        ErrorKind::NotPermitted,
        ErrorKind::AccessDenied,
        ErrorKind::NameTooLong,
        ErrorKind::InvalidArgument,
        ErrorKind::NoSpace,
        ErrorKind::QuotaExceeded,
        ErrorKind::ReadOnly,
        ErrorKind::TooManyLinks,
        ErrorKind::CrossDevice,
        ErrorKind::Stale,
        ErrorKind::BadHandle,
        ErrorKind::NotSupported,
        ErrorKind::RangeTooSmall,
        ErrorKind::FileTooLarge,
        ErrorKind::Unavailable,
        ErrorKind::Internal,
        ErrorKind::Io,
    ];
    let found = KINDS.into_iter().find(|kind| status_of(*kind) as u32 == status);
    found.unwrap_or_else(|| panic!("no error of the filesystem has the status {status}"))
}

fn status_of(kind: ErrorKind) -> Status {
    Status::of(&Error::new(kind, "compare answers"))
}

fn same(op: Op) -> Worded {
    Worded { call: op.clone(), meaning: op }
}

fn synced(op: &Op, action: Action) -> Op {
    Op { durability: Durability::Synced, action, ..op.clone() }
}

/// CREATE makes and opens nothing: GUARDED and EXCLUSIVE are `make`, UNCHECKED gives what is there, if that is a file, and
/// never asks whether the caller could open it. The handle is all that stays with the client.
fn create(op: &Op, model: &Model, nodes: &Nodes, parent: Key, name: u8, mode: u32, exclusive: bool) -> Option<Worded> {
    // A file that its owner may not open is what the protocol treats differently; histories alone make few of them.
    let (op, mode) = match op.request % 7 {
        0 if !exclusive => (&Op { actor: Actor::User, ..op.clone() }, 0),
        _ => (op, mode),
    };
    let by_verifier = exclusive && op.request.is_multiple_of(2);
    let mode = if by_verifier { EXCLUSIVE_MODE } else { mode };
    let call = synced(op, Action::Create { parent, name, mode, exclusive, slot: None });
    let make = synced(op, Action::Make { parent, name, what: Make::Regular, mode });
    let looked = Op { action: Action::Lookup { parent, name }, ..op.clone() };
    let is_there = !exclusive && finds_a_file(op, model, nodes.ino(parent)?, name);
    Some(Worded { call, meaning: if is_there { looked } else { make } })
}

/// Whether `make` refuses the name for being there, and a file has it.
fn finds_a_file(op: &Op, model: &Model, parent: fs_api::Ino, name: u8) -> bool {
    let root = context(&Op { actor: Actor::Root, ..op.clone() });
    if !now(model.lookup(&root, parent, &[name])).is_ok_and(|found| found.kind == FileKind::Regular) {
        return false;
    }
    // It is there, so this changes nothing.
    let made = now(model.make(&context(op), parent, &[name], NewNode::Regular, 0, 0));
    made.is_err_and(|error| error.kind() == ErrorKind::Exists)
}

/// The regular file that `via` leads to.
fn file(via: Via, model: &Model, nodes: &Nodes) -> Option<(Key, Attr)> {
    let node = nodes.key_of(via)?;
    let attr = attr_of(model, nodes, node).ok()?;
    (attr.kind == FileKind::Regular).then_some((node, attr))
}

pub(crate) fn attr_of(model: &Model, nodes: &Nodes, node: Key) -> Result<Attr> {
    let root = fs_api::Context::new(0, Credentials::root());
    let ino = nodes.ino(node).ok_or_else(|| Error::new(ErrorKind::Stale, "find node of the history"))?;
    now(model.getattr(&root, Target::inode(ino)))
}

/// The protocol has no open, so a file's owner reads and writes it whatever its mode is, and who may execute it reads it:
/// what the mode refuses means the same as if root did it.
fn overridden(call: Op, model: &Model, nodes: &Nodes, node: Key) -> Option<Worded> {
    let reads = matches!(call.action, Action::Read { .. });
    let attr = attr_of(model, nodes, node).ok()?;
    // Histories have few users: what this one owns it uses itself.
    let call = if attr.uid == USER { Op { actor: Actor::User, ..call } } else { call };
    let may = |mask: AccessMask| now(model.access(&context(&call), attr.ino, mask)).is_ok();
    let none = AccessMask { read: false, write: false, execute: false };
    let wanted = if reads { AccessMask { read: true, ..none } } else { AccessMask { write: true, ..none } };
    let runs = reads && may(AccessMask { execute: true, ..none });
    let is_user = call.actor == Actor::User;
    if !is_user || may(wanted) || !(attr.uid == USER || runs) {
        return Some(same(call));
    }
    // It takes setuid and setgid away first, in a change of its own: two changes have no one meaning.
    if !reads && attr.mode & SUID_SGID != 0 {
        return None;
    }
    let meaning = Op { actor: Actor::Root, ..call.clone() };
    Some(Worded { call, meaning })
}
