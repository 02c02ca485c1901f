//! Waiting for a lock: the call back, and every way a wait can end. Each with the engine and with the reference
//! filesystem: one gives a freed lock at once, the other when it is asked again.

use std::time::Duration;

use fs_api::{LockKind, LockRange};
use gateway_nlm::NlmOptions;
use tests_nlm::{BLOCKED, Client, DEADLOCK, DENIED, GRANTED, Lock, Store, World, handle, until};

const GRANTED_CALL: u32 = 5;
const BOTH: [Store; 2] = [Store::Engine, Store::Model];

/// `alpha` holds all of a file; `beta` can be called back.
async fn held(store: Store, change: impl FnOnce(&mut NlmOptions)) -> (World, Client, Client, fs_api::Ino, Lock) {
    let alpha = Client::new(1, b"alpha", 0).await;
    let beta = Client::new(2, b"beta", alpha.portmapper_port).await;
    let world = World::with(store, alpha.portmapper_port, change).await;
    let ino = world.file(b"f", 0o666).await;
    let lock = Lock::exclusive(&handle(1, ino), 0, 100);
    assert_eq!(alpha.peer.lock(&world, &lock).await, GRANTED);
    (world, alpha, beta, ino, lock.blocking())
}

#[tokio::test]
async fn one_who_waits_is_called_back_and_holds_the_lock() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED, "asked again");
        assert_eq!(world.nlm.counts(), (1, 1), "one wait, however often it is asked for");
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        until("the wait is over", || world.nlm.counts() == (1, 0)).await;
        assert_eq!(beta.heard_of(GRANTED_CALL), 1);
        let (program, _, args) = beta.heard().remove(0);
        let mut wanted = gateway_sunrpc::xdr::Encoder::new();
        beta.peer.test_args(&mut wanted, &lock);
        assert_eq!((program, args), (100_021, wanted.finish().to_bytes()), "the client's own words");
        let all = LockRange { start: 0, end: 100 };
        assert_eq!(world.seen_by_others(ino).await, Some((all, Some(LockKind::Exclusive))));
        assert_eq!(alpha.heard_of(GRANTED_CALL), 0);
    }
}

#[tokio::test]
async fn one_who_asks_again_after_the_grant_has_it_and_is_not_robbed_of_it() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        // It cannot say yet whether it wants the lock, asks once more, and then knows of no wait any more.
        beta.answers(tests_nlm::GRACE);
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        until("the first call back", || beta.heard_of(GRANTED_CALL) == 1).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, GRANTED);
        beta.answers(DENIED);
        until("the last call back", || {
            world.clock.advance(Duration::from_millis(10));
            world.nlm.tasks() == 0
        })
        .await;
        assert_eq!(beta.heard_of(GRANTED_CALL), 2);
        assert!(world.seen_by_others(ino).await.is_some());
        assert_eq!(world.nlm.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_cancelled_wait_gets_nothing() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(beta.peer.cancel(&world, &lock).await, GRANTED);
        assert_eq!(beta.peer.cancel(&world, &lock).await, DENIED, "there is no wait any more");
        assert_eq!(world.nlm.counts(), (1, 0));
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        assert_eq!(world.seen_by_others(ino).await, None);
        world.nlm.stop(Duration::ZERO).await;
        assert_eq!(beta.heard_of(GRANTED_CALL), 0);
    }
}

