//! Answers to calls that were carried out before the service was started, made from what is there now.
//!
//! They say what the first reply said: the call succeeded. What others did since is told as it is: attributes are of now, no
//! `before` goes out, and of an object that has its name no more neither handle nor attributes do (all are optional on the
//! wire, RFC 1813 section 2.6).

use fs_api::{Durability, Target};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::procedures::names::two_wcc;
use crate::protocol::Procedure;
use crate::protocol::args::{Parsed, Place, SetAttrArgs, handle};
use crate::protocol::attributes::Wcc;
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

pub(crate) async fn answer(request: &Request, procedure: Procedure, mut args: Decoder) -> Parsed<Body> {
    Ok(match procedure {
        Procedure::SetAttr => {
            let object = SetAttrArgs::decode(&mut args)?.object;
            one(request, &object).await.unwrap_or_else(Reply::failed_wcc)
        }
        Procedure::Rename => {
            let (from, to) = (Place::decode(&mut args)?, Place::decode(&mut args)?);
            let none = |status| two_wcc(None, status, &Wcc::default(), &Wcc::default());
            renamed(request, &from, &to).await.unwrap_or_else(none)
        }
        Procedure::Link => {
            let (file, place) = (handle(&mut args)?, Place::decode(&mut args)?);
            linked(request, &file, &place).await.unwrap_or_else(Reply::failed_link)
        }
        Procedure::Create | Procedure::MkDir | Procedure::SymLink | Procedure::MkNod => {
            let place = Place::decode(&mut args)?;
            made(request, &place).await.unwrap_or_else(Reply::failed_wcc)
        }
        // REMOVE and RMDIR; no other procedure leaves a receipt.
        _ => {
            let dir = Place::decode(&mut args)?.dir;
            one(request, &dir).await.unwrap_or_else(Reply::failed_wcc)
        }
    })
}

/// The object of `handle`, as the call changed it; what it changed is durable from here on.
async fn settled(request: &Request, handle: &[u8]) -> Result<Object, Status> {
    let object = request.object(handle, Intent::Change)?;
    let cx = object.privileged(Durability::Synced);
    // The receipt may have come out of a record that was written and not synced before the crash.
    match request.vfs().fsync(&cx, Target::inode(object.ino), false).await.map_err(Status::from) {
        // What the call changed has been removed since.
        Ok(()) | Err(Status::Stale | Status::NoEnt) => Ok(object),
        Err(status) => Err(status),
    }
}

async fn wcc(request: &Request, object: &Object) -> Wcc {
    Wcc { before: None, after: request.attr(object.ino).await }
}

async fn one(request: &Request, handle: &[u8]) -> Result<Body, Status> {
    let object = settled(request, handle).await?;
    let wcc = wcc(request, &object).await;
    Ok(Request::with_wcc(&object.share, Status::Ok, &wcc))
}

async fn made(request: &Request, place: &Place) -> Result<Body, Status> {
    let dir = settled(request, &place.dir).await?;
    let made = request.vfs().lookup(&dir.look(), dir.ino, &place.name).await.ok();
    let mut reply = Reply::new(Status::Ok);
    match &made {
        Some(attr) => reply.handle(&request.door, &dir.share, attr.ino),
        None => reply.0.bool(false),
    }
    reply.post_op(&dir.share, made.as_ref());
    reply.wcc(&dir.share, &wcc(request, &dir).await);
    Ok(reply.finish())
}

async fn renamed(request: &Request, from: &Place, to: &Place) -> Result<Body, Status> {
    let (source, target) = (settled(request, &from.dir).await?, settled(request, &to.dir).await?);
    Ok(two_wcc(Some(&source), Status::Ok, &wcc(request, &source).await, &wcc(request, &target).await))
}

async fn linked(request: &Request, file: &[u8], place: &Place) -> Result<Body, Status> {
    let (file, dir) = (request.object(file, Intent::Change)?, settled(request, &place.dir).await?);
    let mut reply = Reply::new(Status::Ok);
    reply.post_op(&file.share, request.attr(file.ino).await.as_ref());
    reply.wcc(&dir.share, &wcc(request, &dir).await);
    Ok(reply.finish())
}
