//! Random histories through the whole store, compared with the reference model, crashes and restarts included.
//!
//! `SEED=n` repeats one history; `TIDEGATE_HISTORIES` sets how many there are.

use tests_sim::{History, Summary};

const STEPS: usize = 100;

fn histories() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_HISTORIES").unwrap_or(2000),
    }
}

#[test]
fn histories_equal_the_model_and_a_crash_leaves_an_acknowledged_prefix() {
    let mut total = Summary::default();
    for seed in histories() {
        let one = History::run(seed, STEPS);
        total.calls += one.calls;
        total.commits += one.commits;
        total.crashes += one.crashes;
        total.restarts += one.restarts;
        total.lost += one.lost;
    }
    println!("{} histories: {total:?}", histories().count());
}
