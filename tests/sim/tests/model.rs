//! Random histories through the whole store, compared with the reference model, crashes and restarts included.
//!
//! `SEED=n` repeats one history; `TIDEGATE_HISTORIES` sets how many there are.

use tests_sim::{History, Summary};

const STEPS: usize = 100;
const HISTORIES: u64 = 2000;
/// Histories that lose their index or their machine now and then, and the steps of one.
const LOSING: u64 = 15;
const LOSING_STEPS: usize = 60;
/// The histories are dealt out to as many tests, which run side by side.
const PARTS: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run_part(part: u64) {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => [seed].into_iter().filter(|seed| seed % PARTS == part).collect(),
        None => (part..number("TIDEGATE_HISTORIES").unwrap_or(HISTORIES)).step_by(PARTS as usize).collect(),
    };
    let mut total = Summary::default();
    for seed in &seeds {
        total += History::run(*seed, STEPS);
    }
    println!("{} histories: {total:?}", seeds.len());
    // A generator that stopped doing what matters would pass everything.
    if seeds.len() >= 100 {
        let histories = seeds.len() as u64;
        assert!(total.calls > 60 * histories && total.commits > 5 * histories, "{total:?}");
        assert!(total.crashes > histories && total.restarts > histories && total.lost > histories / 10, "{total:?}");
    }
}

#[test]
fn histories_equal_the_model_and_a_crash_leaves_an_acknowledged_prefix_part_0() {
    run_part(0);
}

#[test]
fn histories_equal_the_model_and_a_crash_leaves_an_acknowledged_prefix_part_1() {
    run_part(1);
}

#[test]
fn histories_equal_the_model_and_a_crash_leaves_an_acknowledged_prefix_part_2() {
    run_part(2);
}

#[test]
fn histories_equal_the_model_and_a_crash_leaves_an_acknowledged_prefix_part_3() {
    run_part(3);
}

#[test]
fn what_was_in_the_pool_outlives_every_loss_and_the_store_goes_on_from_there() {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TIDEGATE_HISTORIES").unwrap_or(LOSING)).collect(),
    };
    let mut total = Summary::default();
    for seed in &seeds {
        total += History::run_losing(*seed, LOSING_STEPS);
    }
    println!("{} histories: {total:?}", seeds.len());
    if seeds.len() >= LOSING as usize {
        let histories = seeds.len() as u64;
        assert!(total.indexes_lost > histories && total.machines_lost > 2 * histories, "{total:?}");
        assert!(total.lost > histories / 2, "{total:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [3, 11, 29] {
        assert_eq!(History::trace(seed, STEPS), History::trace(seed, STEPS), "SEED={seed}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let caught = (0..20).filter(|seed| std::panic::catch_unwind(|| History::run_on_lying_disk(*seed, STEPS)).is_err());
    let caught = caught.count();
    assert!(caught >= 5, "of 20 histories on a lying disk only {caught} noticed");
}
