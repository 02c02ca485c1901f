//! A journal at work on a simulated disk, and what it owes after a crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cache_journal::{FrameData, FrameId, Journal, JournalConfig, Lsn, SegmentState};
use objstore_base::Result;
use objstore_env::sim::{SimDisk, SimRng, SimWorld};
use objstore_env::{Env, Rng};

const DIR: &str = "/journal";

/// What a mark in the trace says: its low bit tells which, the rest is an LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A commit up to here was acknowledged.
    Durable(Lsn),
    /// The index holds everything up to here durably: replay begins after it.
    Indexed(Lsn),
}

impl Said {
    const fn mark(self) -> u64 {
        match self {
            Self::Durable(lsn) => lsn.0 << 1,
            Self::Indexed(lsn) => lsn.0 << 1 | 1,
        }
    }

    pub const fn from_mark(mark: u64) -> Self {
        if mark & 1 == 0 { Self::Durable(Lsn(mark >> 1)) } else { Self::Indexed(Lsn(mark >> 1)) }
    }
}

pub struct Record {
    batch: Vec<u8>,
    frames: Vec<(FrameId, Vec<u8>)>,
}

/// Everything that was appended, by LSN.
pub type Records = BTreeMap<Lsn, Record>;

pub fn config() -> JournalConfig {
    JournalConfig {
        segment_bytes: 128 << 10,
        unsynced_bytes_max: 256 << 10,
        cache_bytes_max: 512 << 10,
        ..JournalConfig::new(PathBuf::from(DIR), *b"store of a test!")
    }
}

/// The batches that a replay gave.
pub type Replayed = BTreeMap<Lsn, Vec<u8>>;

pub fn open(env: Env, after: Lsn) -> Result<(Arc<Journal>, Replayed)> {
    let mut replayed = Replayed::new();
    let (journal, _) = Journal::open(env, config(), after, &mut |lsn, batch| {
        assert!(replayed.insert(lsn, batch.to_vec()).is_none(), "{lsn} is replayed twice");
        Ok(())
    })?;
    Ok((journal, replayed))
}

/// One process that writes to the journal as the engine and the write-back do.
pub struct Run<'a> {
    pub journal: Arc<Journal>,
    pub records: Records,
    pub indexed: Lsn,
    rng: SimRng,
    disk: &'a SimDisk,
}

impl<'a> Run<'a> {
    pub fn new(journal: Arc<Journal>, disk: &'a SimDisk, seed: u64) -> Self {
        Self { journal, records: Records::new(), indexed: Lsn::ZERO, rng: SimRng::new(seed), disk }
    }

    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step().unwrap();
        }
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.below(100) {
            0..50 => self.append(),
            50..75 => self.commit(),
            75..80 => self.journal.write_out(),
            80..85 => self.journal.tick(),
            85..90 => self.journal.seal().map(drop),
            90..95 => self.upload(),
            _ => self.retire(),
        }
    }

    fn bytes(&self, len: u64) -> Vec<u8> {
        let mut word = self.rng.next_u64();
        let next = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (word >> 56) as u8
        };
        std::iter::repeat_with(next).take(len as usize).collect()
    }

    fn append(&mut self) -> Result<()> {
        let payloads: Vec<Vec<u8>> = (0..self.rng.below(3))
            .map(|_| if self.rng.one_in(6) { 1 + self.rng.below(50 << 10) } else { 1 + self.rng.below(3000) })
            .map(|len| self.bytes(len))
            .collect();
        let frames: Vec<FrameData<'_>> =
            payloads.iter().map(|bytes| FrameData { ino: 9, offset: 0, bytes, origin: None }).collect();
        let batch = self.bytes(1 + self.rng.below(600));
        let mut ids = Vec::new();
        let appended = self.journal.append(&frames, &mut |given, out| {
            ids = given.to_vec();
            out.extend_from_slice(&batch);
        })?;
        let frames = ids.into_iter().zip(payloads).collect();
        self.records.insert(appended.lsn, Record { batch, frames });
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let last = self.journal.last();
        self.journal.commit(last)?;
        self.disk.mark(Said::Durable(last).mark());
        Ok(())
    }

    fn upload(&mut self) -> Result<()> {
        let sealed = self.journal.segments().into_iter().find(|s| s.state == SegmentState::Sealed);
        sealed.map_or(Ok(()), |segment| self.journal.mark_uploaded(segment.id))
    }

    fn retire(&mut self) -> Result<()> {
        // The index is flushed up to what the journal has made durable, as the engine does it.
        self.commit()?;
        self.indexed = self.journal.durable();
        self.disk.mark(Said::Indexed(self.indexed).mark());
        self.journal.index_flushed(self.indexed);
        self.journal.retire(256 << 10).map(drop)
    }
}

/// Opens the journal of a crashed disk and checks what it gives against what was written.
///
/// # Panics
/// It owes something.
pub fn check(world: &SimWorld, records: &Records, durable: Lsn, indexed: Lsn) -> Arc<Journal> {
    let (journal, replayed) = open(world.env(), indexed).unwrap_or_else(|e| panic!("it does not open: {e}"));
    let last = journal.last();
    assert!(last >= durable.max(indexed), "acknowledged up to {durable}, recovered up to {last}");
    let expected: Vec<(Lsn, &Vec<u8>)> =
        records.range(..=last).filter(|(lsn, _)| **lsn > indexed).map(|(lsn, record)| (*lsn, &record.batch)).collect();
    let replayed: Vec<(Lsn, &Vec<u8>)> = replayed.iter().map(|(lsn, batch)| (*lsn, batch)).collect();
    assert!(replayed == expected, "replayed {:?}, written {:?}", lsns(&replayed), lsns(&expected));
    let local: Vec<_> = journal.segments().into_iter().map(|segment| segment.id).collect();
    for (lsn, record) in records.range(..=last) {
        for (frame, bytes) in &record.frames {
            let mut read = vec![0; bytes.len()];
            match journal.read(*frame, 0..bytes.len() as u32, &mut read) {
                Ok(Some(())) => assert!(read == *bytes, "{frame} of {lsn} has other bytes"),
                Ok(None) => {
                    assert!(*lsn <= indexed, "{frame} of {lsn} is gone, the index is durable up to {indexed}");
                    assert!(!local.contains(&frame.segment), "{frame} is denied by a segment that is there");
                }
                Err(e) => panic!("{frame} of {lsn}: {e}"),
            }
        }
    }
    journal
}

fn lsns(records: &[(Lsn, &Vec<u8>)]) -> Vec<u64> {
    records.iter().map(|(lsn, _)| lsn.0).collect()
}
