//! Who gets a lock and who does not: between clients, and between clients and other doors.

use fs_api::{Context, Credentials, LockKind, LockRange, LockWait};
use gateway_nfs::Share;
use tests_nlm::{BLOCKED, DENIED, FAILED, GRANTED, Lock, Peer, READ_ONLY, STALE, Store, TOO_BIG, World, handle, local};

const NO_PORTMAPPER: u16 = 1;
const SHARE: u32 = 20;
const UNSHARE: u32 = 21;

fn two() -> (Peer, Peer) {
    (Peer::new(1, b"alpha"), Peer::new(2, b"beta"))
}

#[tokio::test]
async fn two_clients_exclude_each_other_and_the_holder_is_named() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (alpha, beta) = two();
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, 10, 10).of(33)).await, GRANTED);
    assert_eq!(beta.lock(&world, &Lock::shared(&file, 15, 1)).await, DENIED);
    assert_eq!(beta.lock(&world, &Lock::exclusive(&file, 20, 0)).await, GRANTED);
    assert_eq!(beta.test(&world, &Lock::shared(&file, 0, 0)).await, (DENIED, Some((true, 33, 10, 10))));
    assert_eq!(alpha.test(&world, &Lock::shared(&file, 30, 1)).await, (DENIED, Some((true, 1, 20, 0))));
    assert_eq!(beta.test(&world, &Lock::exclusive(&file, 0, 10)).await, (GRANTED, None));
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, 10, 10).of(34)).await, DENIED, "another process");
    assert_eq!(alpha.lock(&world, &Lock::shared(&file, 10, 10).of(33)).await, GRANTED, "its own lock, turned shared");
    assert_eq!(beta.lock(&world, &Lock::shared(&file, 15, 1)).await, GRANTED);
}

#[tokio::test]
async fn the_same_words_from_another_address_are_another_owner() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (one, other) = (Peer::new(1, b"localhost"), Peer::new(2, b"localhost"));
    let lock = Lock::exclusive(&file, 0, 0);
    assert_eq!(one.lock(&world, &lock).await, GRANTED);
    assert_eq!(other.lock(&world, &lock).await, DENIED);
    assert_eq!(other.unlock(&world, &lock).await, GRANTED);
    assert_eq!(other.lock(&world, &lock).await, DENIED, "what it unlocked was not its own");
}

#[tokio::test]
async fn a_client_and_another_door_exclude_each_other() {
    let world = World::new(NO_PORTMAPPER).await;
    let ino = world.file(b"f", 0o666).await;
    let (file, cx, alpha) = (handle(1, ino), Context::new(0, Credentials::root()), Peer::new(1, b"alpha"));
    let take = local(0, 10, Some(LockKind::Exclusive));
    world.vfs.set_lock(&cx, ino, take, LockWait::Fail).await.expect("free");
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, 5, 10)).await, DENIED);
    assert_eq!(alpha.test(&world, &Lock::exclusive(&file, 5, 10)).await, (DENIED, Some((true, 4711, 0, 10))));
    world.vfs.set_lock(&cx, ino, local(0, 10, None), LockWait::Fail).await.expect("freed");
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, 5, 10)).await, GRANTED);
    let refused = world.vfs.set_lock(&cx, ino, take, LockWait::Fail).await;
    assert!(refused.is_err(), "the client's lock stands in the way");
}

