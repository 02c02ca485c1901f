//! What clients send that mean harm, and what one client can make grow.

#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_sunrpc::client::{Client as Connection, ClientError};
use gateway_sunrpc::xdr::Encoder;
use gateway_sunrpc::{Auth, DatagramServer, Hooks, Limits, Program, Refusal, Server};
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;
use tests_nlm::{BLOCKED, Client, DEADLINE, GRANTED, Lock, NO_LOCKS, Peer, Store, World, handle, status, until};

const NO_PORTMAPPER: u16 = 1;
const PROCEDURES: u32 = 24;

proptest! {
    #![proptest_config(Config::with_cases(256))]

    #[test]
    fn h40_random_bytes_are_garbage_and_lock_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::with(Store::Model, NO_PORTMAPPER, |_| {}).await;
            let peer = Peer::new(1, b"alpha");
            for procedure in 1..PROCEDURES {
                let _answer = peer.raw(world.nlm.clone(), procedure, Bytes::from(bytes.clone())).await.is_ok();
                let _answer = peer.raw(world.monitor.clone(), procedure % 8, Bytes::from(bytes.clone())).await.is_ok();
            }
            assert_eq!(world.nlm.counts(), (0, 0));
        });
    }
}

#[tokio::test]
async fn h41_arguments_cut_anywhere_or_too_long_are_garbage() {
    let world = World::with(Store::Model, NO_PORTMAPPER, |_| {}).await;
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 10);
    let peer = Peer::new(1, b"alpha");
    let mut whole = Encoder::new();
    peer.lock_args(&mut whole, &lock);
    let whole = whole.finish().to_bytes();
    for length in 0..whole.len() {
        let answer = peer.raw(world.nlm.clone(), 2, whole.slice(..length)).await;
        assert_eq!(answer.map(|_| ()), Err(Refusal::GarbageArguments), "{length} bytes");
    }
    let longer = [&whole[..], &[0; 4]].concat();
    assert_eq!(peer.raw(world.nlm.clone(), 2, longer.into()).await.map(|_| ()), Err(Refusal::GarbageArguments));
    for cookie_bytes in [1025, 1 << 20] {
        let mut out = Encoder::new();
        out.opaque(&vec![7; cookie_bytes]);
        let bytes = [&out.finish().to_bytes()[..], &whole[12..]].concat();
        assert_eq!(peer.raw(world.nlm.clone(), 2, bytes.into()).await.map(|_| ()), Err(Refusal::GarbageArguments));
    }
    assert_eq!(world.nlm.counts(), (0, 0));
    let mut reply = peer.raw(world.nlm.clone(), 2, whole).await.expect("the whole is a call");
    assert_eq!(status(&mut reply), GRANTED);
}

#[tokio::test]
async fn thousands_of_waits_of_one_client_are_bounded_and_leave_others_room() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |options| {
        options.limits.waiters_per_client_max = 100;
        options.limits.waiters_max = 150;
        options.limits.held_per_client_max = 200;
    })
    .await;
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 0);
    let [holder, greedy, other] = [(1, b"a"), (2, b"b"), (3, b"c")].map(|(host, name)| Peer::new(host, name));
    assert_eq!(holder.lock(&world, &lock).await, GRANTED);
    for svid in 0..3000 {
        let wanted = if svid < 100 { BLOCKED } else { NO_LOCKS };
        assert_eq!(greedy.lock(&world, &lock.clone().blocking().of(svid)).await, wanted);
    }
    assert_eq!(world.nlm.counts(), (1, 100));
    for svid in 0..60 {
        let wanted = if svid < 50 { BLOCKED } else { NO_LOCKS };
        assert_eq!(other.lock(&world, &lock.clone().blocking().of(svid)).await, wanted);
    }
    greedy.free_all(&world).await;
    other.free_all(&world).await;
    assert_eq!(world.nlm.counts(), (1, 0));
    world.nlm.stop(Duration::from_secs(3600)).await;
}

#[tokio::test]
async fn ranges_and_clients_are_bounded() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |options| {
        options.limits.held_per_client_max = 50;
        options.limits.clients_max = 3;
    })
    .await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let peer = Peer::new(1, b"a");
    for at in 0..60 {
        let wanted = if at < 50 { GRANTED } else { NO_LOCKS };
        assert_eq!(peer.lock(&world, &Lock::exclusive(&file, at * 2, 1)).await, wanted);
    }
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    for host in 2..6 {
        let wanted = if host < 5 { GRANTED } else { NO_LOCKS };
        let last = Lock::exclusive(&file, u64::from(host) * 2, 1);
        assert_eq!(
            Peer::new(host, b"x").lock(&world, &last).await,
            wanted,
            "the place of one who holds nothing is free"
        );
    }
    let listed = world.store.list().await.expect("the list");
    assert_eq!(listed.len(), 3, "one who came and went has no place on the list either");
}

