//! GETATTR, SETATTR, ACCESS.

use fs_api::{AccessMask, Attr, FileKind, SetAttr};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::procedures::data::{Want, override_refusal};
use crate::protocol::args::{Parsed, SetAttrArgs, handle};
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

const ACCESS_READ: u32 = 1;
const ACCESS_LOOKUP: u32 = 2;
const ACCESS_MODIFY: u32 = 4;
const ACCESS_EXTEND: u32 = 8;
const ACCESS_DELETE: u32 = 16;
const ACCESS_EXECUTE: u32 = 32;

pub(crate) async fn getattr(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let bytes = handle(&mut args)?;
    let found = async {
        let object = request.object(&bytes, Intent::Look)?;
        let attr = request.attr_of(&object).await?;
        Ok::<_, Status>((object, attr))
    };
    Ok(match found.await {
        Ok((object, attr)) => {
            let mut reply = Reply::new(Status::Ok);
            reply.attr(&object.share, &attr);
            reply.finish()
        }
        Err(status) => Reply::new(status).finish(),
    })
}

pub(crate) async fn setattr(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let args = SetAttrArgs::decode(&mut args)?;
    let object = match request.object(&args.object, Intent::Change) {
        Ok(object) => object,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let before = match request.attr_of(&object).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let status = apply(request, &object, &before, &args).await.err().unwrap_or(Status::Ok);
    let steps = u64::from(status == Status::Ok && args.attributes.set != SetAttr::default());
    let wcc = request.wcc(object.ino, Some(before), steps).await;
    Ok(Request::with_wcc(&object.share, status, &wcc))
}

async fn apply(request: &Request, object: &Object, before: &Attr, args: &SetAttrArgs) -> Result<(), Status> {
    if !args.attributes.times_valid {
        return Err(Status::Inval);
    }
    if args.guard.is_some_and(|ctime| ctime != Some(before.ctime)) {
        return Err(Status::NotSync);
    }
    let set = args.attributes.set;
    if set == SetAttr::default() {
        return Ok(());
    }
    if set.size.is_some() && before.kind != FileKind::Regular {
        return Err(if before.kind == FileKind::Directory { Status::IsDir } else { Status::Inval });
    }
    let cx = object.change();
    let result = request.vfs().setattr(&cx, object.target(), set).await;
    let Err(error) = result else { return Ok(()) };
    let only_size = SetAttr { size: None, ..set } == SetAttr::default();
    let cx = override_refusal(request, object, before, &error, Want::Write, cx.durability).await;
    match cx.filter(|_| only_size) {
        Some(cx) => {
            let set = SetAttr { kill_suid_sgid: true, ..set };
            request.vfs().setattr(&cx, object.target(), set).await.map(drop).map_err(Status::from)
        }
        None => Err(error.into()),
    }
}

pub(crate) async fn access(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (bytes, asked) = (handle(&mut args)?, args.u32()?);
    let object = match request.object(&bytes, Intent::Look) {
        Ok(object) => object,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let attr = match request.attr_of(&object).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let mut granted = 0;
    for (bits, mask) in wants(attr.kind) {
        let refused = mask.write && object.share.read_only;
        if asked & bits != 0 && !refused && request.vfs().access(&object.look(), object.ino, mask).await.is_ok() {
            granted |= asked & bits;
        }
    }
    let mut reply = Reply::new(Status::Ok);
    reply.post_op(&object.share, Some(&attr));
    reply.0.u32(granted);
    Ok(reply.finish())
}

/// Which permission gives which bits of ACCESS.
const fn wants(kind: FileKind) -> [(u32, AccessMask); 3] {
    let (write_bits, execute_bits) = match kind {
        FileKind::Directory => (ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE, ACCESS_LOOKUP),
        _ => (ACCESS_MODIFY | ACCESS_EXTEND, ACCESS_EXECUTE),
    };
    [
        (ACCESS_READ, AccessMask { read: true, write: false, execute: false }),
        (write_bits, AccessMask { read: false, write: true, execute: false }),
        (execute_bits, AccessMask { read: false, write: false, execute: true }),
    ]
}
