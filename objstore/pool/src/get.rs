//! Range reads: rows one after the other, two in the air, verified cell by cell.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use objstore_base::{BlobId, Error, ErrorKind, Result};
use objstore_shard::{ShardName, ShardRead};

use crate::ask::ASK_DEADLINE;
use crate::heal_log::Record;
use crate::layout::Layout;
use crate::pool::Inner;
use crate::row::{RowRead, Wanted};

/// Rows read ahead of the one being appended to the answer.
const ROWS_IN_FLIGHT: usize = 2;
/// A blob may be put again, healed to other drives or deleted under a reader; each look finds a newer truth.
const ATTEMPTS: usize = 4;

impl Inner {
    pub(crate) async fn get(&self, id: BlobId, range: Range<u64>) -> Result<Bytes> {
        let mut attempt = 1;
        loop {
            let layout = self.locate(id).await?;
            let blob_len = layout.stripe.blob_len();
            if range.start > range.end || range.end > blob_len {
                let why = format!("range {}..{} of {blob_len} bytes", range.start, range.end);
                return Err(Error::new(ErrorKind::InvalidArgument, "get blob").entity(id).context(why));
            }
            let failed = match self.read_range(&layout, &range).await {
                Ok(bytes) => return Ok(bytes),
                Err(e) => e,
            };
            self.forget(id);
            let now = self.locate(id).await?;
            if attempt == ATTEMPTS || (now.identity == layout.identity && now.slots == layout.slots) {
                return Err(failed);
            }
            attempt += 1;
        }
    }

    async fn read_range(&self, layout: &Layout, range: &Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return self.prove_readable(layout).await;
        }
        let _room = self.read_room.take(range.end - range.start).await?;
        let rows = layout.stripe.rows_of(range);
        let read = |row: u64| async move {
            let wanted: Vec<Wanted> = layout.stripe.cells_of(row, range);
            RowRead::new(self, layout, row, &wanted).run().await
        };
        let mut parts = stream::iter(rows).map(read).buffered(ROWS_IN_FLIGHT);
        let first = parts.try_next().await?.unwrap_or_default();
        if let [only] = &first[..]
            && only.len() as u64 == range.end - range.start
        {
            return Ok(only.clone());
        }
        let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
        first.iter().for_each(|part| whole.extend_from_slice(part));
        while let Some(more) = parts.try_next().await? {
            more.iter().for_each(|part| whole.extend_from_slice(part));
        }
        if whole.len() as u64 != range.end - range.start {
            return Err(Error::new(ErrorKind::Internal, "get blob").context("cells do not add up to the range"));
        }
        Ok(whole.freeze())
    }

    /// An empty range needs no bytes, but a blob that cannot be read must not look as if it could.
    async fn prove_readable(&self, layout: &Layout) -> Result<Bytes> {
        let held = layout.slots.iter().enumerate().filter_map(|(index, slot)| slot.map(|slot| (index, slot)));
        let mut reads: FuturesUnordered<_> =
            held.map(|(index, slot)| self.within(ASK_DEADLINE, self.read_cell(slot, layout, index, 0..0))).collect();
        let mut readable = 0;
        let mut last = None;
        while let Some(read) = reads.next().await {
            match read {
                Ok(_) => readable += 1,
                Err(e) => last = Some(e),
            }
            if readable == self.config.k {
                return Ok(Bytes::new());
            }
        }
        let bad: Vec<u16> = self.slots.iter().map(|slot| slot.number).collect();
        let why = format!("{readable} of {} shards can be read; drives: {}", self.config.shards(), self.places(&bad));
        let damaged = Error::new(ErrorKind::Damaged, "read blob").entity(layout.identity.name.blob).context(why);
        Err(match last {
            Some(e) => damaged.source(e),
            None => damaged,
        })
    }

    /// Reads from one shard and checks that it belongs to the put that `layout` describes.
    pub(crate) async fn read_cell(&self, slot: u16, layout: &Layout, index: usize, range: Range<u64>) -> Result<Bytes> {
        let name = layout.name(index);
        let started = self.now();
        let read = self.read_shard(slot, name, range).await.and_then(|read| {
            let mut expected = layout.identity;
            expected.name = name;
            if *read.header.identity() == expected {
                Ok(read.bytes)
            } else {
                Err(Error::corrupt("read shard", "its header differs from the other shards'").entity(name))
            }
        });
        match &read {
            Ok(_) => self.latency.lock().add(self.now().saturating_sub(started)),
            Err(e) => self.note_bad_shard(name, e),
        }
        read
    }

    pub(crate) async fn read_shard(&self, slot: u16, name: ShardName, range: Range<u64>) -> Result<ShardRead> {
        let slot = self.slot(slot);
        let drive = slot.reach()?;
        drive.read(name, range).await.inspect_err(|e| {
            slot.failed(self.now(), e);
            if e.kind() == ErrorKind::Corrupt {
                self.counters.corrupt();
            }
        })
    }

    /// A shard that was found missing or broken goes on the heal list. A drive that is away is its own affair: the
    /// full heal after its return looks at everything.
    fn note_bad_shard(&self, name: ShardName, error: &Error) {
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Io) {
            self.forget(name.blob);
            let record = Record::Missing { blob: name.blob, generation: name.generation, index: name.index };
            if !self.heal_log.knows(record) {
                tracing::warn!(shard = %name, %error, "bad shard: read from the others, to be healed");
                self.note_missing(vec![record]);
            }
        }
    }

    /// Puts records on the heal list behind the caller's back: a read does not wait for a sync.
    pub(crate) fn note_missing(&self, records: Vec<Record>) {
        let (log, pool) = (Arc::clone(&self.heal_log), self.config.uuid);
        let env = self.env.clone();
        self.background.spawn(&self.env, "pool.note", async move {
            if let Err(error) = env.blocking(move || log.record(pool, &records)).await {
                tracing::warn!(%error, "cannot write the heal list; a full heal will find the shard");
            }
        });
    }
}