#[tokio::test]
async fn a_wait_that_is_cancelled_or_unlocked_as_it_is_granted_leaves_no_lock() {
    for store in BOTH {
        for unlocks in [false, true] {
            let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
            assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
            // No turn for the task between the two: the test runs on its thread.
            assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
            let ended =
                if unlocks { beta.peer.unlock(&world, &lock).await } else { beta.peer.cancel(&world, &lock).await };
            assert_eq!(ended, GRANTED, "{store:?}");
            assert_eq!(world.seen_by_others(ino).await, None, "{store:?}");
            assert_eq!(world.nlm.counts(), (0, 0));
            assert_eq!(alpha.peer.lock(&world, &Lock { block: false, ..lock.clone() }).await, GRANTED);
            world.nlm.stop(Duration::ZERO).await;
            assert!(world.seen_by_others(ino).await.is_some(), "no late end of the wait takes it away");
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_want_the_lock_any_more_does_not_keep_it() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        beta.answers(DENIED);
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        until("the lock goes back", || world.nlm.counts() == (0, 0)).await;
        assert_eq!(beta.heard_of(GRANTED_CALL), 1);
        assert_eq!(world.seen_by_others(ino).await, None);
    }
}

#[tokio::test]
async fn a_client_that_never_answers_loses_the_lock_after_a_few_attempts() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        beta.gone().await;
        let beta = tests_nlm::Peer::new(2, b"beta");
        assert_eq!(beta.lock(&world, &lock).await, BLOCKED);
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        tokio::task::yield_now().await;
        assert!(world.seen_by_others(ino).await.is_some(), "held while it is called");
        until("the lock goes back", || {
            world.clock.advance(Duration::from_secs(1));
            world.nlm.counts() == (0, 0)
        })
        .await;
        assert_eq!(world.seen_by_others(ino).await, None);
    }
}

#[tokio::test]
async fn a_client_that_answers_late_keeps_the_lock() {
    let (world, alpha, beta, ino, lock) = held(Store::Engine, |_| {}).await;
    beta.answers(tests_nlm::GRACE);
    assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
    assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
    until("the first attempt", || beta.heard_of(GRANTED_CALL) == 1).await;
    beta.answers(GRANTED);
    until("the second attempt", || {
        world.clock.advance(Duration::from_millis(10));
        world.nlm.counts() == (1, 0)
    })
    .await;
    assert_eq!(beta.heard_of(GRANTED_CALL), 2);
    assert!(world.seen_by_others(ino).await.is_some());
}

#[tokio::test]
async fn a_restarted_client_waits_for_nothing() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        beta.peer.notify(&world, 3).await;
        assert_eq!(world.nlm.counts(), (1, 0));
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        assert_eq!(world.seen_by_others(ino).await, None);
    }
}

#[tokio::test]
async fn a_restart_just_after_the_grant_takes_the_lock_too() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        beta.peer.notify(&world, 3).await;
        world.nlm.stop(Duration::ZERO).await;
        assert_eq!(world.seen_by_others(ino).await, None, "{store:?}");
        assert_eq!(world.nlm.counts(), (0, 0));
    }
}

#[tokio::test]
async fn what_is_left_of_a_wait_that_is_unlocked_in_part_as_it_is_granted_is_the_clients() {
    for store in BOTH {
        let (world, alpha, beta, ino, lock) = held(store, |_| {}).await;
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        // No turn for the task between the two.
        assert_eq!(alpha.peer.unlock(&world, &lock).await, GRANTED);
        assert_eq!(beta.peer.unlock(&world, &Lock { length: 10, ..lock.clone() }).await, GRANTED);
        let rest = LockRange { start: 10, end: 100 };
        assert_eq!(world.seen_by_others(ino).await, Some((rest, Some(LockKind::Exclusive))), "{store:?}");
        assert_eq!(world.nlm.counts(), (1, 0), "{store:?}");
        beta.peer.notify(&world, 3).await;
        assert_eq!(world.seen_by_others(ino).await, None, "{store:?}");
    }
}

#[tokio::test]
async fn two_who_would_wait_for_each_other_are_told() {
    for store in BOTH {
        let (world, alpha, beta, _, lock) = held(store, |_| {}).await;
        let other = Lock { handle: handle(1, world.file(b"g", 0o666).await), ..lock.clone() };
        assert_eq!(beta.peer.lock(&world, &other).await, GRANTED);
        assert_eq!(beta.peer.lock(&world, &lock).await, BLOCKED);
        assert_eq!(alpha.peer.lock(&world, &other).await, DEADLOCK);
    }
}
