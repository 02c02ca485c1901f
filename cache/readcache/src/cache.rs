//! [`ReadCache`]: memory, then disk, then one fetch for everyone who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cache_journal::{FrameId, SegmentId};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use objstore_env::{Env, TaskHandle};
use parking_lot::Mutex;

use crate::disk::{DiskLevel, Found};
use crate::flight::{Flights, Landed};
use crate::memory::Memory;
use crate::stats::{Counters, count, read};
use crate::{ReadCacheConfig, ReadCacheStats};

/// The writer takes about this many bytes from the queue at a time.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Queue {
    frames: VecDeque<(FrameId, Bytes)>,
    bytes: u64,
    /// The writer runs. It ends when the queue is empty and is started again by the next frame.
    writing: bool,
    writer: Option<Box<dyn TaskHandle>>,
    stopped: bool,
}

/// Frames fetched from the pool, kept under two limits; share it.
pub struct ReadCache {
    env: Env,
    config: ReadCacheConfig,
    memory: Memory,
    /// `None` without a disk level, or where its folder could not be used.
    disk: Option<Arc<DiskLevel>>,
    flights: Flights,
    queue: Mutex<Queue>,
    counters: Counters,
}

impl ReadCache {
    /// An empty cache; what an earlier process left in the folder is removed. A folder that cannot be used is
    /// reported in the log and costs the disk level, not the start. Blocks.
    pub fn open(env: Env, config: ReadCacheConfig) -> Arc<Self> {
        let disk = match config.disk_bytes_max {
            0 => None,
            bytes_max => match DiskLevel::open(env.clone(), config.dir.clone(), bytes_max) {
                Ok(level) => Some(Arc::new(level)),
                Err(error) => {
                    tracing::warn!(%error, "the read cache works in memory only");
                    None
                }
            },
        };
        let memory = Memory::new(config.memory_bytes_max);
        Arc::new(Self {
            env,
            config,
            memory,
            disk,
            flights: Flights::default(),
            queue: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// The frame, if it is in memory.
    pub fn get(&self, frame: FrameId) -> Option<Bytes> {
        let bytes = self.memory.get(frame)?;
        count(&self.counters.memory_hits, 1);
        Some(bytes)
    }

    /// Whether the frame is here or on its way: nothing to read ahead.
    pub fn holds(&self, frame: FrameId) -> bool {
        self.memory.holds(frame) || self.flights.holds(frame) || self.disk.as_ref().is_some_and(|d| d.holds(frame))
    }

    /// Keeps a frame that was fetched along with others. The buffer should be the frame's own: a slice of a larger one
    /// would keep all of that in memory.
    pub fn insert(self: &Arc<Self>, frame: FrameId, bytes: Bytes) {
        self.memory.insert(frame, bytes.clone());
        self.enqueue(frame, bytes);
    }

    /// The frame from memory or disk, or by `fetch`, which gives its verified bytes. While it runs, everyone who asks
    /// for the frame waits for the same fetch.
    ///
    /// # Errors
    /// What `fetch` gives, to everyone who waited; the next one who asks starts anew.
    ///
    /// # Cancel
    /// The fetch goes on as long as somebody waits for it and is dropped with the last of them.
    pub fn get_or_fetch(
        self: &Arc<Self>,
        frame: FrameId,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Bytes>> + Send + 'static,
    ) -> BoxFuture<'static, Result<Bytes>> {
        let run = self.get_or_fetch_run(&[frame], move |_| {
            let fetched = fetch();
            Box::pin(async move { Ok(vec![(frame, fetched.await?)]) })
        });
        Box::pin(async move { run.await?.pop().ok_or_else(|| left_out(frame)) })
    }

    /// As [`Self::get_or_fetch`] for several frames: `fetch` is called at most once, with those that are neither here
    /// nor on their way, ascending. It may give more than it was asked for (read-ahead); they are kept too.
    pub fn get_or_fetch_run(
        self: &Arc<Self>,
        frames: &[FrameId],
        fetch: impl FnOnce(Vec<FrameId>) -> BoxFuture<'static, Result<Vec<(FrameId, Bytes)>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<Vec<Bytes>>> {
        let mut found: BTreeMap<FrameId, Bytes> = BTreeMap::new();
        let mut wanted = Vec::new();
        for frame in frames {
            match self.get(*frame) {
                Some(bytes) => drop(found.insert(*frame, bytes)),
                None => wanted.push(*frame),
            }
        }
        let frames = frames.to_vec();
        if wanted.is_empty() {
            return Box::pin(async move { in_order(&frames, &found) });
        }
        let this = self.clone();
        let (boarded, started) = self.flights.board(&wanted, |own| Box::pin(this.bring(own, fetch)));
        count(&self.counters.joined, boarded.len() - started);
        Box::pin(async move {
            for (frame, flight) in boarded {
                let landed = flight.await.map_err(|error| shared(frame, error))?;
                let bytes = landed.get(&frame).ok_or_else(|| left_out(frame))?;
                found.insert(frame, bytes.clone());
            }
            in_order(&frames, &found)
        })
    }

    /// One flight: what the disk level has, and one fetch for the rest.
    async fn bring(
        self: Arc<Self>,
        frames: Vec<FrameId>,
        fetch: impl FnOnce(Vec<FrameId>) -> BoxFuture<'static, Result<Vec<(FrameId, Bytes)>>>,
    ) -> Landed {
        // An earlier flight may have landed between the caller's look at memory and its boarding.
        let here = frames.iter().filter_map(|frame| Some((*frame, self.memory.get(*frame)?)));
        let mut landed: BTreeMap<FrameId, Bytes> = here.collect();
        let absent = |landed: &BTreeMap<_, _>| -> Vec<FrameId> {
            frames.iter().copied().filter(|frame| !landed.contains_key(frame)).collect()
        };
        for (frame, bytes) in self.read_disk(absent(&landed)).await {
            self.memory.insert(frame, bytes.clone());
            landed.insert(frame, bytes);
        }
        let missing = absent(&landed);
        if !missing.is_empty() {
            count(&self.counters.misses, missing.len());
            count(&self.counters.fetches, 1);
            for (frame, bytes) in fetch(missing).await.map_err(Arc::new)? {
                count(&self.counters.fetched_bytes, bytes.len());
                self.insert(frame, bytes.clone());
                landed.insert(frame, bytes);
            }
        }
        Ok(Arc::new(landed))
    }

    async fn read_disk(&self, mut frames: Vec<FrameId>) -> Vec<(FrameId, Bytes)> {
        let mut found = Vec::new();
        let Some(disk) = &self.disk else { return found };
        frames.retain(|frame| disk.holds(*frame));
        if frames.is_empty() {
            return found;
        }
        let level = disk.clone();
        let read = self.env.blocking(move || frames.into_iter().map(|frame| (frame, level.read(frame))).collect());
        let read: Vec<(FrameId, Found)> = read.await;
        for (frame, looked) in read {
            match looked {
                Found::Bytes(bytes) => {
                    count(&self.counters.disk_hits, 1);
                    count(&self.counters.disk_hit_bytes, bytes.len());
                    found.push((frame, bytes));
                }
                Found::Missing => {}
                Found::Corrupt => {
                    count(&self.counters.corrupt, 1);
                    tracing::warn!(%frame, "an entry of the read cache did not verify; it is fetched again");
                }
                Found::Failed(error) => {
                    count(&self.counters.disk_errors, 1);
                    tracing::warn!(%error, "the read cache's disk fails");
                }
            }
        }
        found
    }

    /// Hands a frame to the writer of the disk level, if that has room for it.
    fn enqueue(self: &Arc<Self>, frame: FrameId, bytes: Bytes) {
        let Some(disk) = &self.disk else { return };
        if disk.holds(frame) {
            return;
        }
        let mut queue = self.queue.lock();
        let len = bytes.len() as u64;
        if queue.stopped || disk.paused() || queue.bytes + len > self.config.queue_bytes_max {
            count(&self.counters.not_written, 1);
            return;
        }
        queue.bytes += len;
        queue.frames.push_back((frame, bytes));
        if !queue.writing {
            queue.writing = true;
            let writer = Self::write_queue(self.clone(), disk.clone());
            queue.writer = Some(self.env.tasks.spawn("read-cache", Box::pin(writer)));
        }
    }

    /// Writes until the queue is empty.
    async fn write_queue(self: Arc<Self>, disk: Arc<DiskLevel>) {
        while let Some(batch) = self.next_batch() {
            let level = disk.clone();
            if let Err(error) = self.env.blocking(move || level.write(batch)).await {
                count(&self.counters.disk_errors, 1);
                let mut queue = self.queue.lock();
                count(&self.counters.not_written, queue.frames.len());
                queue.frames.clear();
                queue.bytes = 0;
                drop(queue);
                tracing::debug!(%error, "frames are not kept on disk");
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<(FrameId, Bytes)>> {
        let mut queue = self.queue.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && !queue.stopped {
            let Some((frame, content)) = queue.frames.pop_front() else { break };
            bytes += content.len();
            queue.bytes -= content.len() as u64;
            batch.push((frame, content));
        }
        queue.writing = !batch.is_empty();
        queue.writing.then_some(batch)
    }

    /// Forgets the frames of a segment whose blob is gone.
    pub fn forget(&self, segment: SegmentId) {
        self.memory.forget(segment);
        if let Some(disk) = &self.disk {
            disk.forget(segment);
        }
    }

    /// Forgets everything: the next reads come from the pool.
    pub fn clear(&self) {
        self.memory.clear();
        if let Some(disk) = &self.disk {
            disk.clear();
        }
    }

    /// Ends the writer of the disk level; later frames stay in memory only.
    pub async fn stop(&self) {
        let writer = {
            let mut queue = self.queue.lock();
            queue.stopped = true;
            queue.writer.take()
        };
        if let Some(writer) = writer {
            writer.join().await;
        }
    }

    pub fn stats(&self) -> ReadCacheStats {
        let (disk_bytes, disk_frames) = self.disk.as_ref().map(|disk| disk.size()).unwrap_or_default();
        let c = &self.counters;
        ReadCacheStats {
            memory_hits: read(&c.memory_hits),
            disk_hits: read(&c.disk_hits),
            disk_hit_bytes: read(&c.disk_hit_bytes),
            misses: read(&c.misses),
            fetches: read(&c.fetches),
            fetched_bytes: read(&c.fetched_bytes),
            joined: read(&c.joined),
            corrupt: read(&c.corrupt),
            disk_errors: read(&c.disk_errors),
            not_written: read(&c.not_written),
            memory_bytes: self.memory.bytes(),
            disk_bytes,
            disk_frames,
        }
    }
}

fn in_order(frames: &[FrameId], found: &BTreeMap<FrameId, Bytes>) -> Result<Vec<Bytes>> {
    frames.iter().map(|frame| found.get(frame).cloned().ok_or_else(|| left_out(*frame))).collect()
}

fn left_out(frame: FrameId) -> Error {
    Error::new(ErrorKind::Internal, "fetch frame").entity(frame).context("the fetch did not bring it")
}

/// The error of a flight, told to one of those who waited.
fn shared(frame: FrameId, error: Arc<Error>) -> Error {
    Error::new(error.kind(), "fetch frame").entity(frame).source(error)
}
