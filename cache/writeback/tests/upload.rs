//! Uploads: in order, through every failure, exactly what is live, and flush means it.

mod machine;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_journal::{FrameId, FrameNo, SegmentId, SegmentState};
use cache_writeback::{SegmentBlobs, Step, UploadState, WriteBackConfig};
use futures::FutureExt;
use machine::{CALM, JOURNAL_DIR, KIB, Machine, Weather, death_of, seed, small_config};
use objstore_base::{BlobId, ErrorKind, MemoryBlobStore};
use objstore_env::sim::{SimWorld, Survival};
use objstore_env::{FailAction, Failpoints};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn segments_go_up_in_order_two_at_a_time_whatever_the_store_does() {
    for round in 0..20 {
        let machine = Machine::on(SimWorld::new(seed() + round), None, small_config());
        machine.store.set_weather(Weather { put_ms_max: 5000, fail_percent: 50 });
        machine.writeback.start();
        for _ in 0..10 {
            machine.fill(machine.sealed() + 1);
            machine.world.pass(SECOND);
            machine.assert_marked_in_order();
        }
        let flush = machine.writeback.flush();
        machine.world.run(async {
            tokio::pin!(flush);
            loop {
                tokio::select! {
                    biased;
                    done = &mut flush => break done.expect("no failure of this store is for ever"),
                    () = machine.env.clock.sleep(SECOND / 4) => machine.assert_marked_in_order(),
                }
            }
        });
        machine.assert_pool_holds_everything();
        assert_eq!(machine.store.running_max.load(Ordering::SeqCst), 2, "never more, and the second is used");
        let status = machine.writeback.status();
        assert_eq!((status.dirty_bytes, status.in_pool), (0, status.last));
        assert_eq!((status.state, status.last_error), (UploadState::Idle, None));
        machine.world.run(machine.writeback.stop());
    }
}

#[test]
fn f15_four_hours_without_the_store_lose_nothing_and_the_backlog_drains() {
    let machine = Machine::new(WriteBackConfig { max_dirty_bytes: 64 << 20, ..small_config() });
    machine.writeback.start();
    machine.store.inner.set_unavailable(true);
    for _ in 0..240 {
        machine.append(16 << 10, &[]);
        machine.journal.commit(machine.journal.last()).expect("the disk is sound");
        machine.world.pass(60 * SECOND);
    }
    let status = machine.writeback.status();
    assert!(matches!(status.state, UploadState::Retrying(delay) if delay <= Duration::from_secs(30)), "{status:?}");
    let error = status.last_error.clone().expect("it says why");
    assert_eq!((error.kind, error.mends_by_waiting), (ErrorKind::Unavailable, true));
    assert!(error.failing_for > Duration::from_secs(3 * 3600) && error.attempts > 400, "{error:?}");
    assert!(error.message.contains("the store is switched off"), "{error:?}");
    let calls = machine.store.begun.lock().len();
    assert!(calls < 4 * 3600, "retries are spaced: {calls} in four hours");
    assert!(status.oldest_age.is_some_and(|age| age > Duration::from_secs(3 * 3600)), "{status:?}");
    assert_eq!(status.eta, None);

    machine.store.inner.set_unavailable(false);
    machine.world.pass(60 * SECOND);
    let status = machine.writeback.status();
    assert!(status.dirty_segments <= 1, "the backlog went up within a minute: {status:?}");
    assert!(status.upload_rate_bytes_per_s.is_some() && status.last_error.is_none());
    machine.world.run(machine.writeback.flush()).expect("the store is back");
    machine.assert_pool_holds_everything();
}

