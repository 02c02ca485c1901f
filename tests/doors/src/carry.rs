//! Carries out an operation as the calls of an NFS client, and puts the replies into the form that is compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use fs_api::{Ino, SetAttr};
use gateway_nfs::protocol::Procedure;
use gateway_nfs::protocol::args::{CreateHow, Place, SetAttrArgs, Stable, WriteArgs};
use gateway_nfs::protocol::attributes::NewAttributes;
use gateway_sunrpc::xdr::Encoder;
use tests_nfs::{Fattr, flag, mode, number, opaque, place, post_op, wcc};
use tests_sim::{Action, Actor, Key, Make, Nodes, Op, Outcome, Seen, Via, bytes_of};

use crate::client::{Answer, Client, kind};
use crate::meaning::{EXCLUSIVE_MODE, kind_of};

const STALE: u32 = 70;
const FIFO: u32 = 7;
/// Bytes of the replies to listings: the smallest that clients use, up to one for everything.
const LISTING_BYTES: [u32; 4] = [512, 700, 4096, 1 << 20];

pub(crate) async fn carry_out(client: &Client, nodes: &mut Nodes, op: &Op) -> Outcome {
    match run(client, nodes, op).await {
        Ok(outcome) => outcome,
        Err(status) => Outcome::Failed(kind_of(status)),
    }
}

async fn run(client: &Client, nodes: &mut Nodes, op: &Op) -> Answer<Outcome> {
    match &op.action {
        Action::Make { .. }
        | Action::Create { .. }
        | Action::Link { .. }
        | Action::Unlink { .. }
        | Action::Rmdir { .. }
        | Action::Rename { .. } => names(client, nodes, op).await,
        Action::Truncate { .. } | Action::Write { .. } | Action::Read { .. } | Action::Fsync { .. } => {
            files(client, nodes, op).await
        }
        _ => looks(client, nodes, op).await,
    }
}

async fn handle(client: &Client, nodes: &Nodes, key: Key) -> Answer<Bytes> {
    client.handle(nodes.ino(key).ok_or(STALE)?).await
}

async fn at(client: &Client, nodes: &Nodes, (parent, name): (Key, u8)) -> Answer<Place> {
    Ok(place(&handle(client, nodes, parent).await?, &[name]))
}

pub(crate) fn seen(nodes: &Nodes, attr: Fattr) -> Seen {
    Seen {
        node: nodes.key(Ino(attr.fileid)),
        kind: kind(attr),
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: if attr.kind == 2 { 0 } else { attr.size },
    }
}

