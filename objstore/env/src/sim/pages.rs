//! Sparse bytes: what a file holds, in pages that copies share until one of them is written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) const PAGE_BYTES: usize = 4096;
/// What a medium writes as a whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

type Page = Arc<[u8; PAGE_BYTES]>;
pub(super) type Sector = [u8; SECTOR_BYTES];

/// Content and length. Invariant: bytes at and past `len` are zero, so growing shows zeros.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

/// The part of `offset..offset + len` in each page: page number, range inside it, range inside the whole.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let inside = (position % PAGE_BYTES as u64) as usize;
        let part = (PAGE_BYTES - inside).min(len - done);
        let item = (position / PAGE_BYTES as u64, inside..inside + part, done..done + part);
        done += part;
        Some(item)
    })
}

/// The numbers of the units of `unit` bytes that `offset..offset + len` touches.
pub(super) fn touched(offset: u64, len: usize, unit: usize) -> Range<u64> {
    let unit = unit as u64;
    if len == 0 { 0..0 } else { offset / unit..(offset + len as u64).div_ceil(unit) }
}

impl Pages {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    pub(super) fn has(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let readable = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        for (page, inside, part) in split(offset, readable) {
            match self.pages.get(&page) {
                Some(bytes) => buf[part].copy_from_slice(&bytes[inside]),
                None => buf[part].fill(0),
            }
        }
        readable
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.put(bytes, offset);
        if !bytes.is_empty() {
            self.len = self.len.max(offset + bytes.len() as u64);
        }
    }

    fn put(&mut self, bytes: &[u8], offset: u64) {
        for (page, inside, part) in split(offset, bytes.len()) {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[inside].copy_from_slice(&bytes[part]);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(PAGE_BYTES as u64);
            self.pages.retain(|&page, _| page < keep);
            let tail = (len % PAGE_BYTES as u64) as usize;
            if tail != 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES as u64))
            {
                Arc::make_mut(page)[tail..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes over page `page` of `other`, a hole included; the length stays.
    pub(super) fn take_page(&mut self, other: &Self, page: u64) {
        match other.pages.get(&page) {
            Some(bytes) => {
                self.pages.insert(page, Arc::clone(bytes));
            }
            None => {
                self.pages.remove(&page);
            }
        }
    }

    pub(super) fn sector(&self, sector: u64) -> Sector {
        let mut bytes = [0; SECTOR_BYTES];
        let offset = sector * SECTOR_BYTES as u64;
        if let Some(page) = self.pages.get(&(offset / PAGE_BYTES as u64)) {
            let inside = (offset % PAGE_BYTES as u64) as usize;
            bytes.copy_from_slice(&page[inside..inside + SECTOR_BYTES]);
        }
        bytes
    }

    /// Puts bytes at a sector, past the end too; a `set_len` must follow that restores the invariant.
    pub(super) fn put_sector(&mut self, sector: u64, bytes: &Sector) {
        self.put(bytes, sector * SECTOR_BYTES as u64);
    }

    /// Ends the file at `len` whatever was put past it.
    pub(super) fn cut(&mut self, len: u64) {
        self.len = u64::MAX;
        self.set_len(len);
    }
}