#[test]
fn small_segments_wait_longer_so_that_a_quiet_store_makes_few_blobs() {
    let machine = Machine::new(small_config());
    machine.writeback.start();
    machine.append(1000, &[]);
    machine.world.pass(290 * SECOND);
    assert_eq!(machine.store.done.lock().len(), 0, "a kilobyte waits for company");
    machine.world.pass(15 * SECOND);
    assert_eq!(machine.store.done.lock().len(), 1, "but not longer than five minutes");
    machine.append(40 << 10, &[]);
    machine.append(40 << 10, &[]);
    machine.world.pass(25 * SECOND);
    assert_eq!(machine.store.done.lock().len(), 1);
    machine.world.pass(10 * SECOND);
    assert_eq!(machine.store.done.lock().len(), 2, "what is worth a blob waits for the upload delay");
    assert_eq!(machine.writeback.status().dirty_bytes, 0);
}

#[test]
fn flush_covers_what_was_appended_before_it_with_and_without_a_worker() {
    for worker in [true, false] {
        let machine = Machine::new(small_config());
        if worker {
            machine.writeback.start();
        }
        machine.world.run(machine.writeback.flush()).expect("nothing to do");
        machine.append(100, &[]);
        let lsn = machine.append_metadata(b"four");
        machine.world.run(machine.writeback.flush()).expect("the store is up");
        assert!(machine.writeback.status().in_pool >= lsn, "worker: {worker}");
        machine.assert_pool_holds_everything();
        machine.append(100, &[]);
        assert!(machine.writeback.status().dirty_bytes > 0);
        machine.world.run(machine.writeback.stop());
    }
}

#[test]
fn flush_waits_while_the_store_is_away_and_takes_over_when_the_worker_stops() {
    let machine = Machine::new(small_config());
    machine.writeback.start();
    machine.store.inner.set_unavailable(true);
    machine.append(100, &[]);
    machine.world.run(async {
        let mut flush = Box::pin(machine.writeback.flush());
        tokio::select! {
            biased;
            _ = &mut flush => panic!("the store is away"),
            () = machine.env.clock.sleep(600 * SECOND) => {}
        }
        machine.writeback.stop().await;
        machine.store.inner.set_unavailable(false);
        flush.await.expect("the caller does the work itself");
    });
    machine.assert_pool_holds_everything();
    assert_eq!(machine.writeback.status().state, UploadState::Stopped);
}

/// Bursts go to the journal at the disk's full speed; what is uploaded waits for a quiet moment, but not for long.
#[test]
fn full_segments_let_busy_writers_go_first() {
    let config = WriteBackConfig {
        busy_bytes_per_s: 128 * KIB,
        busy_delay: 10 * SECOND,
        max_dirty_bytes: 64 << 20,
        ..small_config()
    };
    let in_pool = |machine: &Machine| machine.writeback.status().totals.segments;
    let machine = Machine::new(config.clone());
    machine.writeback.start();
    let begin = machine.now();
    let write_until = |end: Duration| {
        while machine.now() - begin < end {
            machine.fill(machine.sealed() + 1);
            machine.world.pass(SECOND);
        }
    };
    write_until(9 * SECOND);
    assert_eq!(in_pool(&machine), 0, "writers are busy");
    write_until(14 * SECOND);
    assert!(in_pool(&machine) > 0, "what has waited for ten seconds goes up, busy or not");
    assert!(machine.journal.dirty().segments > 3, "the others still wait");
    machine.world.pass(3 * SECOND);
    assert_eq!(in_pool(&machine) as usize, machine.sealed(), "it is quiet");

    let machine = Machine::new(config.clone());
    machine.writeback.start();
    machine.fill(3);
    machine.world.run(machine.writeback.flush()).expect("the store is there");
    assert!(machine.now() < SECOND, "a flush waits for nobody's turn");

    let machine = Machine::new(WriteBackConfig { max_dirty_bytes: 1 << 20, ..config });
    machine.writeback.start();
    machine.fill(3);
    machine.world.pass(SECOND / 2);
    assert!(in_pool(&machine) > 0, "from half of the limit on uploads run beside writers");
}

