//! Errors of the disk: a failed sync, a failed payload write, a poisoned journal; and concurrency.
#![allow(clippy::disallowed_methods, reason = "tests start threads")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use cache_journal::{Lsn, SegmentId, segment_file_name};
use harness::*;
use objstore_base::ErrorKind;
use objstore_env::{FailAction, Failpoints};

const EIO: i32 = 5;

/// Fails the given place at the given passes.
fn failing(places: &'static [(&'static str, u64)]) -> Failpoints {
    Failpoints::with(move |name, nth| match places.contains(&(name, nth)) {
        true => FailAction::Errno(EIO),
        false => FailAction::Continue,
    })
}

#[test]
fn a_failed_sync_is_reported_and_its_records_are_saved_by_a_new_copy() {
    let mut bench = Bench::new();
    // The first pass of this place is the sync of opening.
    bench.env.failpoints = failing(&[("journal.sync.before", 3)]);
    let log = bench.open(Lsn::ZERO).unwrap();
    let path = bench.config.dir.join(segment_file_name(SegmentId(1)));
    let inode = |p: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(p).unwrap());
    let before = inode(&path);
    append_batch(&log.journal, b"fine");
    log.journal.commit(Lsn(1)).unwrap();
    let bytes = pattern(1, 200_000);
    let (_, id) = append_frame(&log.journal, &bytes);
    let error = log.journal.commit(Lsn(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("segment 1"), "{error}");
    // Durable only now, in another file under the same name.
    assert_eq!(log.journal.durable(), Lsn(2));
    assert_ne!(inode(&path), before);
    assert_eq!(bench.env.failpoints.hits()["journal.repair.rename"], 1);
    assert_eq!(read_all(&log.journal, id).unwrap(), Some(bytes.clone()));
    append_batch(&log.journal, b"goes on");
    log.journal.commit(Lsn(3)).unwrap();
    drop(log);
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(log.replayed.len(), 3);
    assert_eq!(read_all(&log.journal, id).unwrap(), Some(bytes));
}

/// A defect is a panic; it used to leave the round open for ever, and with it every later commit.
#[test]
fn after_a_panic_inside_a_sync_nobody_waits_for_ever() {
    let mut bench = Bench::new();
    bench.env.failpoints = Failpoints::with(|name, nth| match (name, nth) {
        ("journal.sync.before", 3) => panic!("a defect"),
        _ => FailAction::Continue,
    });
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, b"fine");
    log.journal.commit(Lsn(1)).unwrap();
    append_batch(&log.journal, b"in the sync that a panic ends");
    let journal = &log.journal;
    thread::scope(|scope| {
        let panicking = scope.spawn(|| journal.commit(Lsn(2)));
        panicking.join().expect_err("the failpoint panics");
    });
    let error = journal.commit(Lsn(2)).expect_err("it is not durable");
    assert!(error.to_string().contains("defect"), "{error}");
    assert!(journal.healthy().is_err(), "what the round had taken may be lost");
    assert_eq!(journal.durable(), Lsn(1));
    drop(log);
    bench.env.failpoints = Failpoints::none();
    let log = bench.open(Lsn::ZERO).unwrap();
    assert!(!log.replayed.is_empty(), "what was committed is there");
}

/// The same on the thread that commits for futures: all of them hear of it.
#[test]
fn after_a_panic_of_the_committing_thread_every_future_ends() {
    let mut bench = Bench::new();
    bench.env.failpoints = Failpoints::with(|name, nth| match (name, nth) {
        ("journal.sync.before", 2..) => panic!("a defect"),
        _ => FailAction::Continue,
    });
    let log = bench.open(Lsn::ZERO).unwrap();
    append_batch(&log.journal, b"a");
    append_batch(&log.journal, b"b");
    let (first, second) = (log.journal.commit_async(Lsn(1)), log.journal.commit_async(Lsn(2)));
    bench.runtime.block_on(async {
        let wait = std::time::Duration::from_secs(20);
        tokio::time::timeout(wait, first).await.expect("it ends").expect_err("a defect");
        tokio::time::timeout(wait, second).await.expect("it ends").expect_err("a defect");
        tokio::time::timeout(wait, log.journal.commit_async(Lsn(2))).await.expect("it ends").expect_err("a defect");
    });
}

