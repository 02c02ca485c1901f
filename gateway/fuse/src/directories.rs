//! Listings: readdir and readdirplus.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fs_api::{Context, DirEntry, OpenFlags, Target, Vfs};
use fuser::{FileHandle, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyOpen, Request};
use objstore_base::Result;

use crate::attributes::target;
use crate::convert::{attributes, file_type, ino};
use crate::door::{Door, GENERATION};
use crate::errno::errno;
use crate::files::fopen_flags;

/// Entries asked for at a time. fuser does not say how large the reply may be, so it is filled in steps and the last
/// step is partly in vain: a few microseconds without attributes, some tens with them.
const BATCH: usize = 128;
const BATCH_WITH_ATTRIBUTES: usize = 32;

/// What is done with an entry; false where the reply has no room for it.
type Take<'a> = &'a mut (dyn FnMut(&DirEntry) -> bool + Send);

impl Door {
    pub(crate) fn open_directory(&self, request: &Request, number: INodeNo, reply: ReplyOpen) {
        let (cx, operation) = self.enter(request, "opendir", number);
        let vfs = Arc::clone(&self.vfs);
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        let work = async move { vfs.open(&cx, ino(number), flags).await };
        self.serve(operation, reply, work, |reply, handle| {
            reply.opened(FileHandle(handle.id.0), fopen_flags(handle));
        });
    }

    pub(crate) fn list(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectory,
    ) {
        let (cx, operation) = self.enter(request, "readdir", number);
        let vfs = Arc::clone(&self.vfs);
        self.run(operation.range(cookie, 0), async move {
            let mut take = |entry: &DirEntry| {
                let name = OsStr::from_bytes(&entry.name);
                !reply.add(INodeNo(entry.ino.0), entry.cookie, file_type(entry.kind), name)
            };
            match fill(vfs.as_ref(), &cx, target(number, Some(handle)), cookie, BATCH, false, &mut take).await {
                Ok(()) => {
                    reply.ok();
                    Ok(())
                }
                Err(error) => {
                    reply.error(errno(&error));
                    Err(error)
                }
            }
        });
    }

    pub(crate) fn list_with_attributes(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (cx, operation) = self.enter(request, "readdirplus", number);
        let (vfs, kernel) = (Arc::clone(&self.vfs), Arc::clone(&self.kernel));
        let since = kernel.moment();
        self.run(operation.range(cookie, 0), async move {
            let mut take = |entry: &DirEntry| {
                // An entry without attributes vanished while the listing was made.
                let Some(attr) = &entry.attr else { return true };
                let name = OsStr::from_bytes(&entry.name);
                let (attr, number) = (attributes(attr), INodeNo(entry.ino.0));
                let lifetime = kernel.learns(entry.ino, since);
                let taken = !reply.add(number, entry.cookie, name, &lifetime, &attr, GENERATION);
                // Each entry sent counts as a lookup, but for these two.
                if !taken || matches!(entry.name.as_slice(), b"." | b"..") {
                    kernel.forgets(entry.ino, 1);
                }
                taken
            };
            let target = target(number, Some(handle));
            match fill(vfs.as_ref(), &cx, target, cookie, BATCH_WITH_ATTRIBUTES, true, &mut take).await {
                Ok(()) => {
                    reply.ok();
                    Ok(())
                }
                Err(error) => {
                    reply.error(errno(&error));
                    Err(error)
                }
            }
        });
    }
}

/// Gives entries after `cookie` to `take` until it has no room or the directory ends. An error after the first batch
/// ends the reply early; the kernel meets it again when it asks for the rest.
async fn fill(
    vfs: &dyn Vfs,
    cx: &Context,
    target: Target,
    mut cookie: u64,
    batch: usize,
    with_attributes: bool,
    take: Take<'_>,
) -> Result<()> {
    let mut any = false;
    loop {
        let listing = match vfs.readdir(cx, target, cookie, batch, with_attributes).await {
            Ok(listing) => listing,
            Err(_) if any => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in &listing.entries {
            if !take(entry) {
                return Ok(());
            }
            cookie = entry.cookie;
            any = true;
        }
        if listing.end || listing.entries.is_empty() {
            return Ok(());
        }
    }
}
