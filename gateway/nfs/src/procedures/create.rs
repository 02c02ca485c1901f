//! CREATE, MKDIR, SYMLINK, MKNOD.

use fs_api::{Attr, Durability, FileKind, NewNode, SetAttr, SetTime, Target, Time};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;
use objstore_base::ErrorKind;

use crate::protocol::NAME_WIRE_BYTES_MAX;
use crate::protocol::args::{CreateHow, MkNodData, Parsed, Place};
use crate::protocol::attributes::{NewAttributes, join_device};
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

/// The mode of what a client creates without saying one; it sets the rest by SETATTR.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const SYMLINK_MODE: u32 = 0o777;
/// A name that others make and remove meanwhile is tried this often.
const ATTEMPTS: usize = 4;

/// What to make.
enum Plan {
    Unchecked(NewAttributes),
    Guarded(NewAttributes),
    Exclusive([u8; 8]),
    Node(NewNode, u32, NewAttributes),
    /// Nothing: the arguments decode but say nothing that can be made.
    Refuse(Status),
}

/// What was made, and how often the directory changed by it.
struct Made {
    attr: Attr,
    steps: u64,
}

pub(crate) async fn create(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let place = Place::decode(&mut args)?;
    let plan = match CreateHow::decode(&mut args)? {
        CreateHow::Unchecked(attributes) => Plan::Unchecked(attributes),
        CreateHow::Guarded(attributes) => Plan::Guarded(attributes),
        CreateHow::Exclusive(verifier) => Plan::Exclusive(verifier),
    };
    Ok(carry_out(request, &place, plan).await)
}

pub(crate) async fn mkdir(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (place, attributes) = (Place::decode(&mut args)?, NewAttributes::decode(&mut args)?);
    Ok(carry_out(request, &place, Plan::Node(NewNode::Directory, DIRECTORY_MODE, attributes)).await)
}

pub(crate) async fn symlink(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let (place, attributes) = (Place::decode(&mut args)?, NewAttributes::decode(&mut args)?);
    let target = args.string(NAME_WIRE_BYTES_MAX)?;
    Ok(carry_out(request, &place, Plan::Node(NewNode::Symlink(target.to_vec()), SYMLINK_MODE, attributes)).await)
}

pub(crate) async fn mknod(request: &Request, mut args: Decoder) -> Parsed<Body> {
    let place = Place::decode(&mut args)?;
    let plan = match MkNodData::decode(&mut args)? {
        MkNodData::Device { block, attributes, major, minor } => match join_device(major, minor) {
            Some(device) if block => Plan::Node(NewNode::BlockDevice(device), FILE_MODE, attributes),
            Some(device) => Plan::Node(NewNode::CharDevice(device), FILE_MODE, attributes),
            None => Plan::Refuse(Status::Inval),
        },
        MkNodData::Socket(attributes) => Plan::Node(NewNode::Socket, FILE_MODE, attributes),
        MkNodData::Fifo(attributes) => Plan::Node(NewNode::Fifo, FILE_MODE, attributes),
        MkNodData::Other => Plan::Refuse(Status::BadType),
    };
    Ok(carry_out(request, &place, plan).await)
}

async fn carry_out(request: &Request, place: &Place, plan: Plan) -> Body {
    let dir = match request.object(&place.dir, Intent::Change) {
        Ok(dir) => dir,
        Err(status) => return Reply::failed_wcc(status),
    };
    let before = match request.directory(&dir).await {
        Ok(attr) => attr,
        Err(status) => return Reply::failed_wcc(status),
    };
    let made = match plan {
        Plan::Unchecked(attributes) => unchecked(request, &dir, &place.name, attributes).await,
        Plan::Guarded(attributes) => node(request, &dir, &place.name, NewNode::Regular, FILE_MODE, attributes).await,
        Plan::Exclusive(verifier) => exclusive(request, &dir, &place.name, verifier).await,
        Plan::Node(new, mode, attributes) => node(request, &dir, &place.name, new, mode, attributes).await,
        Plan::Refuse(status) => Err(status),
    };
    let wcc = request.wcc(dir.ino, Some(before), made.as_ref().map_or(0, |made| made.steps)).await;
    match made {
        Ok(made) => {
            let mut reply = Reply::new(Status::Ok);
            reply.handle(&request.door, &dir.share, made.attr.ino);
            reply.post_op(&dir.share, Some(&made.attr));
            reply.wcc(&dir.share, &wcc);
            reply.finish()
        }
        Err(status) => Request::with_wcc(&dir.share, status, &wcc),
    }
}

