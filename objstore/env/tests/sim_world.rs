//! The simulated machine: one seed, one run.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use objstore_env::sim::{SimWorld, Survival};
use objstore_env::{Env, OpenMode};
use parking_lot::Mutex;

type Log = Arc<Mutex<Vec<(u64, Duration)>>>;

/// A program of tasks that sleep, block and draw chance; its log shows the order in which they got their turns.
async fn program(env: Env) -> Vec<(u64, Duration)> {
    let log = Log::default();
    let mut tasks = Vec::new();
    for number in 0..10 {
        let (task_env, log) = (env.clone(), Arc::clone(&log));
        tasks.push(env.tasks.spawn(
            "worker",
            Box::pin(async move {
                for round in 0..5 {
                    let millis = task_env.rng.below(5);
                    task_env.clock.sleep(Duration::from_millis(millis)).await;
                    let (entry, clock) = (Arc::clone(&log), Arc::clone(&task_env.clock));
                    task_env.blocking(move || entry.lock().push((number * 10 + round, clock.monotonic()))).await;
                }
            }),
        ));
    }
    for task in tasks {
        task.join().await;
    }
    log.lock().clone()
}

fn run(seed: u64) -> Vec<(u64, Duration)> {
    let world = SimWorld::new(seed);
    world.run(program(world.env()))
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    assert_eq!(run(7).len(), 50);
}

#[test]
fn time_passes_only_when_nothing_else_can_happen() {
    let world = SimWorld::new(1);
    let env = world.env();
    assert_eq!(env.clock.monotonic(), Duration::ZERO);
    world.run(env.clock.sleep(Duration::from_secs(3600)));
    let monotonic = env.clock.monotonic();
    assert!(monotonic >= Duration::from_secs(3600) && monotonic < Duration::from_secs(3601), "{monotonic:?}");
}

#[test]
fn a_wall_clock_jump_leaves_monotonic_time_alone() {
    let world = SimWorld::new(1);
    let env = world.env();
    let (wall, monotonic) = (env.clock.wall().0, env.clock.monotonic());
    let two_hours = 7_200_000_000_000;
    world.clock().jump_wall(-two_hours);
    assert_eq!(env.clock.wall().0, wall - two_hours);
    assert_eq!(env.clock.monotonic(), monotonic);
}

#[test]
fn a_crash_kills_every_task_and_restarts_monotonic_time() {
    let mut world = SimWorld::new(1);
    let env = world.env();
    world.run(env.clock.sleep(Duration::from_secs(10)));
    let wall = env.clock.wall();
    let survivor = Arc::new(());
    let held = Arc::clone(&survivor);
    drop(env.tasks.spawn(
        "for ever",
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(held);
        }),
    ));
    world.crash(Survival::Nothing);
    assert_eq!(Arc::strong_count(&survivor), 1, "the task is gone with what it held");
    let reborn = world.env();
    assert!(reborn.clock.monotonic() < Duration::from_secs(1));
    assert!(reborn.clock.wall() >= wall, "the wall clock has a battery");
    assert!(env.disk.metadata(Path::new("/")).is_err(), "the old environment is dead");
    assert!(reborn.disk.metadata(Path::new("/")).is_ok());
}

#[test]
fn blocking_work_runs_though_nobody_waits_for_it() {
    let world = SimWorld::new(1);
    let env = world.env();
    let disk = Arc::clone(&env.disk);
    drop(env.blocking(move || {
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(b"abc")], 0).unwrap();
    }));
    world.pass(Duration::from_millis(1));
    assert_eq!(env.disk.read_file(Path::new("/a"), 10).unwrap(), b"abc");
}

#[test]
#[should_panic(expected = "found by the simulation")]
fn a_panic_in_a_joined_task_is_a_finding() {
    let world = SimWorld::new(1);
    let env = world.env();
    world.run(env.tasks.spawn("bad", Box::pin(async { panic!("found by the simulation") })).join());
}
