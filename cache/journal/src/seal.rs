//! From full to sealed to uploaded.

use std::io::IoSlice;
use std::sync::Arc;

use objstore_base::{Error, ErrorKind, Result, ResultExt};

use crate::header::{Header, HeaderState, PAGE_BYTES};
use crate::ids::SegmentId;
use crate::journal::Journal;
use crate::segment::{Body, Phase, Segment};

impl Journal {
    /// Seals the active segment if it holds any data: commits it, with its frame table, and gives its id.
    pub fn seal(&self) -> Result<Option<SegmentId>> {
        let Some(segment) = self.roll_active()? else { return Ok(None) };
        self.sync_all()?;
        if segment.body.read().phase < Phase::Sealed {
            return Err(Error::new(ErrorKind::Io, "seal segment").entity(segment.id).context("see the log for why"));
        }
        Ok(Some(segment.id))
    }

    /// Writes the frame table behind the records of a full segment. A later round may write it again: same bytes.
    pub(crate) fn write_table(&self, segment: &Segment) -> Result<()> {
        self.hit("journal.seal.table")?;
        let (position, bytes) = {
            let body = segment.body.read();
            (body.table_position(), body.table.encode(&segment.seed))
        };
        let written = segment.file().write_all_at(&[IoSlice::new(&bytes)], position);
        written.map_err(|e| Error::io("write frame table", e)).on(segment.id)
    }

    /// Marks full segments, which are synced with their tables, as sealed. In order; what fails is tried again by the
    /// next round, and by the next opening.
    pub(crate) fn finish_seals(&self, rolled: &[Arc<Segment>]) {
        for segment in rolled {
            if let Err(error) = self.finish_seal(segment) {
                tracing::warn!(%error, segment = segment.id.0, "the segment could not be marked as sealed");
                return;
            }
            let last_lsn = segment.body.read().last_lsn;
            let mut appender = self.appender.lock();
            appender.rolled.retain(|s| s.id != segment.id);
            // A seal proves as much as a watermark does.
            appender.last_watermark = appender.last_watermark.max(last_lsn);
            drop(appender);
            self.sealed_tx.send_replace(segment.id);
        }
    }

    fn finish_seal(&self, segment: &Segment) -> Result<()> {
        self.hit("journal.seal.header")?;
        let header = segment.body.read().sealed_header();
        let file = segment.file();
        write_header(file.as_ref(), &header)?;
        // A quiet store seals small segments: what they do not use goes back to the filesystem.
        let used = (header.table_position + header.table_bytes).next_multiple_of(PAGE_BYTES);
        let shrunk = used <= header.segment_bytes / 2;
        if shrunk {
            file.set_len(used).map_err(|e| Error::io("shrink segment", e)).on(segment.id)?;
        }
        let mut body = segment.body.write();
        body.header = header;
        body.phase = Phase::Sealed;
        body.end = header.table_position + header.table_bytes;
        body.sealed_at = Some(self.env.clock.monotonic());
        if shrunk {
            body.file_bytes = used;
        }
        let table = Arc::new(std::mem::take(&mut body.table));
        let weight = table.weight();
        self.tables.put(segment.id, table, weight);
        drop(body);
        // The handle stays as long as the bounded set of open files keeps it.
        self.files.keep_open(segment.id, file);
        segment.replace_file(None);
        Ok(())
    }

    /// Notes durably that the segment is in the pool: from now on its file is only a cache.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` where it is not sealed, `Io`.
    pub fn mark_uploaded(&self, id: SegmentId) -> Result<()> {
        let unknown = || Error::new(ErrorKind::NotFound, "mark segment as uploaded").entity(id);
        let segment = self.find(id).ok_or_else(unknown)?;
        let header = {
            let body = segment.body.read();
            match body.phase {
                Phase::Uploaded => return Ok(()),
                Phase::Sealed => {}
                Phase::Active | Phase::Rolled => {
                    let error = Error::new(ErrorKind::InvalidArgument, "mark segment as uploaded").entity(id);
                    return Err(error.context("it is not sealed"));
                }
            }
            Header { generation: body.header.generation + 1, state: HeaderState::Uploaded, ..body.header }
        };
        self.hit("journal.upload.before")?;
        let file = self.files.open(id)?;
        write_header(file.as_ref(), &header).on(id)?;
        file.sync_data().map_err(|e| Error::io("sync segment header", e)).on(id)?;
        {
            let mut body = segment.body.write();
            body.header = header;
            body.phase = Phase::Uploaded;
        }
        self.hit("journal.upload.after")
    }
}

fn write_header(file: &dyn objstore_env::DiskFile, header: &Header) -> Result<()> {
    let written = file.write_all_at(&[IoSlice::new(&header.encode())], header.position());
    written.map_err(|e| Error::io("write segment header", e)).on(header.segment)
}

impl Body {
    fn table_position(&self) -> u64 {
        self.end.next_multiple_of(PAGE_BYTES)
    }

    fn sealed_header(&self) -> Header {
        Header {
            generation: self.header.generation + 1,
            state: HeaderState::Sealed,
            first_lsn: self.first_lsn,
            last_lsn: self.last_lsn,
            records_end: self.end,
            table_position: self.table_position(),
            table_bytes: self.table.encoded_bytes(),
            frame_count: self.table.len(),
            frame_bytes: self.frame_bytes,
            ..self.header
        }
    }
}
