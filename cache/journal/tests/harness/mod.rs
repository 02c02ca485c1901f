//! A journal in a temporary folder, and a log of what replay gives back.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use cache_journal::{Appended, FrameData, FrameId, Journal, JournalConfig, Lsn, Recovery};
use objstore_base::Result;
use objstore_env::Env;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const UUID: [u8; 16] = *b"store of a test!";

pub struct Bench {
    pub dir: TempDir,
    pub runtime: Runtime,
    pub env: Env,
    pub config: JournalConfig,
}

impl Bench {
    pub fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// On a file system in memory where there is one: for tests that open a journal thousands of times.
    pub fn in_memory() -> Self {
        Self::in_dir(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_dir(dir: TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let env = objstore_env::real::env(runtime.handle().clone()).unwrap();
        let config = JournalConfig { segment_bytes: 1 << 20, ..JournalConfig::new(dir.path().join("journal"), UUID) };
        Self { dir, runtime, env, config }
    }

    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.config.segment_bytes = bytes;
        self
    }

    pub fn open(&self, after: Lsn) -> Result<Opened> {
        open(&self.env, &self.config, after)
    }
}

pub struct Opened {
    pub journal: Arc<Journal>,
    pub recovery: Recovery,
    pub replayed: Vec<(u64, Vec<u8>)>,
}

pub fn open(env: &Env, config: &JournalConfig, after: Lsn) -> Result<Opened> {
    let mut replayed = Vec::new();
    let (journal, recovery) = Journal::open(env.clone(), config.clone(), after, &mut |lsn, batch| {
        replayed.push((lsn.0, batch.to_vec()));
        Ok(())
    })?;
    Ok(Opened { journal, recovery, replayed })
}

pub fn append_batch(journal: &Journal, batch: &[u8]) -> Appended {
    journal.append(&[], &mut |_, out| out.extend_from_slice(batch)).unwrap()
}

/// Appends one frame; its batch is the frame's id in text.
pub fn append_frame(journal: &Journal, bytes: &[u8]) -> (Appended, FrameId) {
    let (appended, ids) = append_frames(journal, &[bytes]);
    (appended, ids[0])
}

pub fn append_frames(journal: &Journal, parts: &[&[u8]]) -> (Appended, Vec<FrameId>) {
    let frames: Vec<_> = parts.iter().map(|bytes| FrameData { ino: 7, offset: 0, bytes, origin: None }).collect();
    let mut given = Vec::new();
    let appended = journal
        .append(&frames, &mut |ids, out| {
            given = ids.to_vec();
            out.extend_from_slice(format!("{ids:?}").as_bytes());
        })
        .unwrap();
    (appended, given)
}

pub fn read_all(journal: &Journal, frame: FrameId) -> Result<Option<Vec<u8>>> {
    let Some(len) = journal.frame_len(frame)? else { return Ok(None) };
    let mut out = vec![0; len as usize];
    Ok(journal.read(frame, 0..len, &mut out)?.map(|()| out))
}

/// Bytes that differ from place to place.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}
