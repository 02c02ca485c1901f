//! Checkpoints: an image of the index at one LSN, in the pool, so that a recovery replays little.
//!
//! The image is one state, taken under the gate and streamed out while the engine works on. Its manifest is written
//! last, and only when every segment up to the LSN is in the pool too, so that no checkpoint names a frame that the
//! pool does not have.

use std::ops::ControlFlow;

use cache_journal::{Lsn, SegmentId};
use fs_meta::{Batch, Column, Direction, MetaRead};
use objstore_base::{BlobClass, BlobId, BlobStore, ErrorKind, Result};

use super::image::{Manifest, PART_BYTES, Place, encode_part, manifest_id, part_id, put_entry};
use crate::engine::Engine;

/// Checkpoints kept: the newest, and two to fall back to (F28).
pub(crate) const CHECKPOINTS_KEPT: usize = 3;
const LIST_LIMIT: usize = 1000;

/// A finished checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    pub number: u64,
    pub lsn: u64,
    pub parts: u32,
    pub entries: u64,
}

impl Engine {
    /// Writes a checkpoint of the index into the pool and removes those beyond the newest three.
    ///
    /// # Durability
    /// When it returns, the pool alone gives this state again.
    ///
    /// # Cancel
    /// Leaves parts that no manifest names; the next checkpoint writes over them.
    pub async fn checkpoint(&self) -> Result<CheckpointReport> {
        let _one = self.data.checkpoints.lock().await;
        let number = self.newest_checkpoint().await?.map_or(1, |number| number + 1);
        let (lsn, from, snapshot) = {
            let _gate = self.gate.write();
            let lsn = self.journal.last();
            (lsn, self.segment_reaching(lsn), self.meta.snapshot()?)
        };
        let (parts, entries) = self.write_parts(&*snapshot, number).await?;
        drop(snapshot);
        if self.write_back.status().in_pool < lsn {
            self.write_back.flush().await?;
        }
        let store_uuid = self.config.journal.store_uuid;
        let manifest = Manifest { store_uuid, number, lsn: lsn.0, parts, entries, place: self.place(from).await };
        self.hit("engine.checkpoint.manifest")?;
        self.store.put(manifest_id(number), vec![manifest.encode()]).await?;
        self.data.note_checkpoint(lsn.0);
        tracing::info!(number, lsn = lsn.0, parts, entries, "checkpoint written");
        self.prune_checkpoints().await?;
        Ok(CheckpointReport { number, lsn: lsn.0, parts, entries })
    }

    /// The first segment that may hold a record behind `lsn`, which is the last one.
    fn segment_reaching(&self, lsn: Lsn) -> SegmentId {
        let segments = self.journal.segments();
        // Where the segment of the last record was let go, the active one is empty and ends before its first.
        segments.iter().find(|s| s.last_lsn >= lsn).map_or(SegmentId(0), |s| s.id)
    }

    async fn place(&self, from: SegmentId) -> Place {
        let newest = self.journal.segments().last().map_or(from, |s| s.id);
        let tail = self.write_back.link(from).await;
        Place { from_segment: from.0, next_segment: newest.next().0, tail }
    }

    async fn write_parts(&self, snapshot: &dyn MetaRead, number: u64) -> Result<(u32, u64)> {
        let (mut parts, mut entries) = (0, 0);
        for column in Column::ALL {
            let mut after = Vec::new();
            loop {
                let mut batch = Batch::new();
                let (count, last) = collect(snapshot, column, &after, &mut batch)?;
                if count > 0 {
                    let (part, encoded) = (parts, batch);
                    let blob = self.env.blocking(move || encode_part(number, part, &encoded)).await?;
                    self.hit("engine.checkpoint.part")?;
                    self.store.put(part_id(number, part), vec![blob]).await?;
                    (parts, entries) = (parts + 1, entries + count);
                }
                let Some(last) = last else { break };
                after = last;
                after.push(0);
            }
        }
        Ok((parts, entries))
    }

    async fn newest_checkpoint(&self) -> Result<Option<u64>> {
        Ok(manifests(&*self.store).await?.last().copied())
    }

    /// The LSN of the newest checkpoint; 0 where there is none or it cannot be read.
    pub(crate) async fn newest_checkpoint_lsn(&self) -> Result<u64> {
        let Some(newest) = self.newest_checkpoint().await? else { return Ok(0) };
        match read_manifest(&*self.store, newest).await {
            Ok(manifest) => {
                self.data.note_checkpoint(manifest.lsn);
                Ok(manifest.lsn)
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The LSN from which every kept checkpoint starts or later: no segment up to it is needed for its records.
    pub(crate) async fn oldest_checkpoint_lsn(&self) -> Result<Option<u64>> {
        let Some(oldest) = manifests(&*self.store).await?.first().copied() else { return Ok(None) };
        Ok(Some(read_manifest(&*self.store, oldest).await?.lsn))
    }

    async fn prune_checkpoints(&self) -> Result<()> {
        let numbers = manifests(&*self.store).await?;
        let Some(kept) = numbers.len().checked_sub(CHECKPOINTS_KEPT).and_then(|first| numbers.get(first)).copied()
        else {
            return Ok(());
        };
        // Manifests first: what is half removed does not count as a checkpoint.
        for number in numbers.into_iter().take_while(|number| *number < kept) {
            self.store.delete(manifest_id(number)).await?;
            self.hit("engine.checkpoint.prune")?;
        }
        let mut after = None;
        loop {
            let parts = self.store.list(BlobClass::CheckpointPart, after, LIST_LIMIT).await?;
            for part in parts.iter().filter(|part| part.number >> 24 < kept) {
                self.store.delete(*part).await?;
            }
            match parts.last() {
                Some(last) if last.number >> 24 < kept => after = Some(last.number),
                _ => return Ok(()),
            }
        }
    }
}

/// Entries of `column` from `start` on until a part is full; gives how many, and the last key if there may be more.
fn collect(read: &dyn MetaRead, column: Column, start: &[u8], batch: &mut Batch) -> Result<(u64, Option<Vec<u8>>)> {
    let (mut count, mut last, mut bad) = (0, None, None);
    // No key is longer than a number and a name.
    read.scan(column, start..&[0xff; 300][..], Direction::Forward, &mut |key, value| {
        if let Err(error) = put_entry(batch, column, key, value) {
            bad = Some(error);
            return ControlFlow::Break(());
        }
        count += 1;
        if batch.as_bytes().len() < PART_BYTES {
            return ControlFlow::Continue(());
        }
        last = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    bad.map_or(Ok((count, last)), Err)
}

/// Numbers of the checkpoints in the pool, ascending.
pub(crate) async fn manifests(store: &dyn BlobStore) -> Result<Vec<u64>> {
    let ids = list_all(store, BlobClass::CheckpointManifest).await?;
    Ok(ids.into_iter().map(|id| id.number).collect())
}

pub(crate) async fn list_all(store: &dyn BlobStore, class: BlobClass) -> Result<Vec<BlobId>> {
    let mut all: Vec<BlobId> = Vec::new();
    loop {
        let page = store.list(class, all.last().map(|id| id.number), LIST_LIMIT).await?;
        let done = page.len() < LIST_LIMIT;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}

pub(crate) async fn read_manifest(store: &dyn BlobStore, number: u64) -> Result<Manifest> {
    Manifest::decode(number, &read_blob(store, manifest_id(number)).await?)
}

pub(crate) async fn read_blob(store: &dyn BlobStore, id: BlobId) -> Result<bytes::Bytes> {
    let len = store.stat(id).await?.len;
    store.get(id, 0..len).await
}
