//! FSSTAT, FSINFO, PATHCONF: what a client may ask of the filesystem, and its limits.

use fs_api::{Attr, FILE_BYTES_MAX, LINKS_MAX, NAME_BYTES_MAX};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::protocol::TRANSFER_BYTES_MAX;
use crate::protocol::args::{Parsed, handle};
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

/// A listing of this size is read in one go by every client.
const LISTING_BYTES_PREFERRED: u32 = 64 << 10;
/// Reads and writes are best in multiples of a page.
const TRANSFER_MULTIPLE: u32 = 4096;
/// Hard links, symbolic links, the same PATHCONF everywhere, times can be set (RFC 1813, section 3.3.19).
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

async fn object(request: &Request, args: &mut Decoder) -> Parsed<Result<(Object, Attr), Status>> {
    let bytes = handle(args)?;
    let found = async {
        let object = request.object(&bytes, Intent::Look)?;
        let attr = request.attr_of(&object).await?;
        Ok((object, attr))
    };
    Ok(found.await)
}

pub(crate) async fn fsstat(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (object, attr) = match object(request, &mut args).await? {
        Ok(found) => found,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let stat = match request.vfs().statfs(&object.look(), object.ino).await.map_err(Status::from) {
        Ok(stat) => stat,
        Err(status) => {
            let mut reply = Reply::new(status);
            reply.post_op(&object.share, Some(&attr));
            return Ok(reply.finish());
        }
    };
    let mut reply = Reply::new(Status::Ok);
    reply.post_op(&object.share, Some(&attr));
    for bytes in [stat.bytes_total, stat.bytes_free, stat.bytes_free] {
        reply.0.u64(bytes);
    }
    for inodes in [stat.inodes_used.saturating_add(stat.inodes_free), stat.inodes_free, stat.inodes_free] {
        reply.0.u64(inodes);
    }
    // Others write too: the figures may be different a moment later.
    reply.0.u32(0);
    Ok(reply.finish())
}

pub(crate) async fn fsinfo(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (object, attr) = match object(request, &mut args).await? {
        Ok(found) => found,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let mut reply = Reply::new(Status::Ok);
    reply.post_op(&object.share, Some(&attr));
    for _ in ["read", "write"] {
        for bytes in [TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX, TRANSFER_MULTIPLE] {
            reply.0.u32(bytes);
        }
    }
    reply.0.u32(LISTING_BYTES_PREFERRED);
    reply.0.u64(FILE_BYTES_MAX);
    // Times are kept to the nanosecond.
    reply.0.u32(0);
    reply.0.u32(1);
    reply.0.u32(PROPERTIES);
    Ok(reply.finish())
}

pub(crate) async fn pathconf(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (object, attr) = match object(request, &mut args).await? {
        Ok(found) => found,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let mut reply = Reply::new(Status::Ok);
    reply.post_op(&object.share, Some(&attr));
    reply.0.u32(LINKS_MAX);
    reply.0.u32(NAME_BYTES_MAX as u32);
    // Too long a name is refused, only root gives files away, case is kept and told apart.
    for truth in [true, true, false, true] {
        reply.0.bool(truth);
    }
    Ok(reply.finish())
}