#[test]
fn a_flush_does_not_wait_out_the_delay_of_an_earlier_failure() {
    let machine = Machine::new(WriteBackConfig {
        retry_delay_min: Duration::from_secs(3600),
        retry_delay_max: Duration::from_secs(3600),
        ..small_config()
    });
    machine.writeback.start();
    machine.store.inner.set_unavailable(true);
    machine.fill(1);
    machine.world.pass(SECOND);
    machine.store.inner.set_unavailable(false);
    machine.append(100, &[]);
    let before = machine.now();
    machine.world.run(machine.writeback.flush()).expect("the store is back");
    assert!(machine.now() - before < SECOND);
}

#[test]
fn a_damaged_local_segment_stops_the_line_and_flush_says_which() {
    let machine = Machine::new(small_config());
    machine.fill(3);
    let second = machine.journal.segments()[1].id;
    let path = format!("{JOURNAL_DIR}/{}", cache_journal::segment_file_name(second));
    machine.world.disk().flip(&path, 8 * 100_000).expect("there is such a byte");
    machine.writeback.start();
    let error = machine.world.run(machine.writeback.flush()).expect_err("the segment does not verify");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("frame 2/"), "{error}");
    let states: Vec<SegmentState> = machine.journal.segments().iter().map(|s| s.state).collect();
    assert_eq!(states[..3], [SegmentState::Uploaded, SegmentState::Sealed, SegmentState::Sealed], "order is kept");
    let failure = machine.writeback.status().last_error.expect("it is visible");
    assert!(!failure.mends_by_waiting && failure.segment == Some(second), "{failure:?}");
}

/// The process dies at each place of an upload; the next start finishes it, and nothing is lost or doubled.
#[test]
fn a_kill_at_any_place_of_an_upload_is_repaired_by_the_next_start() {
    let places = [
        "writeback.build",
        "writeback.put.before",
        "writeback.put.after",
        "writeback.mark.before",
        "writeback.mark.after",
    ];
    for place in places {
        for survival in Survival::ALL {
            let mut machine = Machine::new(small_config());
            machine.world.set_failpoints(Failpoints::with(move |name, nth| match (name == place, nth) {
                // From the second segment on nothing gets past this place: as far as the disk can tell, a kill.
                (true, 2..) => FailAction::Errno(5),
                _ => FailAction::Continue,
            }));
            let Machine { world, .. } = machine;
            let mut machine = Machine::on(world, None, small_config());
            machine.fill(4);
            machine.writeback.start();
            machine.world.pass(SECOND * 2);
            let written = std::mem::take(&mut *machine.written.lock());
            let reached = machine.env.failpoints.hits().get(place).copied().unwrap_or(0);
            assert!(reached >= 2, "{place} was passed {reached} times");
            let store = machine.store.clone();
            machine.world.crash(survival);
            machine.world.set_failpoints(Failpoints::none());
            let Machine { world, writeback, journal, .. } = machine;
            drop((writeback, journal));
            let pool = MemoryBlobStore::new();
            let restarted = Machine::on(world, Some(pool), small_config());
            copy_blobs(&restarted, &store);
            restarted.world.run(restarted.writeback.flush()).expect("the store is up");
            *restarted.written.lock() = written;
            restarted.assert_pool_holds_everything();
            restarted.assert_marked_in_order();
            assert!(restarted.writeback.status().in_pool == restarted.journal.last(), "{place} {survival:?}");
        }
    }
}

fn copy_blobs(to: &Machine, from: &Arc<machine::SlowStore>) {
    use objstore_base::{BlobClass, BlobStore};
    to.world.run(async {
        for id in from.inner.list(BlobClass::Segment, None, 1000).await.expect("up") {
            let len = from.inner.stat(id).await.expect("up").len;
            let bytes = from.inner.get(id, 0..len).await.expect("up");
            to.store.inner.put(id, vec![bytes]).await.expect("room");
        }
    });
}