#[tokio::test]
async fn unlocking_a_part_splits() {
    let world = World::new(NO_PORTMAPPER).await;
    let ino = world.file(b"f", 0o666).await;
    let file = handle(1, ino);
    let (alpha, beta) = two();
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    assert_eq!(alpha.unlock(&world, &Lock::exclusive(&file, 10, 10)).await, GRANTED);
    assert_eq!(world.nlm.counts(), (2, 0));
    assert_eq!(beta.lock(&world, &Lock::exclusive(&file, 10, 10)).await, GRANTED);
    assert_eq!(beta.test(&world, &Lock::exclusive(&file, 0, 10)).await, (DENIED, Some((true, 1, 0, 10))));
    assert_eq!(beta.test(&world, &Lock::exclusive(&file, 20, 1)).await, (DENIED, Some((true, 1, 20, 0))));
    assert_eq!(alpha.unlock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    assert_eq!(world.seen_by_others(ino).await.map(|(range, _)| range), Some(LockRange { start: 10, end: 20 }));
    assert_eq!(world.nlm.counts(), (1, 0));
}

#[tokio::test]
async fn free_all_and_a_restart_take_a_clients_locks_and_nobody_elses() {
    let world = World::new(NO_PORTMAPPER).await;
    let ino = world.file(b"f", 0o666).await;
    let file = handle(1, ino);
    let (alpha, beta) = two();
    let lock = |svid: u32| Lock::exclusive(&file, u64::from(svid) * 10, 5).of(svid);
    for svid in 0..3 {
        assert_eq!(alpha.lock(&world, &lock(svid)).await, GRANTED);
    }
    assert_eq!(beta.lock(&world, &lock(5)).await, GRANTED);
    alpha.free_all(&world).await;
    assert_eq!(world.seen_by_others(ino).await.map(|(range, _)| range), Some(LockRange { start: 50, end: 55 }));
    assert_eq!(alpha.lock(&world, &lock(1)).await, GRANTED);
    alpha.notify(&world, 7).await;
    assert_eq!(world.seen_by_others(ino).await.map(|(range, _)| range), Some(LockRange { start: 50, end: 55 }));
    assert_eq!(alpha.lock(&world, &lock(1)).await, GRANTED);
    alpha.notify(&world, 7).await;
    assert_eq!(beta.lock(&world, &lock(1)).await, DENIED, "the same news again is no restart");
    alpha.notify(&world, 9).await;
    assert_eq!(beta.lock(&world, &lock(1)).await, GRANTED);
    assert_eq!(world.nlm.counts(), (2, 0));
}

#[tokio::test]
async fn news_of_a_restart_that_come_twice_take_nothing_the_second_time() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (alpha, beta) = two();
    let lock = Lock::exclusive(&file, 0, 10);
    // Nothing is known of alpha yet; it locks as soon as it is up, before its monitor has said everything twice.
    alpha.notify(&world, 7).await;
    assert_eq!(alpha.lock(&world, &lock).await, GRANTED);
    assert_eq!(alpha.share(&world, SHARE, &file, 1, 2).await, GRANTED);
    alpha.notify(&world, 7).await;
    assert_eq!(beta.lock(&world, &lock).await, DENIED, "the lock is younger than the restart");
    assert_eq!(beta.share(&world, SHARE, &file, 2, 0).await, DENIED);
    alpha.notify(&world, 9).await;
    assert_eq!(beta.lock(&world, &lock).await, GRANTED);
    assert_eq!(beta.share(&world, SHARE, &file, 2, 0).await, GRANTED);
}

#[tokio::test]
async fn what_may_not_be_opened_may_not_be_locked() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |_| {}).await;
    let secret = world.file(b"secret", 0o600).await;
    let readable = world.file(b"readable", 0o644).await;
    let user = Peer { uid: 1000, ..Peer::new(1, b"alpha") };
    assert_eq!(user.lock(&world, &Lock::shared(&handle(1, secret), 0, 0)).await, FAILED);
    assert_eq!(user.lock(&world, &Lock::exclusive(&handle(1, readable), 0, 0)).await, GRANTED);
    assert_eq!(user.lock(&world, &Lock::exclusive(&handle(2, readable), 0, 0)).await, READ_ONLY);
    assert_eq!(user.lock(&world, &Lock::shared(&handle(2, readable), 0, 0)).await, GRANTED, "its own");
    assert_eq!(user.lock(&world, &Lock::shared(&handle(1, fs_api::ROOT_INO), 0, 0)).await, FAILED, "a directory");
    assert_eq!(user.lock(&world, &Lock::shared(&handle(9, readable), 0, 0)).await, STALE, "no such share");
    assert_eq!(user.lock(&world, &Lock::shared(&handle(1, fs_api::Ino(999_999)), 0, 0)).await, STALE);
    let mut forged = handle(1, readable).to_vec();
    forged[39] ^= 1;
    assert_eq!(user.lock(&world, &Lock::shared(&forged.into(), 0, 0)).await, STALE);
    let stranger = Peer { address: [203, 0, 113, 9].into(), ..user };
    assert_eq!(stranger.lock(&world, &Lock::shared(&handle(1, readable), 0, 0)).await, FAILED);
}

