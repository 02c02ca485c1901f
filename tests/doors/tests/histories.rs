//! Random histories through random doors, compared with the reference model, crashes and restarts included.
//!
//! `SEED=n` repeats one history; `TIDEGATE_HISTORIES` sets how many there are.

use std::panic::AssertUnwindSafe;

use tests_doors::{Memory, RandomDoors, Tally};
use tests_sim::{History, Summary};

const STEPS: usize = 100;
const HISTORIES: u64 = 500;
/// The histories are dealt out to as many tests, which run side by side.
const PARTS: u64 = 4;
const PROCEDURES: [&str; 16] = [
    "GetAttr",
    "SetAttr",
    "Lookup",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run_part(part: u64) {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => [seed].into_iter().filter(|seed| seed % PARTS == part).collect(),
        None => (part..number("TIDEGATE_HISTORIES").unwrap_or(HISTORIES)).step_by(PARTS as usize).collect(),
    };
    let (mut total, mut through) = (Summary::default(), Tally::default());
    for seed in &seeds {
        let doors = RandomDoors::new(*seed, Memory::Secret);
        total += History::run_through(doors.clone(), *seed, STEPS);
        through += doors.tally();
    }
    println!("{} histories: {total:?}\n{through:?}", seeds.len());
    if seeds.len() >= 100 {
        check_the_load(seeds.len() as u64, &total, &through);
    }
}

/// A generator that stopped doing what matters would pass everything.
fn check_the_load(histories: u64, total: &Summary, through: &Tally) {
    assert!(total.crashes > histories && total.restarts > histories && total.lost > histories / 10, "{total:?}");
    assert!(through.nfs > 20 * histories && through.straight > 20 * histories, "{through:?}");
    assert!(through.old_handles > 5 * histories && through.dead_handles > histories, "{through:?}");
    assert!(through.repeats > histories && through.overrides > 0, "{through:?}");
    for procedure in PROCEDURES.into_iter().chain(["Commit"]) {
        let calls = through.procedures.get(procedure).copied().unwrap_or(0);
        assert!(calls >= histories / 8, "{procedure} was called {calls} times: {through:?}");
    }
}

#[test]
fn both_doors_answer_as_the_model_and_handles_outlive_every_restart_part_0() {
    run_part(0);
}

#[test]
fn both_doors_answer_as_the_model_and_handles_outlive_every_restart_part_1() {
    run_part(1);
}

#[test]
fn both_doors_answer_as_the_model_and_handles_outlive_every_restart_part_2() {
    run_part(2);
}

#[test]
fn both_doors_answer_as_the_model_and_handles_outlive_every_restart_part_3() {
    run_part(3);
}

#[test]
fn a_service_that_forgets_the_secret_of_its_handles_is_found_out() {
    let fails = |seed: &u64| {
        let doors = RandomDoors::new(*seed, Memory::Nothing);
        std::panic::catch_unwind(AssertUnwindSafe(|| History::run_through(doors, *seed, STEPS))).is_err()
    };
    let caught = (0..20).filter(fails).count();
    assert!(caught >= 10, "of 20 histories with handles of one start only {caught} noticed");
}