#[test]
fn every_failpoint_only_delays() {
    let places = [
        "writeback.seal",
        "writeback.build",
        "writeback.put.before",
        "writeback.put.after",
        "writeback.mark.before",
        "writeback.mark.after",
        "writeback.retire",
    ];
    for place in places {
        let mut world = SimWorld::new(seed());
        world.set_failpoints(Failpoints::with(move |name, nth| match name == place && nth % 3 != 0 {
            true => FailAction::Errno(28),
            false => FailAction::Continue,
        }));
        let machine = Machine::on(world, None, small_config());
        machine.writeback.start();
        for _ in 0..60 {
            machine.fill(machine.sealed().min(30) + 1);
            machine.journal.index_flushed(machine.journal.durable());
            machine.world.pass(SECOND);
        }
        machine.append(10, &[]);
        machine.world.run(machine.writeback.flush()).expect("it gets on");
        let hits = machine.env.failpoints.hits().get(place).copied().unwrap_or(0);
        assert!(hits >= 3, "{place} was passed {hits} times");
        machine.assert_pool_holds_everything();
        machine.world.pass(60 * SECOND);
        assert_eq!(machine.writeback.status().last_error, None, "{place}");
    }
}

#[test]
fn only_frames_that_died_in_their_own_segment_are_left_out() {
    let machine = Machine::new(small_config());
    let first = machine.append(1000, &[]);
    let second = machine.append(1000, &[first]);
    let third = machine.append(1000, &[second]);
    machine.liveness.dead.lock().extend([first, second, third]);
    // A snapshot still sees the second; the third died in another segment.
    machine.liveness.kept.lock().insert(second);
    machine.world.run(machine.writeback.flush()).expect("the store is up");
    machine.append_metadata(&death_of(third));
    machine.world.run(machine.writeback.flush()).expect("the store is up");

    let blobs = SegmentBlobs::new(machine.store.clone(), 1 << 20);
    let table = machine.world.run(blobs.table(first.segment)).expect("it is there");
    let frames: Vec<FrameNo> = table.frames().iter().map(|f| f.frame).collect();
    assert_eq!(frames, [second.frame, third.frame]);
    assert_eq!(machine.writeback.status().totals.frames_left_out, 1);
    let batches = machine.world.run(blobs.batches(first.segment)).expect("it is there");
    assert_eq!(batches.filter(|b| b.is_ok()).count(), 3, "the history of the dead is kept");
}

/// Promise 6: whoever has the pool alone stops at the end of a segment, and finds every frame that is named there.
#[test]
fn at_the_end_of_every_segment_in_the_pool_every_named_frame_is_there() {
    let machine = Machine::new(WriteBackConfig { max_dirty_bytes: 64 << 20, ..small_config() });
    machine.store.set_weather(Weather { put_ms_max: 2000, fail_percent: 30 });
    machine.writeback.start();
    let rng = machine.env.rng.clone();
    let mut alive: Vec<FrameId> = Vec::new();
    let (mut died_at_home, mut died_later) = (Vec::new(), 0);
    for _ in 0..600 {
        let dying = if rng.below(3) > 0 && !alive.is_empty() {
            Some(alive.swap_remove(rng.below(alive.len() as u64) as usize))
        } else {
            None
        };
        let born = machine.append(1 + rng.below(16 << 10) as usize, dying.as_slice());
        if let Some(frame) = dying {
            match frame.segment == born.segment {
                true => died_at_home.push(frame),
                false => died_later += 1,
            }
            machine.liveness.dead.lock().insert(frame);
        }
        alive.push(born);
        machine.world.pass(Duration::from_millis(rng.below(500)));
    }
    machine.world.run(machine.writeback.flush()).expect("the store is up");
    machine.written.lock().retain(|(id, _)| !died_at_home.contains(id));
    machine.assert_pool_holds_everything();
    let left_out = machine.writeback.status().totals.frames_left_out;
    assert!(left_out > 0 && left_out <= died_at_home.len() as u64, "{left_out} of {}", died_at_home.len());
    assert!(died_later > 50, "{died_later}");
}

