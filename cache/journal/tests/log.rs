//! Append, commit, read, seal, reopen.
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod harness;

use cache_journal::{FrameId, FrameNo, Lsn, SegmentId, SegmentState};
use harness::*;
use objstore_base::ErrorKind;

#[test]
fn records_come_back_in_order_after_reopening() {
    let bench = Bench::new();
    let first = bench.open(Lsn::ZERO).unwrap();
    assert_eq!((first.recovery.records, first.journal.last()), (0, Lsn::ZERO));
    for i in 0..100u64 {
        assert_eq!(append_batch(&first.journal, &i.to_le_bytes()).lsn, Lsn(i + 1));
    }
    assert_eq!(first.journal.durable(), Lsn::ZERO);
    first.journal.commit(Lsn(40)).unwrap();
    assert_eq!(first.journal.durable(), Lsn(100));
    drop(first);
    let second = bench.open(Lsn(10)).unwrap();
    assert_eq!(second.recovery.records, 90);
    assert_eq!(second.recovery.cut_bytes, 0);
    let wanted: Vec<_> = (10..100u64).map(|i| (i + 1, i.to_le_bytes().to_vec())).collect();
    assert_eq!(second.replayed, wanted);
    assert_eq!(append_batch(&second.journal, b"next").lsn, Lsn(101));
}

