//! Damaged, truncated and stale files: never a wrong record, never a silent hole.
#![allow(clippy::disallowed_methods, reason = "tests damage the files themselves")]

mod harness;

use std::path::PathBuf;

use cache_journal::{FrameId, FrameNo, Lsn, SegmentId, segment_file_name};
use harness::*;
use objstore_base::ErrorKind;

const SEGMENT_BYTES: u64 = 64 << 10;

/// A journal of one segment: some records committed, some more that know of it, and those not committed.
struct Sample {
    bench: Bench,
    file: Vec<u8>,
    batches: Vec<(u64, Vec<u8>)>,
    frames: Vec<(FrameId, Vec<u8>)>,
    committed: usize,
}

impl Sample {
    fn new() -> Self {
        let bench = Bench::in_memory().with_segment_bytes(SEGMENT_BYTES);
        let log = bench.open(Lsn::ZERO).unwrap();
        let mut frames = Vec::new();
        for i in 0..8u64 {
            match i {
                3 | 6 => {
                    let bytes = pattern(i, 700);
                    frames.push((append_frame(&log.journal, &bytes).1, bytes));
                }
                _ => drop(append_batch(&log.journal, &pattern(i, 20 + i as usize))),
            }
            if i == 4 {
                log.journal.commit(Lsn(5)).unwrap();
            }
        }
        log.journal.write_out().unwrap();
        drop(log);
        let file = std::fs::read(Self::path_in(&bench)).unwrap();
        let log = bench.open(Lsn::ZERO).unwrap();
        assert_eq!(log.replayed.len(), 8);
        let batches = log.replayed;
        drop(log.journal);
        Self { bench, file, batches, frames, committed: 5 }
    }

    fn path_in(bench: &Bench) -> PathBuf {
        bench.config.dir.join(segment_file_name(SegmentId(1)))
    }

    /// End of the last record.
    fn used(&self) -> usize {
        (self.file.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8)
    }

    /// Opens a folder that holds only `file`; whatever comes back must be true. Gives how many records came back.
    fn check(&self, file: &[u8], what: &str) -> Result<usize, ErrorKind> {
        std::fs::remove_dir_all(&self.bench.config.dir).unwrap();
        std::fs::create_dir(&self.bench.config.dir).unwrap();
        std::fs::write(Self::path_in(&self.bench), file).unwrap();
        let log = self.bench.open(Lsn::ZERO).map_err(|e| e.kind())?;
        let n = log.replayed.len();
        assert!(n <= self.batches.len() && log.replayed == self.batches[..n], "{what}: other records");
        for (id, bytes) in &self.frames {
            match read_all(&log.journal, *id) {
                Ok(Some(read)) => assert!(read == *bytes, "{what}: other bytes in {id}"),
                Ok(None) => panic!("{what}: its segment is here"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            }
        }
        Ok(n)
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_a_cut_behind_the_durable_end() {
    let sample = Sample::new();
    let (mut cuts, mut refused) = (0, 0);
    for at in 0..sample.used() {
        let mut file = sample.file.clone();
        file[at] ^= 1 << (at % 8);
        match sample.check(&file, &format!("byte {at}")) {
            Ok(n) => {
                assert!(n >= sample.committed, "byte {at}: only {n} records of {} durable ones", sample.committed);
                cuts += usize::from(n < sample.batches.len());
            }
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Corrupt, "byte {at}");
                refused += 1;
            }
        }
    }
    assert!(cuts > 100 && refused > 100, "{cuts} cuts, {refused} refused");
}

#[test]
fn every_truncation_is_an_error_or_a_cut_behind_the_durable_end() {
    let sample = Sample::new();
    for len in 0..sample.used() {
        match sample.check(&sample.file[..len], &format!("{len} bytes")) {
            // Nothing behind the damage says how far the log was durable: a shorter prefix is all there is to see,
            // unless what knows of it is still there.
            Ok(n) => assert!(n <= sample.batches.len()),
            Err(kind) => assert_eq!(kind, ErrorKind::Corrupt, "{len} bytes"),
        }
    }
    assert_eq!(sample.check(&sample.file[..sample.used()], "all"), Ok(8));
}

#[test]
fn zeroed_pages_and_swapped_pages_are_found() {
    let sample = Sample::new();
    for page in 1..sample.used().div_ceil(512) {
        let mut file = sample.file.clone();
        file[page * 512..(page + 1) * 512].fill(0);
        if let Ok(n) = sample.check(&file, "zeroed") {
            assert!(n >= sample.committed || page >= 8);
        }
        let mut file = sample.file.clone();
        for i in 0..512 {
            file.swap(page * 512 + i, 8192 + i);
        }
        if let Err(kind) = sample.check(&file, "swapped") {
            assert_eq!(kind, ErrorKind::Corrupt);
        }
    }
}

#[test]
fn records_of_the_file_s_earlier_life_are_never_taken() {
    let bench = Bench::in_memory().with_segment_bytes(SEGMENT_BYTES);
    let mut log = bench.open(Lsn::ZERO).unwrap();
    for round in 0..6u64 {
        // All records are of one size, so that an old one stands exactly where a new one is expected.
        for i in 0..40u64 {
            append_batch(&log.journal, &[round as u8, i as u8, 1, 2, 3]);
        }
        let id = log.journal.seal().unwrap().unwrap();
        log.journal.mark_uploaded(id).unwrap();
        log.journal.index_flushed(log.journal.durable());
        log.journal.retire(0).unwrap();
        let after = log.journal.last();
        for i in 0..3u64 {
            append_batch(&log.journal, &[round as u8, i as u8, 9, 9, 9]);
        }
        log.journal.commit(log.journal.last()).unwrap();
        drop(log);
        log = bench.open(after).unwrap();
        assert_eq!(log.replayed.len(), 3, "round {round}");
        assert_eq!(log.recovery.cut_bytes, 0);
    }
}

/// The end is cut, and the place is written again by records of the same size: what stood behind the cut must not
/// join the new ones.
#[test]
fn what_was_cut_never_comes_back_behind_newer_records() {
    let bench = Bench::in_memory().with_segment_bytes(SEGMENT_BYTES);
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, b"kept one");
    log.journal.commit(Lsn(1)).unwrap();
    for _ in 0..5 {
        append_batch(&log.journal, b"old text");
    }
    log.journal.write_out().unwrap();
    drop(log);
    // The second record is torn; the third to sixth are whole behind it.
    let path = bench.config.dir.join(segment_file_name(SegmentId(1)));
    let mut file = std::fs::read(&path).unwrap();
    let at = file.windows(8).position(|w| w == b"old text").unwrap();
    file[at] ^= 0xff;
    std::fs::write(&path, &file).unwrap();
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(log.replayed, vec![(1, b"kept one".to_vec())]);
    assert!(log.recovery.cut_bytes > 0);
    assert_eq!(append_batch(&log.journal, b"new text").lsn, Lsn(2));
    log.journal.commit(Lsn(2)).unwrap();
    drop(log);
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(log.replayed, vec![(1, b"kept one".to_vec()), (2, b"new text".to_vec())]);
}