#[test]
fn a_segment_without_live_frames_becomes_a_blob_of_metadata() {
    let machine = Machine::new(small_config());
    let frame = machine.append(100_000, &[]);
    machine.append_metadata(&death_of(frame));
    machine.liveness.dead.lock().insert(frame);
    machine.world.run(machine.writeback.flush()).expect("the store is up");
    assert!(machine.store.inner.used() < 1000, "100 KB of dead bytes did not go up");
    let blobs = SegmentBlobs::new(machine.store.clone(), 1 << 20);
    let batches = machine.world.run(blobs.batches(frame.segment)).expect("it is there");
    assert_eq!(batches.filter(|b| b.is_ok()).count(), 2);
}

#[test]
fn uploaded_segments_stay_as_cache_up_to_the_limit_and_go_only_behind_the_index() {
    let machine = Machine::new(WriteBackConfig { max_dirty_bytes: 64 << 20, ..small_config() });
    machine.writeback.start();
    machine.fill(50);
    machine.world.pass(10 * SECOND);
    let status = machine.writeback.status();
    assert!(status.dirty_segments <= 1 && status.local_bytes > status.cache_bytes_max, "I2: {status:?}");
    machine.journal.index_flushed(machine.journal.durable());
    machine.world.pass(2 * SECOND);
    let status = machine.writeback.status();
    assert!(status.local_bytes <= status.cache_bytes_max, "{status:?}");
    assert!(status.local_bytes > status.cache_bytes_max / 2, "what fits stays: {status:?}");
    machine.world.run(machine.writeback.flush()).expect("up");
    machine.assert_pool_holds_everything();
}

#[test]
fn stop_cancels_a_put_and_the_next_start_repeats_it() {
    let machine = Machine::new(small_config());
    machine.store.set_weather(Weather { put_ms_max: 1 << 40, fail_percent: 0 });
    machine.writeback.start();
    machine.fill(2);
    machine.world.pass(SECOND);
    assert_eq!(machine.store.begun.lock().len(), 2);
    machine.world.run(machine.writeback.stop());
    assert!(machine.store.done.lock().is_empty());
    machine.store.set_weather(CALM);
    machine.writeback.start();
    machine.world.run(machine.writeback.flush()).expect("the store is up");
    assert_eq!(machine.store.begun.lock()[2..4], [BlobId::segment(1), BlobId::segment(2)]);
    machine.assert_pool_holds_everything();
}

#[test]
fn steps_do_one_thing_each_and_are_refused_while_the_worker_runs() {
    let machine = Machine::new(small_config());
    let step = || machine.world.run(machine.writeback.step());
    assert_eq!(step().ok(), Some(Step::Idle));
    machine.append(100 << 10, &[]);
    assert_eq!(step().ok(), Some(Step::Idle), "it is not old enough");
    machine.world.pass(31 * SECOND);
    assert_eq!(step().ok(), Some(Step::Sealed(SegmentId(1))));
    machine.store.inner.set_unavailable(true);
    assert_eq!(step().map_err(|e| e.kind()), Err(ErrorKind::Unavailable));
    let Ok(Step::Waiting(delay)) = step() else { panic!("the next attempt is not due") };
    machine.store.inner.set_unavailable(false);
    machine.world.pass(delay);
    assert_eq!(step().ok(), Some(Step::Uploaded(SegmentId(1))));
    assert_eq!(step().ok(), Some(Step::Idle));
    machine.writeback.start();
    machine.world.pass(SECOND);
    assert_eq!(step().map_err(|e| e.kind()), Err(ErrorKind::Busy));
    assert!(machine.writeback.admit(1, SECOND).now_or_never().is_some_and(|r| r.is_ok()));
    assert!(machine.journal.dirty().bytes < 64 * KIB);
}