#[test]
fn where_the_copy_fails_too_the_journal_takes_no_more_and_reads_go_on() {
    let mut bench = Bench::new();
    bench.env.failpoints = failing(&[("journal.sync.before", 3), ("journal.repair.rename", 1)]);
    let log = bench.open(Lsn::ZERO).unwrap();
    let bytes = pattern(1, 50_000);
    let (_, id) = append_frame(&log.journal, &bytes);
    log.journal.commit(Lsn(1)).unwrap();
    append_batch(&log.journal, b"in doubt");
    assert_eq!(log.journal.commit(Lsn(2)).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(log.journal.durable(), Lsn(1));
    let error = log.journal.append(&[], &mut |_, out| out.push(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    for part in ["segment 1", "LSN 1", "start again"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(log.journal.poisoned().is_some());
    assert_eq!(log.journal.commit(Lsn(2)).unwrap_err().kind(), ErrorKind::Io);
    log.journal.commit(Lsn(1)).unwrap();
    assert_eq!(read_all(&log.journal, id).unwrap(), Some(bytes));
    drop(log);
    bench.env.failpoints = Failpoints::none();
    let log = bench.open(Lsn::ZERO).unwrap();
    assert!(!log.replayed.is_empty() && log.replayed[0].0 == 1);
    append_batch(&log.journal, b"works again");
    log.journal.commit(log.journal.last()).unwrap();
}

#[test]
fn a_failed_sync_while_rolling_over_loses_nothing() {
    for nth in 2..9 {
        let mut bench = Bench::in_memory().with_segment_bytes(128 << 10);
        bench.env.failpoints = Failpoints::with(move |name, n| match name == "journal.sync.before" && n == nth {
            true => FailAction::Errno(EIO),
            false => FailAction::Continue,
        });
        let log = bench.open(Lsn::ZERO).unwrap();
        let mut frames = Vec::new();
        let mut errors = 0;
        for i in 0..12 {
            let bytes = pattern(i, 40_000 + i as usize);
            frames.push((append_frame(&log.journal, &bytes).1, bytes));
            if i % 4 == 3 {
                errors += usize::from(log.journal.commit(log.journal.last()).is_err());
            }
        }
        assert!(errors <= 1);
        assert_eq!(log.journal.durable(), Lsn(12));
        drop(log);
        bench.env.failpoints = Failpoints::none();
        let log = bench.open(Lsn::ZERO).unwrap();
        assert_eq!(log.replayed.len(), 12);
        for (id, bytes) in frames {
            assert_eq!(read_all(&log.journal, id).unwrap(), Some(bytes));
        }
    }
}

#[test]
fn a_failed_payload_write_leaves_a_void_and_the_log_goes_on() {
    for place in ["journal.payload.before", "journal.payload.after"] {
        let mut bench = Bench::new();
        bench.env.failpoints = Failpoints::with(move |name, n| match name == place && n == 2 {
            true => FailAction::Errno(28),
            false => FailAction::Continue,
        });
        let log = bench.open(Lsn::ZERO).unwrap();
        let a = pattern(1, 100_000);
        let (_, first) = append_frame(&log.journal, &a);
        let refused = log
            .journal
            .append(&[cache_journal::FrameData { ino: 1, offset: 0, bytes: &a, origin: None }], &mut |_, out| {
                out.extend_from_slice(b"never")
            });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSpace);
        let (after, third) = append_frame(&log.journal, &a);
        assert_eq!((after.lsn, third.frame.0), (Lsn(3), 2));
        log.journal.commit(Lsn(3)).unwrap();
        drop(log);
        let log = bench.open(Lsn::ZERO).unwrap();
        let lsns: Vec<_> = log.replayed.iter().map(|(lsn, _)| *lsn).collect();
        assert_eq!(lsns, [1, 3]);
        assert_eq!(log.journal.seal().unwrap(), Some(SegmentId(1)));
        for id in [first, third] {
            assert_eq!(read_all(&log.journal, id).unwrap().as_ref(), Some(&a));
        }
    }
}

#[test]
fn commits_at_the_same_time_share_syncs() {
    const THREADS: u64 = 16;
    let mut bench = Bench::new();
    let (armed, appended, syncs) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let hook = (armed.clone(), appended.clone(), syncs.clone());
    bench.env.failpoints = Failpoints::with(move |name, _| {
        if name == "journal.sync.before" && hook.0.load(Ordering::Acquire) {
            hook.2.fetch_add(1, Ordering::AcqRel);
            // The disk is busy until everybody has appended.
            while hook.1.load(Ordering::Acquire) < THREADS {
                thread::yield_now();
            }
        }
        FailAction::Continue
    });
    let log = bench.open(Lsn::ZERO).unwrap();
    armed.store(true, Ordering::Release);
    thread::scope(|scope| {
        for t in 0..THREADS {
            let (journal, appended) = (&log.journal, &appended);
            scope.spawn(move || {
                let lsn = append_batch(journal, &t.to_le_bytes()).lsn;
                appended.fetch_add(1, Ordering::AcqRel);
                journal.commit(lsn).unwrap();
                assert!(journal.durable() >= lsn);
            });
        }
    });
    // The first covers who came before it, the second all the others.
    assert!(syncs.load(Ordering::Acquire) <= 2);
    drop(log);
    assert_eq!(bench.open(Lsn::ZERO).unwrap().replayed.len() as u64, THREADS);
}

#[test]
fn a_failed_sync_reaches_everyone_who_waits_for_it() {
    let mut bench = Bench::new();
    let broken = Arc::new(AtomicBool::new(false));
    let hook = broken.clone();
    bench.env.failpoints = Failpoints::with(move |name, _| match name {
        "journal.sync.before" if hook.load(Ordering::Acquire) => FailAction::Errno(EIO),
        _ => FailAction::Continue,
    });
    let log = bench.open(Lsn::ZERO).unwrap();
    broken.store(true, Ordering::Release);
    let errors = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let lsn = append_batch(&log.journal, b"x").lsn;
                if log.journal.commit(lsn).is_err() {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    // Each commit led a failing round, or waited for one; or its record was saved by a copy made before it asked.
    assert!(errors.load(Ordering::Relaxed) >= 1);
    assert_eq!(log.journal.durable(), Lsn(8));
    assert_eq!(log.journal.poisoned(), None);
}

/// 32 threads append, commit, read, seal, upload and retire at once; then everything durable is there.
#[test]
fn thirty_two_threads() {
    let bench = Bench::in_memory().with_segment_bytes(1 << 20);
    let log = bench.open(Lsn::ZERO).unwrap();
    let journal = &log.journal;
    let stop = AtomicBool::new(false);
    let mut written: Vec<(u64, u64, usize)> = Vec::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..30u64)
            .map(|t| {
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for i in 0..40u64 {
                        let seed = t << 32 | i;
                        let len = [0, 100, 5000, 33_000, 200_000][((t + i) % 5) as usize];
                        if len == 0 {
                            append_batch(journal, &seed.to_le_bytes());
                        } else {
                            let bytes = pattern(seed, len);
                            let (appended, id) = append_frame(journal, &bytes);
                            if let Some(read) = read_all(journal, id).unwrap() {
                                assert!(read == bytes, "{id}");
                            }
                            mine.push((appended.lsn.0, seed, len));
                        }
                        if i % 3 == 0 {
                            journal.commit(journal.last()).unwrap();
                        }
                    }
                    mine
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                journal.seal().unwrap();
                journal.tick().unwrap();
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                for info in journal.segments() {
                    if info.state == cache_journal::SegmentState::Sealed && info.id.0 % 3 == 0 {
                        let reader = journal.sealed(info.id).unwrap();
                        let mut records = 0;
                        reader
                            .records(&mut |_| {
                                records += 1;
                                Ok(())
                            })
                            .unwrap();
                        assert!(records > 0);
                        journal.mark_uploaded(info.id).unwrap();
                    }
                }
                // No index here: nothing may go.
                assert_eq!(journal.retire(0).unwrap(), 0);
            }
        });
        for writer in writers {
            written.extend(writer.join().unwrap());
        }
        stop.store(true, Ordering::Release);
    });
    journal.commit(journal.last()).unwrap();
    let last = journal.last();
    drop(log);
    let log = bench.open(Lsn::ZERO).unwrap();
    assert_eq!(log.journal.last(), last);
    assert!(log.replayed.windows(2).all(|w| w[0].0 < w[1].0));
    assert_eq!(log.replayed.len(), 30 * 40);
    let mut frames = 0;
    log.journal.seal().unwrap();
    for info in log.journal.segments().iter().filter(|info| info.frames > 0) {
        let reader = log.journal.sealed(info.id).unwrap();
        for (no, entry) in reader.frames().iter() {
            let mut out = vec![0; entry.len as usize];
            reader.read_frame(no, &mut out).unwrap();
            frames += 1;
        }
    }
    assert_eq!(frames, written.len());
}

