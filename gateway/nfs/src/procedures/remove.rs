//! REMOVE, RMDIR.

use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::protocol::args::{Parsed, Place};
use crate::protocol::status::Status;
use crate::request::{Intent, Reply, Request};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    File,
    Directory,
}

pub(crate) async fn remove(request: &Request, args: Decoder) -> Parsed<Body> {
    take_away(request, args, Victim::File).await
}

pub(crate) async fn rmdir(request: &Request, args: Decoder) -> Parsed<Body> {
    take_away(request, args, Victim::Directory).await
}

async fn take_away(request: &Request, mut args: Decoder, victim: Victim) -> Parsed<Body> {
    let place = Place::decode(&mut args)?;
    let dir = match request.object(&place.dir, Intent::Change) {
        Ok(dir) => dir,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let before = match request.directory(&dir).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let cx = dir.change();
    let removed = match victim {
        Victim::File => request.vfs().unlink(&cx, dir.ino, &place.name).await,
        Victim::Directory => request.vfs().rmdir(&cx, dir.ino, &place.name).await,
    };
    let status = removed.map_err(Status::from).err().unwrap_or(Status::Ok);
    let wcc = request.wcc(dir.ino, Some(before), u64::from(status == Status::Ok)).await;
    Ok(Request::with_wcc(&dir.share, status, &wcc))
}
