//! READ, WRITE, COMMIT.

use bytes::Bytes;
use fs_api::{AccessMask, Attr, Context, Durability, FILE_BYTES_MAX, FileKind, SetAttr};
use futures::FutureExt;
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;
use objstore_base::{Error, ErrorKind, pending_once};

use crate::protocol::TRANSFER_BYTES_MAX;
use crate::protocol::args::{Parsed, ReadArgs, Stable, WriteArgs};
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

const EXECUTE: AccessMask = AccessMask { read: false, write: false, execute: true };
const SUID_SGID: u32 = 0o6000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
}

/// The context to try again with where `error` refused what the protocol must allow: it has no open, so the owner of a file
/// may read and write it whatever its mode became since (a copy of a read-only file, a mode set by `open`), and who may
/// execute a file may read it. Clients check the mode when a program opens the file.
pub(crate) async fn override_refusal(
    request: &Request,
    object: &Object,
    attr: &Attr,
    error: &Error,
    want: Want,
    durability: Durability,
) -> Option<Context> {
    if error.kind() != ErrorKind::AccessDenied || attr.kind != FileKind::Regular {
        return None;
    }
    let owns = object.credentials.uid == attr.uid;
    let runs = want == Want::Read && request.vfs().access(&object.look(), object.ino, EXECUTE).await.is_ok();
    (owns || runs).then(|| object.privileged(durability))
}

/// Reads of so many bytes take longer than it takes to wake a thread: those of one connection are carried out side by side.
const BESIDE_BYTES_MIN: u32 = 128 << 10;

/// Only regular files have bytes; a device node is never opened on the server.
const fn regular(attr: &Attr) -> Result<(), Status> {
    match attr.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Status::IsDir),
        _ => Err(Status::Inval),
    }
}

pub(crate) async fn read(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let args = ReadArgs::decode(&mut args)?;
    let file = match request.object(&args.file, Intent::Look) {
        Ok(file) => file,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let attr = match request.attr_of(&file).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let data = bytes_of(request, &file, &attr, &args).await;
    // After the read: the size that the end of file is judged by, and the access time.
    let attr = request.attr(file.ino).await;
    let mut reply = Reply::new(data.as_ref().err().copied().unwrap_or(Status::Ok));
    reply.post_op(&file.share, attr.as_ref());
    if let Ok(data) = data {
        let end = args.offset.saturating_add(data.len() as u64);
        reply.0.u32(data.len() as u32);
        reply.0.bool(attr.is_some_and(|attr| end >= attr.size));
        reply.payload(data);
    }
    Ok(reply.finish())
}

async fn bytes_of(request: &Request, file: &Object, attr: &Attr, args: &ReadArgs) -> Result<Bytes, Status> {
    regular(attr)?;
    let count = args.count.min(TRANSFER_BYTES_MAX);
    if count >= BESIDE_BYTES_MIN {
        pending_once().await;
    }
    // What no file can hold is past the end of every file; permission is still decided.
    let offset = args.offset.min(FILE_BYTES_MAX - u64::from(count));
    let error = match request.vfs().read(&file.look(), file.target(), offset, count).await {
        Ok(data) => return Ok(if offset == args.offset { data } else { Bytes::new() }),
        Err(error) => error,
    };
    match override_refusal(request, file, attr, &error, Want::Read, Durability::Buffered).boxed().await {
        Some(cx) => Ok(request.vfs().read(&cx, file.target(), offset, count).await?),
        None => Err(error.into()),
    }
}

pub(crate) async fn write(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let args = WriteArgs::decode(&mut args)?;
    let file = match request.object(&args.file, Intent::Change) {
        Ok(file) => file,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let before = match request.attr_of(&file).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    // Before the bytes are taken: what is lost from then on shows as another value at COMMIT.
    let verifier = request.door.verifier().current();
    let written = put(request, &file, &before, &args).await;
    let steps = u64::from(written.as_ref().is_ok_and(|count| *count > 0));
    let wcc = request.wcc(file.ino, Some(before), steps).await;
    let mut reply = Reply::new(written.as_ref().err().copied().unwrap_or(Status::Ok));
    reply.wcc(&file.share, &wcc);
    if let Ok(count) = written {
        let kept = if args.stable == Stable::Unstable { Stable::Unstable } else { Stable::FileSync };
        reply.0.u32(count);
        reply.0.u32(kept as u32);
        reply.0.fixed(&verifier);
    }
    Ok(reply.finish())
}

async fn put(request: &Request, file: &Object, attr: &Attr, args: &WriteArgs) -> Result<u32, Status> {
    regular(attr)?;
    if args.data.len() != args.count as usize {
        return Err(Status::Inval);
    }
    if args.offset.checked_add(u64::from(args.count)).is_none_or(|end| end > FILE_BYTES_MAX) {
        return Err(Status::FBig);
    }
    let durability = if args.stable == Stable::Unstable { Durability::Buffered } else { Durability::Synced };
    let cx = file.with(durability);
    let error = match request.vfs().write(&cx, file.target(), args.offset, &args.data).await {
        Ok(count) => return Ok(count),
        Err(error) => error,
    };
    let Some(cx) = override_refusal(request, file, attr, &error, Want::Write, durability).boxed().await else {
        return Err(lost(request, error));
    };
    if attr.mode & SUID_SGID != 0 {
        // As a write by the owner itself takes them away; first, so that the log has both when it has the bytes.
        let set = SetAttr { kill_suid_sgid: true, ..SetAttr::default() };
        request.vfs().setattr(&cx, file.target(), set).await?;
    }
    request.vfs().write(&cx, file.target(), args.offset, &args.data).await.map_err(|error| lost(request, error))
}

/// A medium that failed one write or sync may have lost what it took before.
fn lost(request: &Request, error: Error) -> Status {
    let status = Status::from(error);
    if status.needs_operator() {
        request.door.unstable_data_lost();
    }
    status
}

pub(crate) async fn commit(request: &Request, mut args: Decoder) -> Parsed<Body> {
    // The range is a hint: all of the file is made durable, by one shared sync.
    let args = ReadArgs::decode(&mut args)?;
    let file = match request.object(&args.file, Intent::Change) {
        Ok(file) => file,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let before = match request.attr_of(&file).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_wcc(status)),
    };
    let synced = match regular(&before) {
        Ok(()) => {
            let synced = request.vfs().fsync(&file.with(Durability::Synced), file.target(), false).await;
            synced.map_err(|error| lost(request, error))
        }
        Err(status) => Err(status),
    };
    let wcc = request.wcc(file.ino, Some(before), 0).await;
    let mut reply = Reply::new(synced.err().unwrap_or(Status::Ok));
    reply.wcc(&file.share, &wcc);
    if synced.is_ok() {
        reply.0.fixed(&request.door.verifier().current());
    }
    Ok(reply.finish())
}
