//! F4, the journal: whatever subset of the unsynced a power cut keeps, the log ends behind the last acknowledged record,
//! and everything in it is whole.

mod journal_run;

use std::sync::Arc;

use cache_journal::{Journal, Lsn};
use journal_run::{Run, Said, check, open};
use objstore_env::sim::{SimWorld, Survival, Trace};
use tests_crash::{Moment, moments};

fn images() -> usize {
    if std::env::var_os("TIDEGATE_DEEP").is_some() { 20_000 } else { 500 }
}

/// The last acknowledged commit and the durable index at a moment.
fn said(trace: &Trace, at: usize) -> (Lsn, Lsn) {
    let mut said = (Lsn::ZERO, Lsn::ZERO);
    for (_, mark) in trace.marks().take_while(|(moment, _)| *moment <= at) {
        match Said::from_mark(mark) {
            Said::Durable(lsn) => said.0 = lsn,
            Said::Indexed(lsn) => said.1 = lsn,
        }
    }
    said
}

#[test]
fn f04_the_journal_survives_a_power_cut_at_every_moment() {
    const RUNS: usize = 5;
    for run in 0..RUNS as u64 {
        let world = SimWorld::new(run);
        world.disk().record();
        let (journal, _) = open(world.env(), Lsn::ZERO).unwrap();
        let mut running = Run::new(journal, world.disk(), run);
        running.steps(150);
        let trace = world.disk().take_trace().unwrap();
        assert!(trace.syncs().count() > 50, "a run that syncs nothing shows nothing");
        let mut replay = trace.replay();
        for moment in moments(&trace, images() / RUNS, run) {
            replay.advance(moment.at).unwrap();
            let image = SimWorld::with_disk(moment.seed, replay.image(moment.survival.survival(), moment.seed));
            let (durable, indexed) = said(&trace, moment.at);
            in_context(run, moment, || {
                let journal = check(&image, &running.records, durable, indexed);
                go_on(image, journal, moment.seed);
            });
        }
    }
}

/// The recovered journal takes new records, and loses none of them in a second crash, nor shows any of the first run
/// that the first recovery had cut.
fn go_on(mut world: SimWorld, journal: Arc<Journal>, seed: u64) {
    let start = journal.last();
    let disk = world.disk().clone();
    let mut second = Run::new(journal, &disk, seed);
    second.indexed = start;
    second.steps(12);
    let durable = second.journal.durable();
    let (records, indexed) = (std::mem::take(&mut second.records), second.indexed);
    drop(second);
    world.crash(Survival::POWER_CUTS[(seed % 3) as usize]);
    let journal = check(&world, &records, durable, indexed);
    assert!(journal.last() >= start, "the first recovery made {start} durable");
}

fn in_context(run: u64, moment: Moment, check: impl FnOnce()) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    if let Err(panic) = outcome {
        eprintln!("run {run}, {moment:?}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn f03_a_recovery_that_is_cut_short_is_repeated_with_the_same_result() {
    for seed in 0..30 {
        let mut world = SimWorld::new(seed);
        let (journal, _) = open(world.env(), Lsn::ZERO).unwrap();
        let disk = world.disk().clone();
        let mut run = Run::new(journal, &disk, seed);
        run.steps(60);
        let (durable, records, indexed) = (run.journal.durable(), std::mem::take(&mut run.records), run.indexed);
        drop(run);
        world.crash(Survival::Scattered);
        // Each start gets a little further before the power goes again; recovery needs a few dozen changes.
        for changes in 0..60 {
            world.disk().power_off_after(changes);
            if open(world.env(), indexed).is_ok() && !world.disk().is_off() {
                break;
            }
            world.crash(Survival::Scattered);
        }
        world.crash(Survival::Nothing);
        check(&world, &records, durable, indexed);
    }
}
