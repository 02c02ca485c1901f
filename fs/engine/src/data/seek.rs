//! `SEEK_DATA` and `SEEK_HOLE`: exact, gathered writes included. Reserved space reads as zeros and counts as a hole.

use std::ops::{ControlFlow, Range};

use fs_api::{Context, SeekFrom};
use fs_meta::Direction;
use futures::future::{FutureExt, ready};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};

use super::extents::{overlapping, walk};
use super::records::Extent;
use crate::engine::Engine;
use crate::handles::FileUse;

impl Engine {
    pub(crate) fn seek_file<'a>(
        &'a self,
        _cx: &'a Context,
        file: FileUse,
        from: SeekFrom,
    ) -> BoxFuture<'a, Result<u64>> {
        ready(self.seek_now(file, from)).boxed()
    }

    fn seek_now(&self, file: FileUse, from: SeekFrom) -> Result<u64> {
        let _stripe = self.stripes.read(file.ino);
        let size = match self.data.gathers.shown(file.ino) {
            Some(inode) => inode.size,
            None => self.inode_locked(file.ino)?.size,
        };
        let beyond = || Error::new(ErrorKind::NoDeviceOrAddress, "seek").entity(file.ino);
        match from {
            SeekFrom::Data(at) | SeekFrom::Hole(at) if at >= size => Err(beyond()),
            SeekFrom::Data(at) => {
                let mut first = None;
                self.visit_data(file, at, size, &mut |range| {
                    first = Some(range.start.max(at));
                    ControlFlow::Break(())
                })?;
                first.filter(|at| *at < size).ok_or_else(beyond)
            }
            SeekFrom::Hole(at) => {
                let mut end = at;
                self.visit_data(file, at, size, &mut |range| {
                    if range.start > end {
                        return ControlFlow::Break(());
                    }
                    end = end.max(range.end);
                    ControlFlow::Continue(())
                })?;
                Ok(end.min(size))
            }
        }
    }

    /// Visits, ascending by start, the ranges of data that end behind `at` and begin before `size`.
    fn visit_data(
        &self,
        file: FileUse,
        at: u64,
        size: u64,
        visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
    ) -> Result<()> {
        let ino = file.ino.0;
        let gathered = self.data.gathers.ranges(file.ino);
        let mut gathered = gathered.into_iter().filter(|range| range.end > at).peekable();
        let mut on_extent = |range: Range<u64>| {
            while let Some(run) = gathered.next_if(|run| run.start <= range.start) {
                visit(run)?;
            }
            visit(range)
        };
        let over = overlapping(&*self.meta, ino, at..at + 1)?;
        for placed in over.iter().filter(|placed| matches!(placed.extent, Extent::Data { .. })) {
            if on_extent(placed.offset..placed.end()).is_break() {
                return Ok(());
            }
        }
        let mut ended = false;
        let start = over.last().map_or(at, |placed| placed.end());
        walk(&*self.meta, ino, start..size.max(start), Direction::Forward, &mut |placed| {
            if matches!(placed.extent, Extent::Reserved { .. }) {
                return ControlFlow::Continue(());
            }
            let flow = on_extent(placed.offset..placed.end());
            ended = flow.is_break();
            flow
        })?;
        if !ended {
            // What is left begins behind every extent.
            for run in gathered {
                if visit(run).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
