//! Listing a directory by cookie.

use std::ops::ControlFlow;

use fs_api::{Context, DirEntry, FileKind, Ino, Listing, Target};
use fs_meta::{Column, Direction};
use objstore_base::{Error, ErrorKind, Result};

use crate::engine::Engine;
use crate::keys;
use crate::records::{Inode, OrderEntry};

const OP: &str = "list directory";
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;
/// Entries of one call, however many were asked for.
const ENTRIES_MAX: usize = 4096;

impl Engine {
    pub(crate) fn list(
        &self,
        cx: &Context,
        target: Target,
        cookie: u64,
        limit: usize,
        with_attr: bool,
    ) -> Result<Listing> {
        let limit = limit.min(ENTRIES_MAX);
        let open = self.handles.get(target)?;
        let directory = self.inode(target.ino)?;
        if !directory.is_dir() {
            return Err(Error::new(ErrorKind::NotDirectory, OP));
        }
        if open.is_none() {
            self.require(cx, &directory, fs_access::READ)?;
        }
        if directory.nlink == 0 {
            return Err(Error::new(ErrorKind::NotFound, OP).context("the directory has been removed"));
        }
        let mut listing = Listing::default();
        // No more than there are, dots included: growing moves what is there.
        listing
            .entries
            .reserve(usize::try_from(directory.entries).map_or(limit, |names| limit.min(names.saturating_add(2))));
        self.list_dots(&directory, cookie, limit, &mut listing);
        self.list_names(&directory, cookie, limit, &mut listing)?;
        if with_attr {
            for entry in &mut listing.entries {
                entry.attr = self.inode(entry.ino).ok().map(|inode| inode.attr());
            }
        }
        self.renew_atime(&directory);
        Ok(listing)
    }

    fn list_dots(&self, directory: &Inode, after: u64, limit: usize, listing: &mut Listing) {
        let dots = [(DOT, directory.ino, &b"."[..]), (DOT_DOT, directory.parent, &b".."[..])];
        for (cookie, ino, name) in dots {
            if cookie > after && listing.entries.len() < limit {
                listing.entries.push(entry(ino, FileKind::Directory, cookie, name));
            }
        }
    }

    /// Appends the names after `after`, at most until there are `limit` entries; one more is looked at to know whether
    /// the listing ends.
    fn list_names(&self, directory: &Inode, after: u64, limit: usize, listing: &mut Listing) -> Result<()> {
        if listing.entries.len() == limit && limit > 0 && directory.entries > 0 {
            return Ok(());
        }
        let from = keys::dentry_order(directory.ino, after.max(DOT_DOT).saturating_add(1));
        let to = keys::dentry_order(Ino(directory.ino.0.saturating_add(1)), 0);
        let mut failed = None;
        listing.end = true;
        self.meta.scan(Column::DentryOrder, &from..&to, Direction::Forward, &mut |key, value| {
            if listing.entries.len() >= limit {
                listing.end = false;
                return ControlFlow::Break(());
            }
            match decode(key, value) {
                Ok(entry) => {
                    listing.entries.push(entry);
                    ControlFlow::Continue(())
                }
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |e| Err(e.entity(directory.ino)))
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<DirEntry> {
    let found = OrderEntry::decode(value)?;
    Ok(entry(found.ino, found.kind, keys::trailing_number(key)?, found.name))
}

fn entry(ino: Ino, kind: FileKind, cookie: u64, name: &[u8]) -> DirEntry {
    DirEntry { ino, kind, cookie, name: name.to_vec(), attr: None }
}
