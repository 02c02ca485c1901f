//! A full cache slows writers down and does not lose or fail them while the backend lives (F6).

mod machine;

use std::sync::Arc;
use std::time::Duration;

use cache_writeback::{Band, DiskReserve, WriteBackConfig};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use machine::{JOURNAL_DIR, KIB, Machine, Weather, seed, small_config};
use objstore_base::{ErrorKind, Result};
use objstore_env::sim::SimWorld;
use parking_lot::Mutex;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const OP: usize = 16 << 10;

async fn write(machine: &Machine) -> Result<()> {
    machine.writeback.admit(OP as u64, PATIENCE).await?;
    machine.append(OP, &[]);
    Ok(())
}

#[test]
fn f06_cache_full_slows_then_blocks_then_says_no_space_and_loses_nothing() {
    let machine = Machine::new(small_config());
    let max = small_config().max_dirty_bytes;
    machine.writeback.start();
    machine.store.inner.set_unavailable(true);
    let (mut at_80, mut before) = (None, machine.now());
    let error = loop {
        before = if at_80.is_some() { machine.now() } else { before };
        match machine.world.run(write(&machine)) {
            Ok(()) if machine.writeback.status().band == Band::Free => {
                assert_eq!(machine.now(), Duration::ZERO, "nobody waits below 80 %");
            }
            Ok(()) => at_80 = at_80.or(Some(machine.now())),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("uploads fail (put blob: the store is switched off)"), "{error}");
    assert!(error.to_string().contains("of at most 4096 KiB wait for upload"), "{error}");
    assert_eq!(machine.now() - before, PATIENCE, "it waited as long as the writer wanted");
    let dirty = machine.writeback.status().dirty_bytes;
    assert!(dirty >= max / 100 * 95 && dirty < max, "{dirty} of {max}");

    // Deletes and reads do not pass the gate.
    machine.append_metadata(b"gone");
    let (id, bytes) = machine.written.lock()[0].clone();
    let mut out = vec![0; bytes.len()];
    machine.journal.read(id, 0..bytes.len() as u32, &mut out).expect("readable").expect("local");
    assert!(out == bytes);

    // The store comes back: the writer goes on, 16 MiB through a cache of 4.
    machine.store.inner.set_unavailable(false);
    machine.store.set_weather(Weather { put_ms_max: 400, fail_percent: 5 });
    machine.world.run(async {
        for _ in 0..1024 {
            write(&machine).await.expect("uploads make room");
            assert!(machine.journal.dirty().bytes < max);
        }
        machine.writeback.flush().await.expect("the store is up");
    });
    machine.assert_pool_holds_everything();
}

#[test]
fn a_writer_in_the_normal_case_is_ready_at_the_first_poll() {
    let machine = Machine::new(small_config());
    for _ in 0..100 {
        assert!(machine.writeback.admit(4096, PATIENCE).now_or_never().is_some_and(|r| r.is_ok()));
    }
}

#[test]
fn a_cache_as_small_as_one_segment_does_not_wait_for_itself() {
    let machine = Machine::new(WriteBackConfig { max_dirty_bytes: 256 * KIB, ..small_config() });
    machine.writeback.start();
    machine.world.run(async {
        for _ in 0..128 {
            let before = machine.env.clock.monotonic();
            write(&machine).await.expect("the active segment is sealed under pressure");
            let waited = machine.env.clock.monotonic() - before;
            assert!(waited < 3 * SECOND, "{waited:?}");
        }
        machine.writeback.flush().await.expect("the store is up");
    });
    machine.assert_pool_holds_everything();
}

#[test]
fn waiting_writers_are_let_in_first_come_first_served() {
    let machine = Machine::new(small_config());
    fill_to(&machine, 96);
    let order = Arc::new(Mutex::new(Vec::new()));
    machine.world.run(async {
        let mut writers: FuturesUnordered<_> = (0..40)
            .map(|number| {
                let (order, machine) = (order.clone(), &machine);
                async move {
                    // They come one after the other, and the later ones ask for less.
                    machine.env.clock.sleep(Duration::from_millis(number)).await;
                    machine.writeback.admit((40 - number) * 512, 3600 * SECOND).await.expect("room comes");
                    order.lock().push(number);
                }
            })
            .collect();
        machine.store.set_weather(Weather { put_ms_max: 3000, fail_percent: 20 });
        machine.env.clock.sleep(Duration::from_millis(0)).await;
        let all = async { while writers.next().await.is_some() {} };
        tokio::pin!(all);
        tokio::select! { biased; () = &mut all => panic!("there is no room"), () = machine.env.clock.sleep(SECOND) => {} }
        machine.writeback.start();
        all.await;
    });
    assert_eq!(*order.lock(), (0..40).collect::<Vec<_>>());
}

#[test]
fn every_waiter_is_answered_at_its_own_deadline() {
    let machine = Machine::new(small_config());
    fill_to(&machine, 96);
    machine.world.run(async {
        let mut writers: FuturesUnordered<_> = [9, 1, 5, 30, 2]
            .map(|patience| {
                let machine = &machine;
                async move {
                    let done = machine.writeback.admit(1, patience * SECOND).await;
                    (patience, done.map_err(|e| e.kind()), machine.env.clock.monotonic())
                }
            })
            .into_iter()
            .collect();
        let before = machine.env.clock.monotonic();
        while let Some((patience, done, at)) = writers.next().await {
            assert_eq!(done, Err(ErrorKind::NoSpace));
            assert_eq!(at - before, patience * SECOND);
        }
    });
}

#[test]
fn a_writer_that_gives_up_leaves_the_queue_and_no_trace() {
    let machine = Machine::new(small_config());
    fill_to(&machine, 96);
    let level = machine.journal.dirty().bytes;
    machine.world.run(async {
        let mut first = Box::pin(machine.writeback.admit(1, 3600 * SECOND));
        let mut second = Box::pin(machine.writeback.admit(1, 3600 * SECOND));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        machine.writeback.start();
        second.await.expect("room came");
    });
    assert!(machine.journal.dirty().bytes < level);
    machine.world.run(machine.writeback.flush()).expect("up");
    assert_eq!(machine.writeback.status().band, Band::Free);
    assert!(machine.writeback.admit(1, SECOND).now_or_never().is_some(), "nobody is left in the queue");
}

#[test]
fn below_95_percent_patience_ends_in_a_yes() {
    let machine = Machine::new(small_config());
    fill_to(&machine, 92);
    let before = machine.now();
    machine.world.run(machine.writeback.admit(1000, 5 * SECOND)).expect("it is only slow");
    assert_eq!(machine.now() - before, 5 * SECOND, "no upload paid for it");
}

#[test]
fn writers_between_90_and_95_percent_are_as_fast_as_uploads() {
    let machine = Machine::new(small_config());
    fill_to(&machine, 91);
    machine.store.set_weather(Weather { put_ms_max: 2000, fail_percent: 0 });
    machine.writeback.start();
    machine.world.run(async {
        let before = machine.journal.dirty().bytes;
        for _ in 0..64 {
            write(&machine).await.expect("uploads make room");
            assert!(machine.journal.dirty().bytes <= before + 256 * KIB, "it does not grow");
        }
    });
}

#[test]
fn a_full_filesystem_under_the_journal_stops_writers_before_it_stops_the_journal() {
    let world = SimWorld::new(seed());
    world.disk().mount("/data", 64 << 20);
    let config = WriteBackConfig { disk_reserve: DiskReserve { bytes_min: 60 << 20, percent: 2 }, ..small_config() };
    let machine = Machine::on(world, None, WriteBackConfig { max_dirty_bytes: 64 << 20, ..config });
    machine.writeback.start();
    machine.store.inner.set_unavailable(true);
    let error = loop {
        if let Err(error) = machine.world.run(write(&machine)) {
            break error;
        }
        machine.world.pass(SECOND / 10);
    };
    assert_eq!((error.kind(), error.entity_name()), (ErrorKind::NoSpace, JOURNAL_DIR));
    assert!(error.to_string().contains("60 MiB are kept in reserve; free some space"), "{error}");
    assert_eq!(machine.writeback.status().band, Band::DiskFull);
    assert!(machine.journal.local_bytes() < 6 << 20, "it stopped soon");

    // What is in the pool may go, so the machine helps itself once uploads work.
    machine.store.inner.set_unavailable(false);
    machine.world.pass(5 * SECOND);
    machine.journal.index_flushed(machine.journal.durable());
    machine.world.pass(5 * SECOND);
    machine.world.run(write(&machine)).expect("uploaded segments were let go");
    machine.world.run(machine.writeback.flush()).expect("up");
    machine.assert_pool_holds_everything();
}

/// Dirty data up to `percent` of the limit, without a worker.
fn fill_to(machine: &Machine, percent: u64) {
    let wanted = small_config().max_dirty_bytes / 100 * percent;
    while machine.journal.dirty().bytes < wanted {
        machine.append(8 << 10, &[]);
    }
    machine.journal.commit(machine.journal.last()).expect("the disk is sound");
    // These appends did not pass the gate.
    assert_eq!(machine.writeback.status().dirty_bytes, machine.journal.dirty().bytes);
}