#[tokio::test]
async fn who_is_not_admitted_any_more_still_gives_back_what_it_has() {
    let nobody = |share: &Share| Share { clients: Vec::new(), ..share.clone() };
    for keeps_the_share in [true, false] {
        let world = World::new(NO_PORTMAPPER).await;
        let ino = world.file(b"f", 0o666).await;
        let file = handle(1, ino);
        let (alpha, beta) = two();
        let lock = Lock::exclusive(&file, 0, 10);
        assert_eq!(alpha.lock(&world, &lock).await, GRANTED);
        assert_eq!(alpha.share(&world, SHARE, &file, 3, 3).await, GRANTED);
        assert_eq!(beta.lock(&world, &lock.clone().blocking()).await, BLOCKED);
        let before = world.shares.snapshot();
        let left = if keeps_the_share { before.iter().map(|share| nobody(share)).collect() } else { Vec::new() };
        world.shares.replace(left);
        let refused = if keeps_the_share { FAILED } else { STALE };
        assert_eq!(alpha.lock(&world, &lock).await, refused);
        let mut forged = file.to_vec();
        forged[39] ^= 1;
        let forged = Lock { handle: forged.into(), ..lock.clone() };
        assert_eq!((alpha.unlock(&world, &forged).await, beta.cancel(&world, &forged).await), (STALE, STALE));
        assert_eq!(alpha.share(&world, UNSHARE, &forged.handle, 3, 3).await, STALE);
        assert_eq!(beta.unlock(&world, &Lock::exclusive(&file, 5, 1)).await, GRANTED, "it has nothing there");
        assert_eq!(beta.cancel(&world, &lock.clone().blocking()).await, GRANTED);
        assert_eq!(world.nlm.counts(), (1, 0));
        assert_eq!(alpha.unlock(&world, &lock).await, GRANTED);
        assert_eq!(world.seen_by_others(ino).await, None);
        assert_eq!(alpha.share(&world, UNSHARE, &file, 3, 3).await, GRANTED);
        world.shares.replace(before.iter().map(|share| Share::clone(share)).collect());
        assert_eq!(beta.share(&world, SHARE, &file, 3, 3).await, GRANTED);
    }
}

#[tokio::test]
async fn h48_ranges_past_what_a_file_can_have_are_too_big() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let alpha = Peer::new(1, b"alpha");
    let last = i64::MAX as u64;
    for (offset, length) in [(last + 1, 0), (u64::MAX, u64::MAX), (last, 2), (1, u64::MAX)] {
        let lock = Lock::exclusive(&file, offset, length);
        assert_eq!(alpha.lock(&world, &lock).await, TOO_BIG);
        assert_eq!(alpha.unlock(&world, &lock).await, TOO_BIG);
        assert_eq!(alpha.cancel(&world, &lock).await, TOO_BIG);
        assert_eq!(alpha.test(&world, &lock).await, (TOO_BIG, None));
    }
    assert_eq!(alpha.lock(&world, &Lock::exclusive(&file, last, 1)).await, GRANTED);
}

#[tokio::test]
async fn a_lock_that_is_not_monitored_excludes_all_the_same_and_puts_nobody_on_the_list() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (alpha, beta) = two();
    assert_eq!(alpha.nm_lock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    assert_eq!(world.store.list().await.expect("the list"), []);
    assert_eq!(beta.lock(&world, &Lock::shared(&file, 0, 1)).await, DENIED);
    assert_eq!(beta.lock(&world, &Lock::shared(&file, 0, 1).blocking()).await, BLOCKED);
    let listed = world.store.list().await.expect("the list");
    assert_eq!(
        listed.iter().map(|host| (host.address, &host.name[..])).collect::<Vec<_>>(),
        [(beta.address, &b"beta"[..])]
    );
}

#[tokio::test]
async fn share_reservations_deny_what_they_say() {
    let world = World::new(NO_PORTMAPPER).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let (alpha, beta) = two();
    assert_eq!(alpha.share(&world, SHARE, &file, 1, 2).await, GRANTED);
    assert_eq!(beta.share(&world, SHARE, &file, 3, 0).await, DENIED, "it would write");
    assert_eq!(beta.share(&world, SHARE, &file, 1, 1).await, DENIED, "it would deny reading");
    assert_eq!(beta.share(&world, SHARE, &file, 1, 2).await, GRANTED);
    assert_eq!(alpha.share(&world, SHARE, &file, 1, 0).await, GRANTED, "in place of its own");
    assert_eq!(alpha.share(&world, SHARE, &file, 3, 0).await, DENIED, "beta denies writing");
    assert_eq!(beta.share(&world, UNSHARE, &file, 1, 2).await, GRANTED);
    assert_eq!(alpha.share(&world, SHARE, &file, 3, 3).await, GRANTED);
    alpha.free_all(&world).await;
    assert_eq!(beta.share(&world, SHARE, &file, 3, 3).await, GRANTED);
}