/// A new node with its attributes, as one change.
async fn node(
    request: &Request,
    dir: &Object,
    name: &[u8],
    node: NewNode,
    default_mode: u32,
    attributes: NewAttributes,
) -> Result<Made, Status> {
    if !attributes.times_valid {
        return Err(Status::Inval);
    }
    let regular = node == NewNode::Regular;
    let rest = rest_of(dir, regular, attributes.set);
    let mode = attributes.set.mode.unwrap_or(default_mode);
    let attr = request.vfs().make_with(&dir.change(), dir.ino, name, node, mode, 0, rest).await?;
    Ok(Made { attr, steps: 1 })
}

/// What the mode and the caller do not say. Only root chooses an owner; to everyone else the new node belongs, as Linux has it.
fn rest_of(dir: &Object, regular: bool, set: SetAttr) -> SetAttr {
    let root = dir.credentials.is_privileged();
    SetAttr {
        mode: None,
        uid: set.uid.filter(|_| root),
        gid: set.gid.filter(|_| root),
        size: set.size.filter(|size| regular && *size > 0),
        ..set
    }
}

async fn unchecked(request: &Request, dir: &Object, name: &[u8], attributes: NewAttributes) -> Result<Made, Status> {
    for _ in 0..ATTEMPTS {
        match node(request, dir, name, NewNode::Regular, FILE_MODE, attributes).await {
            Err(Status::Exist) => {}
            other => return other,
        }
        let found = match request.vfs().lookup(&dir.look(), dir.ino, name).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if found.kind != FileKind::Regular {
            return Err(Status::Exist);
        }
        // Of an existing file only the size is set: `open` with O_CREAT and O_TRUNC.
        let attr = match attributes.set.size {
            Some(size) => {
                let set = SetAttr { size: Some(size), ..SetAttr::default() };
                request.vfs().setattr(&dir.change(), Target::inode(found.ino), set).await?
            }
            None => found,
        };
        return Ok(Made { attr, steps: 0 });
    }
    Err(Status::Jukebox)
}

/// The verifier becomes the times of the new file, all 64 bits of it, so that it survives whatever the file survives. A
/// repeat finds the name, the verifier and no content yet, and is answered as the first call was.
async fn exclusive(request: &Request, dir: &Object, name: &[u8], verifier: [u8; 8]) -> Result<Made, Status> {
    let number = u64::from_be_bytes(verifier);
    let atime = Time { secs: (number >> 32) as i64, nanos: 0 };
    let mtime = Time { secs: (number & u64::from(u32::MAX)) as i64, nanos: 0 };
    let set = SetAttr { atime: Some(SetTime::To(atime)), mtime: Some(SetTime::To(mtime)), ..SetAttr::default() };
    let made = node(request, dir, name, NewNode::Regular, FILE_MODE, NewAttributes { set, times_valid: true }).await;
    if !matches!(made, Err(Status::Exist)) {
        return made;
    }
    let found = request.vfs().lookup(&dir.look(), dir.ino, name).await?;
    let own = found.kind == FileKind::Regular && found.size == 0 && (found.atime, found.mtime) == (atime, mtime);
    if !own {
        return Err(Status::Exist);
    }
    // The first call may have died between its change and its sync.
    request.vfs().fsync(&dir.with(Durability::Synced), Target::inode(found.ino), false).await?;
    Ok(Made { attr: found, steps: 0 })
}