async fn names(client: &Client, nodes: &mut Nodes, op: &Op) -> Answer<Outcome> {
    match &op.action {
        Action::Make { parent, name, what, mode: bits } => {
            let place = at(client, nodes, (*parent, *name)).await?;
            let attributes = mode(*bits);
            let target = format!("target of {}", op.request);
            let (procedure, before, after): (_, Option<u32>, Option<&[u8]>) = match what {
                // GUARDED.
                Make::Regular => (Procedure::Create, Some(1), None),
                Make::Directory => (Procedure::MkDir, None, None),
                Make::Symlink => (Procedure::SymLink, None, Some(target.as_bytes())),
                Make::Fifo => (Procedure::MkNod, Some(FIFO), None),
            };
            let what = |out: &mut Encoder| {
                before.into_iter().for_each(|word| out.u32(word));
                attributes.encode(out);
                after.into_iter().for_each(|bytes| out.opaque(bytes));
            };
            make(client, nodes, op, procedure, &place, what).await
        }
        Action::Create { parent, name, mode: bits, exclusive, .. } => {
            let place = at(client, nodes, (*parent, *name)).await?;
            let how = match exclusive {
                // No two operations have one verifier.
                true if *bits == EXCLUSIVE_MODE => CreateHow::Exclusive((op.request << 20 | 7).to_be_bytes()),
                true => CreateHow::Guarded(mode(*bits)),
                false => CreateHow::Unchecked(mode(*bits)),
            };
            make(client, nodes, op, Procedure::Create, &place, |out| how.encode(out)).await
        }
        Action::Link { node, parent, name } => {
            let (file, place) = (handle(client, nodes, *node).await?, at(client, nodes, (*parent, *name)).await?);
            let mut reply = client
                .call(op.actor, Procedure::Link, |out| {
                    out.opaque(&file);
                    place.encode(out);
                })
                .await?;
            let attr = post_op(&mut reply).expect("LINK tells attributes");
            Ok(Outcome::Seen(seen(nodes, attr)))
        }
        Action::Unlink { parent, name } => {
            let place = at(client, nodes, (*parent, *name)).await?;
            client.call(op.actor, Procedure::Remove, |out| place.encode(out)).await.map(|_| Outcome::Done)
        }
        Action::Rmdir { parent, name } => {
            let place = at(client, nodes, (*parent, *name)).await?;
            client.call(op.actor, Procedure::RmDir, |out| place.encode(out)).await.map(|_| Outcome::Done)
        }
        Action::Rename { from, to, .. } => {
            let (from, to) = (at(client, nodes, *from).await?, at(client, nodes, *to).await?);
            let args = |out: &mut Encoder| {
                from.encode(out);
                to.encode(out);
            };
            client.call(op.actor, Procedure::Rename, args).await.map(|_| Outcome::Done)
        }
        other => unreachable!("{other:?} is not about names"),
    }
}

/// A new node: the door has to tell its handle and its attributes.
async fn make(
    client: &Client,
    nodes: &mut Nodes,
    op: &Op,
    procedure: Procedure,
    place: &Place,
    what: impl FnOnce(&mut Encoder),
) -> Answer<Outcome> {
    let args = |out: &mut Encoder| {
        place.encode(out);
        what(out);
    };
    let mut reply = client.call(op.actor, procedure, args).await?;
    assert!(flag(&mut reply), "a handle comes with a new node");
    let handle = opaque(&mut reply);
    let attr = post_op(&mut reply).expect("attributes come with a new node");
    let ino = Ino(attr.fileid);
    client.learn(ino, handle);
    // UNCHECKED may have found what was there.
    if nodes.key(ino).is_none() {
        nodes.learn(op.request, ino);
    }
    Ok(Outcome::Seen(seen(nodes, attr)))
}

async fn looks(client: &Client, nodes: &Nodes, op: &Op) -> Answer<Outcome> {
    match &op.action {
        Action::Lookup { parent, name } => {
            let dir = handle(client, nodes, *parent).await?;
            client.lookup(op.actor, &dir, &[*name]).await.map(|attr| Outcome::Seen(seen(nodes, attr)))
        }
        Action::Getattr { node } => {
            let file = handle(client, nodes, *node).await?;
            client.getattr(&file).await.map(|attr| Outcome::Seen(seen(nodes, attr)))
        }
        Action::Readlink { node } => {
            let link = handle(client, nodes, *node).await?;
            let mut reply = client.call(op.actor, Procedure::ReadLink, |out| out.opaque(&link)).await?;
            post_op(&mut reply);
            Ok(Outcome::Bytes(opaque(&mut reply)))
        }
        Action::Chmod { node, mode } => {
            let set = SetAttr { mode: Some(*mode), ..SetAttr::default() };
            set_attributes(client, nodes, op, *node, set).await
        }
        Action::Chown { node, uid, gid } => {
            let set = SetAttr { uid: Some(*uid), gid: Some(*gid), ..SetAttr::default() };
            set_attributes(client, nodes, op, *node, set).await
        }
        Action::Readdir { node } => listing(client, nodes, op, *node).await,
        other => unreachable!("{other:?} has no words in NFS"),
    }
}

