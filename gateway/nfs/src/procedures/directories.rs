//! READDIR and READDIRPLUS: cookies are the filesystem's, byte limits are kept to the byte.

use fs_api::{Attr, DirEntry, Listing, Target};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Decoder;

use crate::handle::HANDLE_BYTES;
use crate::protocol::TRANSFER_BYTES_MAX;
use crate::protocol::args::{Parsed, ReadDirArgs};
use crate::protocol::attributes::FATTR_BYTES;
use crate::protocol::status::Status;
use crate::request::{Intent, Object, Reply, Request};

/// Cookies never change while a name lives and are never reused, whatever happens to the directory, so there is one
/// verifier for ever, and any other that a client brings is taken too: refusing one breaks its listing for nothing.
const COOKIE_VERIFIER: [u8; 8] = [0; 8];
/// Attributes of the directory, the verifier, the end of the list, the end of the directory.
const FRAME_BYTES: usize = 4 + FATTR_BYTES + 8 + 4 + 4;
/// `fileid`, `cookie`, the length of the name and the mark that an entry follows.
const ENTRY_BYTES: usize = 8 + 8 + 4 + 4;
const ATTR_BYTES: usize = 4 + FATTR_BYTES;
const HANDLE_FIELD_BYTES: usize = 4 + 4 + HANDLE_BYTES;
/// Entries asked for at a time.
const BATCH_MAX: usize = 1024;
/// Bytes of an entry with a name of usual length: how many to ask for.
const ENTRY_BYTES_USUAL: usize = 40;

pub(crate) async fn readdir(request: &Request, args: Decoder) -> Parsed<Body> {
    list(request, args, false).await
}

pub(crate) async fn readdirplus(request: &Request, args: Decoder) -> Parsed<Body> {
    list(request, args, true).await
}

/// Room left under both limits.
struct Room {
    /// Names, cookies and numbers.
    names: usize,
    all: usize,
}

impl Room {
    /// Takes the room for one entry, or says that there is none.
    fn take(&mut self, name: usize, extra: usize) -> bool {
        let names = ENTRY_BYTES + name.next_multiple_of(4);
        let (Some(left_names), Some(left)) = (self.names.checked_sub(names), self.all.checked_sub(names + extra))
        else {
            return false;
        };
        (self.names, self.all) = (left_names, left);
        true
    }
}

async fn list(request: &Request, mut args: Decoder, plus: bool) -> Parsed<Body> {
    let args = ReadDirArgs::decode(&mut args, plus)?;
    let dir = match request.object(&args.dir, Intent::Look) {
        Ok(dir) => dir,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    let attr = match request.directory(&dir).await {
        Ok(attr) => attr,
        Err(status) => return Ok(Reply::failed_attr(status)),
    };
    Ok(match collect(request, &dir, &args, plus).await {
        Ok((entries, end)) => encode(request, &dir, &attr, &entries, end, plus),
        Err(status) => {
            let mut reply = Reply::new(status);
            reply.post_op(&dir.share, Some(&attr));
            reply.finish()
        }
    })
}

async fn collect(
    request: &Request,
    dir: &Object,
    args: &ReadDirArgs,
    plus: bool,
) -> Result<(Vec<DirEntry>, bool), Status> {
    let all = args.maxcount.min(TRANSFER_BYTES_MAX) as usize;
    let all = all.checked_sub(FRAME_BYTES).ok_or(Status::TooSmall)?;
    // READDIR has one limit; some clients send a DIRCOUNT of 0 and mean none.
    let names = if plus && args.dircount > 0 { args.dircount as usize } else { all };
    let mut room = Room { names, all };
    let (mut entries, mut cookie, cx) = (Vec::<DirEntry>::new(), args.cookie, dir.look());
    loop {
        let per_entry = ENTRY_BYTES_USUAL + if plus { ATTR_BYTES + HANDLE_FIELD_BYTES } else { 0 };
        let limit = (room.all / per_entry).min(room.names / ENTRY_BYTES_USUAL).clamp(1, BATCH_MAX);
        let Listing { entries: mut found, end } =
            request.vfs().readdir(&cx, Target::inode(dir.ino), cookie, limit, plus).await?;
        let (wanted, nothing) = (found.len(), found.is_empty());
        let mut fits = |entry: &&DirEntry| room.take(entry.name.len(), extra_bytes(dir, entry, plus));
        let taken = found.iter().take_while(&mut fits).count();
        found.truncate(taken);
        cookie = found.last().map_or(cookie, |entry| entry.cookie);
        // The first batch is mostly all of it, and is not moved.
        if entries.is_empty() {
            entries = found;
        } else {
            entries.append(&mut found);
        }
        if taken < wanted {
            return if entries.is_empty() { Err(Status::TooSmall) } else { Ok((entries, false)) };
        }
        if end || nothing {
            return Ok((entries, true));
        }
    }
}

/// Whether an entry goes out with attributes and a handle. Of `..` it does not, but at the root of the share, where it is
/// the root: the parent may lie outside, and clients look it up when they need it.
fn is_up(entry: &DirEntry) -> bool {
    entry.name == b".."
}

fn extra_bytes(dir: &Object, entry: &DirEntry, plus: bool) -> usize {
    if !plus {
        return 0;
    }
    let root = dir.ino == dir.share.root;
    if entry.attr.is_some() && (!is_up(entry) || root) { ATTR_BYTES + HANDLE_FIELD_BYTES } else { 4 + 4 }
}

fn encode(request: &Request, dir: &Object, attr: &Attr, entries: &[DirEntry], end: bool, plus: bool) -> Body {
    let names: usize = entries
        .iter()
        .map(|entry| ENTRY_BYTES + entry.name.len().next_multiple_of(4) + extra_bytes(dir, entry, plus))
        .sum();
    let mut reply = Reply::with_capacity(Status::Ok, FRAME_BYTES + 4 + names);
    reply.post_op(&dir.share, Some(attr));
    reply.0.fixed(&COOKIE_VERIFIER);
    let root = dir.ino == dir.share.root;
    for entry in entries {
        let (ino, entry_attr) = match (is_up(entry), root) {
            (true, true) => (dir.ino, entry.attr.map(|_| *attr)),
            (true, false) => (entry.ino, None),
            (false, _) => (entry.ino, entry.attr),
        };
        reply.0.bool(true);
        reply.0.u64(ino.0);
        reply.0.opaque(&entry.name);
        reply.0.u64(entry.cookie);
        if plus {
            reply.post_op(&dir.share, entry_attr.as_ref());
            match entry_attr {
                Some(_) => reply.handle(&request.door, &dir.share, ino),
                None => reply.0.bool(false),
            }
        }
    }
    reply.0.bool(false);
    reply.0.bool(end);
    reply.finish()
}