#[test]
fn a_hole_before_the_durable_end_names_place_and_repair() {
    let bench = Bench::in_memory().with_segment_bytes(SEGMENT_BYTES);
    let log = bench.open(Lsn::ZERO).unwrap();
    for i in 1..=10u8 {
        append_batch(&log.journal, &[i; 30]);
    }
    log.journal.shutdown().unwrap();
    drop(log);
    let path = bench.config.dir.join(segment_file_name(SegmentId(1)));
    let whole = std::fs::read(&path).unwrap();
    for victim in [1u8, 6, 10] {
        let mut file = whole.clone();
        let at = file.windows(30).position(|w| w == [victim; 30]).unwrap();
        file[at] ^= 1;
        std::fs::write(&path, &file).unwrap();
        let error = bench.open(Lsn::ZERO).err().unwrap();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let lsn = format!("LSN {victim}");
        for part in ["segment 1", "byte ", &lsn, "tidegate recover"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_missing_middle_segment_is_an_error_unless_the_index_has_it() {
    let bench = Bench::in_memory().with_segment_bytes(SEGMENT_BYTES);
    let log = bench.open(Lsn::ZERO).unwrap();
    let mut last = Vec::new();
    for i in 0..3u8 {
        append_batch(&log.journal, &[i; 100]);
        append_batch(&log.journal, &[i; 50]);
        log.journal.seal().unwrap();
        last.push(log.journal.last());
    }
    drop(log);
    std::fs::remove_file(bench.config.dir.join(segment_file_name(SegmentId(2)))).unwrap();
    let error = bench.open(Lsn(1)).err().unwrap();
    assert!(error.to_string().contains("LSN 3"), "{error}");
    let log = bench.open(last[1]).unwrap();
    assert_eq!(log.replayed.len(), 2);
    assert_eq!(read_all(&log.journal, FrameId::new(SegmentId(2), FrameNo(0))).unwrap(), None);
}

/// As before, but the newer record does not fit behind the cut and begins the next segment: the torn one must not be
/// found a second time under the same LSN.
#[test]
fn what_was_cut_does_not_compete_with_the_next_segment() {
    let bench = Bench::in_memory().with_segment_bytes(128 << 10);
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, &pattern(0, 10_000));
    log.journal.commit(Lsn(1)).unwrap();
    append_frame(&log.journal, &pattern(1, 60_000));
    log.journal.write_out().unwrap();
    drop(log);
    let path = bench.config.dir.join(segment_file_name(SegmentId(1)));
    let mut file = std::fs::read(&path).unwrap();
    file[20_000] ^= 1;
    std::fs::write(&path, &file).unwrap();
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(log.journal.last(), Lsn(1));
    let large = append_batch(&log.journal, &pattern(2, 120_000));
    assert_eq!(large.lsn, Lsn(2));
    assert!(large.segment > SegmentId(1));
    log.journal.commit(Lsn(2)).unwrap();
    drop(log);
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(
        log.replayed.iter().map(|(lsn, batch)| (*lsn, batch.len())).collect::<Vec<_>>(),
        [(1, 10_000), (2, 120_000)]
    );
}