/// Segments are retired and their files written again under the eyes of readers: a reader gets the right bytes, or
/// hears that they are no longer here.
#[test]
fn readers_never_see_the_next_life_of_a_retired_file() {
    let bench = Bench::in_memory().with_segment_bytes(512 << 10);
    let log = bench.open(Lsn::ZERO).unwrap();
    let journal = &log.journal;
    let frames = std::sync::Mutex::new(Vec::new());
    let (stop, hits, misses) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for t in 0..3u64 {
            let (frames, stop, hits, misses) = (&frames, &stop, &hits, &misses);
            scope.spawn(move || {
                let mut x = t + 1;
                while !stop.load(Ordering::Acquire) {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let picked = {
                        let frames = frames.lock().unwrap();
                        let recent = frames.len().min(30);
                        frames.get(frames.len() - recent + (x >> 33) as usize % recent.max(1)).copied()
                    };
                    let Some((id, seed, len)) = picked else { continue };
                    match read_all(journal, id).unwrap() {
                        Some(bytes) => {
                            assert!(bytes == pattern(seed, len), "{id}");
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                        None => drop(misses.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
        for seed in 0..400u64 {
            let len = [3000, 60_000, 150_000][(seed % 3) as usize];
            let id = append_frame(journal, &pattern(seed, len)).1;
            frames.lock().unwrap().push((id, seed, len));
            if seed % 4 == 0 {
                journal.seal().unwrap();
                for info in journal.segments() {
                    if info.state == cache_journal::SegmentState::Sealed {
                        journal.mark_uploaded(info.id).unwrap();
                    }
                }
                journal.index_flushed(journal.durable());
                journal.retire(600 << 10).unwrap();
            }
        }
        stop.store(true, Ordering::Release);
    });
    let (hits, misses) = (hits.into_inner(), misses.into_inner());
    assert!(hits > 50 && misses > 50, "{hits} hits, {misses} misses");
}
