//! LOOKUP, READLINK, RENAME, LINK.

use fs_api::{Attr, RenameMode};
use futures::FutureExt;
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::protocol::args::{Parsed, Place, handle};
use crate::protocol::attributes::Wcc;
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

pub(crate) async fn lookup(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let place = Place::decode(&mut args)?;
    let dir = match request.object(&place.dir, Intent::Look) {
        Ok(dir) => dir,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let attr = match request.directory(&dir).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    Ok(match find(request, &dir, &attr, &place.name).await {
        Ok(found) => {
            let mut reply = Reply::new(Status::Ok);
            reply.bare_handle(&request.door, &dir.share, found.ino);
            reply.post_op(&dir.share, Some(&found));
            reply.post_op(&dir.share, Some(&attr));
            reply.finish()
        }
        Err(status) => {
            let mut reply = Reply::new(status);
            reply.post_op(&dir.share, Some(&attr));
            reply.finish()
        }
    })
}

/// `..` ends at the root of the share, and is refused where the directory does not lie in the share any more.
async fn find(request: &Request, dir: &Object, attr: &Attr, name: &[u8]) -> Result<Attr, Status> {
    let up = name == b"..";
    if up && dir.ino == dir.share.root {
        return Ok(*attr);
    }
    let found = request.vfs().lookup(&dir.look(), dir.ino, name).await?;
    if up && !request.lies_in(&dir.share, found.ino).boxed().await {
        return Err(Status::Acces);
    }
    Ok(found)
}

pub(crate) async fn readlink(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let bytes = handle(&mut args)?;
    let link = match request.object(&bytes, Intent::Look) {
        Ok(link) => link,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let attr = match request.attr_of(&link).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let target = request.vfs().readlink(&link.look(), link.ino).await.map_err(Status::from);
    let mut reply = Reply::new(target.as_ref().err().copied().unwrap_or(Status::Ok));
    reply.post_op(&link.share, Some(&attr));
    if let Ok(target) = target {
        reply.payload(target);
    }
    Ok(reply.finish())
}

pub(crate) async fn rename(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (from, to) = (Place::decode(&mut args)?, Place::decode(&mut args)?);
    let both = async {
        let source = request.object(&from.dir, Intent::Change)?;
        let target = request.object(&to.dir, Intent::Change)?;
        if source.share.id != target.share.id {
            return Err(Status::XDev);
        }
        // Elsewhere they are busy, which a client here would take for a reason to ask again, for ever (RFC 1813, 3.3.14).
        if [&from, &to].iter().any(|place| matches!(&place.name[..], b"." | b"..")) {
            return Err(Status::Inval);
        }
        let source_attr = request.directory(&source).await?;
        let target_attr = request.directory(&target).await?;
        Ok((source, source_attr, target, target_attr))
    };
    let (source, source_attr, target, target_attr) = match both.await {
        Ok(both) => both,
        Err(status) => return Ok(two_wcc(None, status, &Wcc::default(), &Wcc::default())),
    };
    let renamed = request
        .vfs()
        .rename(&source.change(), source.ino, &from.name, target.ino, &to.name, RenameMode::Replace)
        .await
        .map_err(Status::from);
    let status = renamed.err().unwrap_or(Status::Ok);
    // A rename of a file onto another of its own names changes nothing: the count then does not fit, and no
    // pre-operation attributes go out.
    let steps = u64::from(status == Status::Ok);
    let source_wcc = request.wcc(source.ino, Some(source_attr), steps).await;
    let target_wcc = request.wcc(target.ino, Some(target_attr), steps).await;
    Ok(two_wcc(Some(&source), status, &source_wcc, &target_wcc))
}

pub(crate) fn two_wcc(object: Option<&Object>, status: Status, first: &Wcc, second: &Wcc) -> Body {
    let mut reply = Reply::new(status);
    match object {
        Some(object) => {
            reply.wcc(&object.share, first);
            reply.wcc(&object.share, second);
        }
        None => {
            for _ in 0..4 {
                reply.0.bool(false);
            }
        }
    }
    reply.finish()
}

pub(crate) async fn link(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (bytes, place) = (handle(&mut args)?, Place::decode(&mut args)?);
    let both = async {
        let file = request.object(&bytes, Intent::Change)?;
        let dir = request.object(&place.dir, Intent::Change)?;
        if file.share.id != dir.share.id {
            return Err(Status::XDev);
        }
        request.attr_of(&file).await?;
        let attr = request.directory(&dir).await?;
        Ok((file, dir, attr))
    };
    let (file, dir, before) = match both.await {
        Ok(both) => both,
        Err(status) => return Ok(Reply::failed_link(status)),
    };
    let linked = request.vfs().link(&dir.change(), file.ino, dir.ino, &place.name).await.map_err(Status::from);
    let status = linked.err().unwrap_or(Status::Ok);
    let wcc = request.wcc(dir.ino, Some(before), u64::from(status == Status::Ok)).await;
    let mut reply = Reply::new(status);
    reply.post_op(&file.share, request.attr(file.ino).await.as_ref());
    reply.wcc(&dir.share, &wcc);
    Ok(reply.finish())
}