#[test]
fn frames_are_read_whole_and_in_part_before_and_after_reopening() {
    let bench = Bench::new();
    let log = bench.open(Lsn::ZERO).unwrap();
    let mut frames = Vec::new();
    for (i, len) in [1, 100, 16_383, 16_384, 16_385, 32_768, 100_000, 262_144].into_iter().enumerate() {
        let bytes = pattern(i as u64, len);
        let (_, id) = append_frame(&log.journal, &bytes);
        assert_eq!(read_all(&log.journal, id).unwrap().as_ref(), Some(&bytes), "{len} bytes");
        frames.push((id, bytes));
    }
    let (a, b) = (pattern(50, 30_000), pattern(51, 70_001));
    let (_, ids) = append_frames(&log.journal, &[&a, &b]);
    frames.extend(ids.into_iter().zip([a, b]));
    log.journal.commit(log.journal.last()).unwrap();
    drop(log);
    let log = bench.open(Lsn::ZERO).unwrap();
    for (id, bytes) in &frames {
        assert_eq!(read_all(&log.journal, *id).unwrap().as_ref(), Some(bytes));
        let len = bytes.len() as u32;
        for (from, to) in
            [(0, len / 2), (len / 3, len), (len / 2, len / 2), (16_384, 32_768), (1, 40_000), (20_000, 20_001)]
        {
            if from > to || to > len {
                continue;
            }
            let mut out = vec![0; (to - from) as usize];
            log.journal.read(*id, from..to, &mut out).unwrap().unwrap();
            assert!(out == bytes[from as usize..to as usize], "{from}..{to} of {len}");
        }
        let mut out = [0; 10];
        assert_eq!(log.journal.read(*id, len..len + 10, &mut out).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let missing = FrameId::new(SegmentId(1), FrameNo(99_999));
    assert_eq!(read_all(&log.journal, missing).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(read_all(&log.journal, FrameId::new(SegmentId(77), FrameNo(0))).unwrap(), None);
}

#[test]
fn segments_roll_seal_upload_retire_and_their_files_are_used_again() {
    let bench = Bench::new().with_segment_bytes(256 << 10);
    let log = bench.open(Lsn::ZERO).unwrap();
    let journal = &log.journal;
    let mut frames = Vec::new();
    for i in 0..40 {
        let bytes = pattern(i, 20_000 + i as usize * 700);
        let (appended, id) = append_frame(journal, &bytes);
        assert_eq!(appended.segment, id.segment);
        frames.push((id, bytes));
    }
    let mut sealed = journal.watch_sealed();
    assert_eq!(*sealed.borrow_and_update(), SegmentId(0));
    let last = journal.seal().unwrap().unwrap();
    assert_eq!(*sealed.borrow_and_update(), last);
    assert_eq!(journal.seal().unwrap(), None);
    let infos = journal.segments();
    assert!(infos.len() > 4);
    assert!(infos.iter().take(infos.len() - 1).all(|i| i.state == SegmentState::Sealed));
    for pair in infos.windows(2) {
        assert_eq!(pair[0].last_lsn.next(), pair[1].first_lsn);
    }
    let mut batches = 0;
    for info in &infos[..infos.len() - 1] {
        let reader = journal.sealed(info.id).unwrap();
        reader
            .records(&mut |record| {
                assert_eq!(record.frames.len(), 1);
                batches += 1;
                Ok(())
            })
            .unwrap();
        for (no, entry) in reader.frames().iter() {
            let mut out = vec![0; entry.len as usize];
            reader.read_frame(no, &mut out).unwrap();
            let wanted = frames.iter().find(|(id, _)| *id == FrameId::new(info.id, no)).unwrap();
            assert!(out == wanted.1);
        }
    }
    assert_eq!(batches, 40);
    let dirty = journal.dirty();
    assert_eq!(dirty.segments, infos.len() - 1);
    // Nothing goes before it is uploaded and the index has it.
    assert_eq!(journal.retire(0).unwrap(), 0);
    for info in &infos[..3] {
        journal.mark_uploaded(info.id).unwrap();
    }
    assert_eq!(journal.retire(0).unwrap(), 0);
    journal.index_flushed(infos[1].last_lsn);
    assert!(journal.retire(0).unwrap() > 0);
    let left: Vec<_> = journal.segments().iter().map(|i| i.id).collect();
    assert_eq!(left, infos[2..].iter().map(|i| i.id).collect::<Vec<_>>());
    for (id, bytes) in &frames {
        let local = id.segment >= infos[2].id;
        assert_eq!(read_all(journal, *id).unwrap().is_some_and(|b| b == *bytes), local);
    }
    let flushed = infos[1].last_lsn;
    drop(log);
    let log = bench.open(flushed).unwrap();
    assert_eq!(log.replayed.len() as u64, log.journal.last().0 - flushed.0);
    assert_eq!(log.journal.segment(infos[2].id).unwrap().state, SegmentState::Uploaded);
    for (id, bytes) in frames.iter().filter(|(id, _)| id.segment >= infos[2].id) {
        assert_eq!(read_all(&log.journal, *id).unwrap().as_ref(), Some(bytes));
    }
    drop(log);
    let error = bench.open(Lsn::ZERO).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("tidegate recover"), "{error}");
}

#[test]
fn the_position_survives_the_retirement_of_everything_before() {
    let bench = Bench::new();
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, b"one");
    append_batch(&log.journal, b"two");
    let id = log.journal.seal().unwrap().unwrap();
    log.journal.mark_uploaded(id).unwrap();
    log.journal.index_flushed(Lsn(2));
    assert!(log.journal.retire(0).unwrap() > 0);
    drop(log);
    for _ in 0..3 {
        let log = bench.open(Lsn(2)).unwrap();
        assert_eq!(log.journal.last(), Lsn(2));
    }
    let log = bench.open(Lsn(2)).unwrap();
    assert_eq!(append_batch(&log.journal, b"three").lsn, Lsn(3));
    drop(log);
    let error = bench.open(Lsn(9)).err().unwrap();
    assert!(error.to_string().contains("the journal ends at LSN"), "{error}");
}

#[test]
fn what_fits_nowhere_is_refused_and_harms_nothing() {
    let bench = Bench::new().with_segment_bytes(64 << 10);
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, b"before");
    let large = vec![1; 70 << 10];
    let refused = log.journal.append(&[], &mut |_, out| out.extend_from_slice(&large)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(append_batch(&log.journal, b"after").lsn, Lsn(2));
    log.journal.commit(Lsn(2)).unwrap();
    assert!(log.journal.commit(Lsn(3)).is_err());
    drop(log);
    assert_eq!(bench.open(Lsn::ZERO).unwrap().replayed.len(), 2);
}

#[test]
fn another_store_a_missing_journal_and_a_renamed_segment_are_refused() {
    let bench = Bench::new();
    drop(bench.open(Lsn::ZERO).unwrap());
    let mut other = bench.config.clone();
    other.store_uuid = [9; 16];
    assert_eq!(open(&bench.env, &other, Lsn::ZERO).err().unwrap().kind(), ErrorKind::Mismatch);
    let file = |id| bench.config.dir.join(cache_journal::segment_file_name(SegmentId(id)));
    std::fs::copy(file(1), file(9)).unwrap();
    assert_eq!(bench.open(Lsn::ZERO).err().unwrap().kind(), ErrorKind::Mismatch);
    let mut gone = bench.config.clone();
    gone.dir = bench.dir.path().join("elsewhere");
    gone.create = false;
    assert_eq!(open(&bench.env, &gone, Lsn::ZERO).err().unwrap().kind(), ErrorKind::NotFound);
    gone.create = true;
    assert_eq!(open(&bench.env, &gone, Lsn(4)).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn commit_async_is_ready_at_once_when_durable() {
    let bench = Bench::new();
    let log = bench.open(Lsn::ZERO).unwrap();
    let lsn = append_batch(&log.journal, b"x").lsn;
    bench.runtime.block_on(log.journal.commit_async(lsn)).unwrap();
    assert_eq!(log.journal.durable(), lsn);
    assert!(bench.runtime.block_on(log.journal.commit_async(Lsn(99))).is_err());
    // Many at once, some of them given up.
    for round in 0..20 {
        let commits: Vec<_> = (0..10).map(|_| log.journal.commit_async(append_batch(&log.journal, b"y").lsn)).collect();
        bench.runtime.block_on(async {
            for (i, commit) in commits.into_iter().enumerate() {
                if i != round % 10 {
                    commit.await.unwrap();
                }
            }
        });
        log.journal.commit(log.journal.last()).unwrap();
    }
    let mut again = log.journal.commit_async(lsn);
    let waker = std::task::Waker::noop();
    assert!(again.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready());
}

#[test]
fn a_recovered_store_goes_on_behind_its_index() {
    let bench = Bench::new();
    cache_journal::Journal::begin_after(&bench.env, &bench.config, Lsn(500), SegmentId(40)).unwrap();
    let again = cache_journal::Journal::begin_after(&bench.env, &bench.config, Lsn(1), SegmentId(1));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
    let log = bench.open(Lsn(500)).unwrap();
    assert_eq!((log.journal.last(), log.journal.durable(), log.replayed.len()), (Lsn(500), Lsn(500), 0));
    let appended = append_batch(&log.journal, b"on");
    assert_eq!((appended.lsn, appended.segment), (Lsn(501), SegmentId(41)));
    log.journal.commit(Lsn(501)).unwrap();
    drop(log);
    assert_eq!(bench.open(Lsn(500)).unwrap().replayed, [(501, b"on".to_vec())]);
    assert!(bench.open(Lsn(300)).is_err(), "an index that is older than the journal's beginning has a gap");
}
