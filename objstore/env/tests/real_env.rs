//! The production environment on a real runtime: tasks, blocking work, time and chance.

#![allow(clippy::disallowed_methods, reason = "a test of the adapters themselves")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use objstore_env::real;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_work_gives_its_result_and_its_panic() {
    let env = real::env(tokio::runtime::Handle::current()).unwrap();
    assert_eq!(env.blocking(|| 6 * 7).await, 42);
    let dying = env.blocking(|| panic!("on purpose"));
    let panic = tokio::spawn(dying).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_work_runs_to_its_end_when_its_waiter_goes_away() {
    let env = real::env(tokio::runtime::Handle::current()).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (sender, done) = tokio::sync::oneshot::channel();
    drop(env.blocking(move || {
        wait.recv().unwrap();
        sender.send(()).unwrap();
    }));
    go.send(()).unwrap();
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_joined_and_an_aborted_one_ends() {
    let env = real::env(tokio::runtime::Handle::current()).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let task = env.tasks.spawn("count", Box::pin(async move { counted.store(7, Ordering::Relaxed) }));
    task.join().await;
    assert_eq!(count.load(Ordering::Relaxed), 7);

    let for_ever = env.tasks.spawn("wait", Box::pin(std::future::pending()));
    for_ever.abort();
    for_ever.join().await;
}

#[tokio::test]
async fn the_monotonic_clock_grows_over_a_sleep() {
    let env = real::env(tokio::runtime::Handle::current()).unwrap();
    let before = env.clock.monotonic();
    env.clock.sleep(Duration::from_millis(2)).await;
    assert!(env.clock.monotonic() >= before + Duration::from_millis(2));
    // 2020-01-01: a wall clock before this program was written is a wrong unit.
    assert!(env.clock.wall().0 > 1_577_836_800_000_000_000);
}

#[test]
fn two_generators_of_the_system_differ() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [first, second] = [0; 2].map(|_| real::env(runtime.handle().clone()).unwrap());
    assert_ne!(first.rng.next_u64(), second.rng.next_u64());
    assert!((0..100).all(|_| first.rng.below(3) < 3));
}
