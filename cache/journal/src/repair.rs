//! A failed sync (F5): what was not synced is never trusted in that file again.
//!
//! The segment is copied, every record verified on the way, to a fresh file that is synced and takes the old one's
//! name. Where that fails too the journal is poisoned: it takes no more records, reads go on.

use std::io::IoSlice;
use std::sync::Arc;

use objstore_base::{Error, Result, ResultExt};

use crate::header::PAGE_BYTES;
use crate::ids::SegmentId;
use crate::journal::Journal;
use crate::scan::Scanner;
use crate::segment::{Phase, Segment};

const COPY_BYTES: usize = 1 << 20;

impl Journal {
    /// Saves a segment whose sync gave `cause`; gives `cause` back for those who wait. The caller leads a round.
    ///
    /// # Errors
    /// The journal is poisoned now.
    pub(crate) fn repair(&self, segment: &Arc<Segment>, cause: Error) -> Result<Error> {
        tracing::error!(error = %cause, segment = segment.id.0, "a sync failed: the segment is copied to a fresh file");
        self.appender.lock().frozen = true;
        // Writes under way still go to the old file; the copy takes them along.
        self.flights.wait_below(self.flights.bound());
        let copied = self.write_out().and_then(|()| self.copy_segment(segment));
        if let Err(error) = &copied {
            self.set_poison(segment, error);
        }
        self.appender.lock().frozen = false;
        self.thaw.notify_all();
        copied.map(|()| cause)
    }

    pub(crate) fn set_poison(&self, segment: &Segment, error: &Error) {
        let why = format!(
            "the disk failed to take {} and a copy of it ({error}); what was not committed up to {} may be lost. \
             Check the disk of {}, then start again",
            segment.id,
            self.durable(),
            self.files.segment_path(segment.id).display()
        );
        tracing::error!(segment = segment.id.0, why, "the journal takes no more records");
        // Only the first cause is kept.
        self.poison.get_or_init(|| why);
    }

    fn copy_segment(&self, segment: &Segment) -> Result<()> {
        self.hit("journal.repair")?;
        let (first, last, records_end, rolled, header) = {
            let body = segment.body.read();
            (body.first_lsn, body.last_lsn, body.end, body.phase == Phase::Rolled, body.header)
        };
        let old = segment.file();
        let mut scanner = Scanner::new(old.clone(), segment.id, segment.seed, header.segment_bytes);
        let mut places = Vec::new();
        scanner.whole(first, last, |view| {
            places.push((view.layout.start, view.head.lsn));
            Ok(())
        })?;
        for (at, lsn) in places {
            if !scanner.payload_holds(at).map_err(|e| Error::io("read segment", e))? {
                let why = format!("the payload of {lsn} cannot be read back");
                return Err(Error::corrupt("copy segment", why).entity(segment.id));
            }
        }
        let new = self.files.create_repair(segment.id, header.segment_bytes)?;
        let write = |bytes: &[u8], at| new.write_all_at(&[IoSlice::new(bytes)], at);
        write(&header.page(), 0).map_err(|e| Error::io("write segment", e))?;
        let mut buf = vec![0; COPY_BYTES];
        let mut at = PAGE_BYTES;
        while at < records_end {
            let len = usize::try_from(records_end - at).unwrap_or(usize::MAX).min(buf.len());
            let buf = buf.get_mut(..len).unwrap_or_default();
            old.read_exact_at(buf, at).map_err(|e| Error::io("read segment", e))?;
            write(buf, at).map_err(|e| Error::io("write segment", e))?;
            at += len as u64;
        }
        segment.replace_file(Some(new.clone()));
        let finished = (|| {
            if rolled {
                self.write_table(segment)?;
            }
            new.sync_data().map_err(|e| Error::io("sync segment copy", e)).on(segment.id)?;
            self.hit("journal.repair.rename")?;
            self.files.adopt_repair(segment.id)
        })();
        if finished.is_err() {
            segment.replace_file(Some(old));
        }
        finished
    }

    /// Why the journal takes no more records, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }
}

/// For messages and tests: the name of a segment's file.
pub fn segment_file_name(id: SegmentId) -> String {
    crate::files::FileRole::Segment(id).name()
}
