//! The server restarts: who is told, and who gets what while it is waited for them.

#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use objstore_env::Clock;
use tests_nlm::{Client, DENIED, GRACE, GRANTED, Lock, Peer, Store, World, handle, until};

const NOTIFY: u32 = 6;
/// And a little more.
const GRACE_PERIOD: Duration = Duration::from_secs(46);

#[tokio::test]
async fn clients_of_before_are_told_and_take_their_locks_again_before_others() {
    let alpha = Client::new(1, b"alpha", 0).await;
    let world = World::with(Store::Model, alpha.portmapper_port, |_| {}).await;
    let ino = world.file(b"f", 0o666).await;
    let lock = Lock::exclusive(&handle(1, ino), 0, 10);
    assert!(!world.nlm.in_grace(), "nobody had locks before the first start");
    assert_eq!(alpha.peer.lock(&world, &lock.clone().reclaiming()).await, GRACE, "too late for a reclaim");
    assert_eq!(alpha.peer.lock(&world, &lock).await, GRANTED);

    let world = world.restarted().await;
    assert_eq!(world.seen_by_others(ino).await, None, "the locks went with the process");
    until("the news", || alpha.heard_of(NOTIFY) == 1).await;
    let (program, _, args) = alpha.heard().remove(0);
    let mut wanted = gateway_sunrpc::xdr::Encoder::new();
    wanted.opaque(b"server");
    wanted.i32(5);
    assert_eq!((program, args), (100_024, wanted.finish().to_bytes()), "the second start's odd state");

    let beta = Peer::new(2, b"beta");
    assert!(world.nlm.in_grace());
    assert_eq!(beta.lock(&world, &lock).await, GRACE);
    assert_eq!(beta.test(&world, &lock).await, (GRACE, None));
    assert_eq!(alpha.peer.lock(&world, &lock.clone().reclaiming()).await, GRANTED);
    world.clock.advance(GRACE_PERIOD);
    assert!(!world.nlm.in_grace());
    assert_eq!(beta.lock(&world, &lock.clone().reclaiming()).await, GRACE);
    assert_eq!(beta.lock(&world, &lock).await, DENIED);
    assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
    assert_eq!(beta.lock(&world, &lock).await, GRANTED);
}

#[tokio::test]
async fn one_who_was_told_and_holds_nothing_any_more_is_forgotten() {
    let alpha = Client::new(1, b"alpha", 0).await;
    let world = World::with(Store::Model, alpha.portmapper_port, |_| {}).await;
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 10);
    assert_eq!(alpha.peer.lock(&world, &lock).await, GRANTED);
    let world = world.restarted().await;
    until("the news", || alpha.heard_of(NOTIFY) == 1).await;
    world.clock.advance(GRACE_PERIOD);
    let started = std::time::Instant::now();
    while !world.store.list().await.expect("the list").is_empty() {
        assert!(started.elapsed() < tests_nlm::DEADLINE, "it stays on the list");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let world = world.restarted().await;
    assert!(!world.nlm.in_grace());
    world.nlm.stop(Duration::ZERO).await;
    assert_eq!(alpha.heard_of(NOTIFY), 1);
}

#[tokio::test]
async fn one_who_was_told_is_told_again_where_the_server_dies_before_its_locks_were_taken_again() {
    let alpha = Client::new(1, b"alpha", 0).await;
    let port = alpha.portmapper_port;
    let world = World::with(Store::Model, port, |_| {}).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (lock, beta) = (Lock::exclusive(&file, 0, 10), Peer::new(2, b"beta"));
    assert_eq!(alpha.peer.lock(&world, &lock).await, GRANTED);
    assert_eq!(beta.lock(&world, &Lock::exclusive(&file, 10, 10)).await, GRANTED);

    let world = world.restarted().await;
    until("the news", || alpha.heard_of(NOTIFY) == 1).await;
    // The first round, in which the answer of `alpha` was taken, is over where there is a second one.
    let answering = Client::new(2, b"beta", port).await;
    until("the second round", || {
        world.clock.advance(Duration::from_millis(10));
        answering.heard_of(NOTIFY) == 1
    })
    .await;
    assert!(world.nlm.in_grace());

    let world = world.restarted().await;
    until("the news again", || alpha.heard_of(NOTIFY) == 2).await;
    assert_eq!(beta.lock(&world, &lock).await, GRACE, "alpha believes that it holds it");
    assert_eq!(alpha.peer.lock(&world, &lock.clone().reclaiming()).await, GRANTED);
    world.clock.advance(GRACE_PERIOD);
    assert_eq!(beta.lock(&world, &lock).await, DENIED);
}

#[tokio::test]
async fn one_who_is_away_is_told_when_it_is_back() {
    let alpha = Client::new(1, b"alpha", 0).await;
    let port = alpha.portmapper_port;
    let world = World::with(Store::Model, port, |_| {}).await;
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 10);
    assert_eq!(alpha.peer.lock(&world, &lock).await, GRANTED);
    alpha.gone().await;
    let world = world.restarted().await;
    let before = world.clock.monotonic();
    world.clock.advance(Duration::from_secs(2));
    let alpha = Client::new(1, b"alpha", port).await;
    until("the news", || {
        world.clock.advance(Duration::from_millis(100));
        alpha.heard_of(NOTIFY) > 0
    })
    .await;
    assert!(world.clock.monotonic() > before);
}

#[tokio::test]
async fn the_list_in_a_file_survives_and_its_state_goes_on() {
    use gateway_nlm::{FileMonitors, MonitorStore, Monitored};
    let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("monitors");
    let host = |last: u8| Monitored { address: [10, 0, 0, last].into(), name: bytes::Bytes::from_static(b"x") };
    let list = FileMonitors::open(env.clone(), path.clone()).await.expect("an empty list");
    assert_eq!(list.next_state().await.expect("a state"), 3);
    for last in [1, 2, 1] {
        list.add(host(last)).await.expect("added");
    }
    list.remove([host(2).address].into()).await.expect("removed");
    let list = FileMonitors::open(env.clone(), path.clone()).await.expect("the list");
    assert_eq!(list.list().await.expect("the list"), [host(1)]);
    assert_eq!(list.next_state().await.expect("a state"), 5);
    std::fs::write(&path, b"not a list").expect("written");
    assert!(FileMonitors::open(env, path.clone()).await.is_err());
    assert_eq!(std::fs::read(&path).expect("still there"), b"not a list");
}