async fn set_attributes(client: &Client, nodes: &Nodes, op: &Op, node: Key, set: SetAttr) -> Answer<Outcome> {
    let object = handle(client, nodes, node).await?;
    let args = SetAttrArgs { object, attributes: NewAttributes { set, times_valid: true }, guard: None };
    let mut reply = client.call(op.actor, Procedure::SetAttr, |out| args.encode(out)).await?;
    let (_, after) = wcc(&mut reply);
    Ok(Outcome::Seen(seen(nodes, after.expect("SETATTR tells attributes"))))
}

/// READDIR and READDIRPLUS by turns. Kinds that the reply does not have, a client looks up; as root, since it need not be
/// the caller who may.
async fn listing(client: &Client, nodes: &Nodes, op: &Op, node: Key) -> Answer<Outcome> {
    let dir = handle(client, nodes, node).await?;
    let bytes = LISTING_BYTES[op.request as usize / 2 % LISTING_BYTES.len()];
    let mut names = BTreeMap::new();
    for entry in client.list(op.actor, &dir, bytes, op.request.is_multiple_of(2)).await? {
        let attr = match entry.attr {
            Some(attr) => attr,
            None => client.lookup(Actor::Root, &dir, &entry.name).await?,
        };
        assert_eq!(attr.fileid, entry.fileid.0, "a listing and LOOKUP name the same file");
        let twice = names.insert(entry.name.clone(), (kind(attr), nodes.key(entry.fileid)));
        assert!(twice.is_none(), "{:?} is listed twice", entry.name);
    }
    Ok(Outcome::Listing(names))
}

async fn files(client: &Client, nodes: &Nodes, op: &Op) -> Answer<Outcome> {
    let object = |via: &Via| nodes.key_of(*via).ok_or(STALE);
    match &op.action {
        Action::Truncate { via, size } => {
            let set = SetAttr { size: Some(*size), ..SetAttr::default() };
            set_attributes(client, nodes, op, object(via)?, set).await
        }
        Action::Write { via, offset, fill } => {
            let file = handle(client, nodes, object(via)?).await?;
            let data = Bytes::from(bytes_of(op.request, *fill));
            let synced = op.durability == fs_api::Durability::Synced;
            let stable = if synced { Stable::FileSync } else { Stable::Unstable };
            let args = WriteArgs { file, offset: *offset, count: data.len() as u32, stable, data };
            let mut reply = client.call(op.actor, Procedure::Write, |out| args.encode(out)).await?;
            wcc(&mut reply);
            let (count, kept) = (number(&mut reply), number(&mut reply));
            assert_eq!(kept, stable as u32, "neither less nor more than was asked for");
            client.check_verifier(reply.fixed().expect("a verifier"));
            Ok(Outcome::Count(count.into()))
        }
        Action::Read { via, offset, len } => {
            let file = handle(client, nodes, object(via)?).await?;
            let mut reply = client
                .call(op.actor, Procedure::Read, |out| {
                    out.opaque(&file);
                    out.u64(*offset);
                    out.u32(*len);
                })
                .await?;
            let attr = post_op(&mut reply).expect("READ tells attributes");
            let (count, end, data) = (number(&mut reply), flag(&mut reply), opaque(&mut reply));
            assert_eq!(count as usize, data.len());
            assert_eq!(end, offset + u64::from(count) >= attr.size, "the end of a file of {}", attr.size);
            Ok(Outcome::Bytes(data))
        }
        Action::Fsync { via, .. } => {
            let file = handle(client, nodes, object(via)?).await?;
            let mut reply = client
                .call(op.actor, Procedure::Commit, |out| {
                    out.opaque(&file);
                    out.u64(0);
                    out.u32(0);
                })
                .await?;
            wcc(&mut reply);
            client.check_verifier(reply.fixed().expect("a verifier"));
            Ok(Outcome::Done)
        }
        other => unreachable!("{other:?} is not about bytes"),
    }
}