#[tokio::test]
async fn unlocking_every_second_byte_stays_within_the_bounds() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |options| options.limits.held_per_client_max = 50).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let peer = Peer::new(1, b"a");
    assert_eq!(peer.lock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    for at in 0..60 {
        let wanted = if at < 49 { GRANTED } else { NO_LOCKS };
        assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, at * 2 + 1, 1)).await, wanted);
    }
    assert_eq!(world.nlm.counts(), (50, 0));
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 2, 1)).await, GRANTED, "a whole range");
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 1000, 1)).await, GRANTED, "there is room for one more");
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 2000, 1)).await, NO_LOCKS);
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 2000, 0)).await, GRANTED, "the end of a range");
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    assert_eq!(world.nlm.counts(), (0, 0));
}

#[tokio::test]
async fn locking_every_second_byte_as_another_kind_stays_within_the_bounds() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |options| options.limits.held_per_client_max = 50).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    let peer = Peer::new(1, b"a");
    assert_eq!(peer.lock(&world, &Lock::shared(&file, 0, 0)).await, GRANTED);
    for at in 0..60 {
        // Two more each, from one on.
        let wanted = if at < 25 { GRANTED } else { NO_LOCKS };
        assert_eq!(peer.lock(&world, &Lock::exclusive(&file, at * 2 + 1, 1)).await, wanted);
    }
    assert_eq!(world.nlm.counts(), (51, 0));
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 1, 1)).await, GRANTED, "a whole range");
    assert_eq!(peer.unlock(&world, &Lock::exclusive(&file, 0, 0)).await, GRANTED);
    assert_eq!(world.nlm.counts(), (0, 0));
}

#[tokio::test]
async fn news_of_restarts_of_strangers_leave_room_for_clients() {
    let world = World::with(Store::Engine, NO_PORTMAPPER, |options| options.limits.clients_max = 3).await;
    let file = handle(1, world.file(b"f", 0o666).await);
    for last in 1..100 {
        Peer { address: [127, 200, 0, last].into(), ..Peer::new(1, b"stranger") }.notify(&world, 7).await;
    }
    for host in 2..5 {
        let lock = Lock::exclusive(&file, u64::from(host) * 2, 1);
        assert_eq!(Peer::new(host, b"x").lock(&world, &lock).await, GRANTED);
    }
    Peer::new(6, b"stranger").notify(&world, 7).await;
    assert_eq!(world.nlm.counts(), (3, 0), "nor does it take the place of one who holds something");
}

async fn null(connection: &mut Connection, program: u32, version: u32) -> Result<(), ClientError> {
    connection.call(program, version, 0, &Auth::None, Encoder::new().finish()).await.map(|_| ())
}

#[tokio::test]
async fn over_tcp_old_versions_are_told_which_one_is_served_and_a_message_is_answered_by_a_call() {
    let client = Client::new(1, b"alpha", 0).await;
    let world = World::new(client.portmapper_port).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let programs: Vec<Arc<dyn Program>> = vec![world.nlm.clone(), world.monitor.clone()];
    let server = Server::start(vec![listener], programs, Limits::default(), Hooks::from(&world.env));
    let mut connection = Connection::connect(world.env.clock.clone(), address, DEADLINE).await.expect("a connection");
    null(&mut connection, 100_021, 4).await.expect("version 4");
    null(&mut connection, 100_024, 1).await.expect("the status monitor");
    for version in [1, 3] {
        let refused = null(&mut connection, 100_021, version).await;
        assert!(matches!(refused, Err(ClientError::Refused([0, 2]))), "PROG_MISMATCH: {refused:?}");
    }
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 10);
    let auth = Auth::Sys { machine: Bytes::from_static(b"alpha"), uid: 0, gid: 0, gids: vec![] };
    let mut out = Encoder::new();
    client.peer.lock_args(&mut out, &lock);
    let reply = connection.call(100_021, 4, 7, &auth, out.finish()).await.expect("LOCK_MSG");
    assert_eq!(reply.remaining(), 0);
    until("LOCK_RES", || client.heard_of(12) == 1).await;
    let mut result = gateway_sunrpc::xdr::Decoder::new(client.heard().remove(0).2);
    assert_eq!(status(&mut result), GRANTED);
    drop(connection);
    server.drain(DEADLINE).await;
}

#[tokio::test]
async fn news_of_a_restart_come_over_udp() {
    let world = World::new(NO_PORTMAPPER).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let server = DatagramServer::start(socket, vec![world.monitor.clone()], Hooks::from(&world.env)).expect("a server");
    let lock = Lock::exclusive(&handle(1, world.file(b"f", 0o666).await), 0, 10);
    assert_eq!(Peer::new(1, b"alpha").lock(&world, &lock).await, GRANTED);
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let words = [7_u32, 0, 2, 100_024, 1, 6, 0, 0, 0, 0, 4, u32::from_be_bytes(*b"alph"), 9];
    let call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    client.send_to(&call, address).await.expect("sent");
    let mut reply = [0; 64];
    let received = tokio::time::timeout(DEADLINE, client.recv(&mut reply)).await.expect("in time").expect("a reply");
    assert_eq!(received, 24);
    assert_eq!(world.nlm.counts(), (0, 0), "its locks are gone before the reply");
    server.drain(DEADLINE).await;
}
