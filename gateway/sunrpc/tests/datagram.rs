//! Programs over UDP on loopback: what is answered, and what is not.

#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use gateway_sunrpc::xdr::Encoder;
use gateway_sunrpc::{Body, Call, DatagramServer, Hooks, Program, Refusal};
use objstore_base::BoxFuture;
use tokio::net::UdpSocket;

const PROGRAM: u32 = 300_000;
const DEADLINE: Duration = Duration::from_secs(20);

/// Answers procedure 0 with nothing and procedure 1 with more than was asked; procedure 2 panics.
struct Echo;

impl Program for Echo {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        async move {
            let mut out = Encoder::new();
            match call.procedure {
                0 => {}
                1 => out.opaque(&[7; 4096]),
                _ => panic!("as the test wants"),
            }
            Ok(out.finish())
        }
        .boxed()
    }
}

async fn served() -> (DatagramServer, UdpSocket) {
    let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = socket.local_addr().expect("an address");
    let server = DatagramServer::start(socket, vec![Arc::new(Echo)], Hooks::from(&env)).expect("a server");
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client.connect(address).await.expect("an address");
    (server, client)
}

fn call(xid: u32, version: u32, procedure: u32) -> Vec<u8> {
    let words = [xid, 0, 2, PROGRAM, version, procedure, 0, 0, 0, 0];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

async fn reply(client: &UdpSocket) -> Vec<u32> {
    let mut buffer = [0; 65_536];
    let length = tokio::time::timeout(DEADLINE, client.recv(&mut buffer)).await.expect("in time").expect("a datagram");
    buffer[..length].chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("whole words"))).collect()
}

#[tokio::test]
async fn a_call_is_answered_without_a_record_mark_and_a_wrong_version_with_the_right_ones() {
    let (server, client) = served().await;
    client.send(&call(5, 1, 0)).await.expect("sent");
    assert_eq!(reply(&client).await, [5, 1, 0, 0, 0, 0]);
    client.send(&call(6, 9, 0)).await.expect("sent");
    assert_eq!(reply(&client).await, [6, 1, 0, 0, 0, 2, 1, 1]);
    server.drain(DEADLINE).await;
}

#[tokio::test]
async fn what_is_no_call_and_what_would_be_amplified_is_not_answered() {
    let (server, client) = served().await;
    client.send(&[1, 2, 3]).await.expect("sent");
    client.send(&[0xff; 4096]).await.expect("sent");
    client.send(&call(1, 1, 1)).await.expect("sent");
    // Answered in tasks of their own, in any order: nothing but this one may come before the server has drained.
    client.send(&call(2, 1, 0)).await.expect("sent");
    assert_eq!(reply(&client).await.first(), Some(&2));
    server.drain(DEADLINE).await;
    assert!(client.try_recv(&mut [0; 64]).is_err(), "no second reply");
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_call() {
    let (server, client) = served().await;
    client.send(&call(1, 1, 2)).await.expect("sent");
    assert_eq!(reply(&client).await, [1, 1, 0, 0, 0, 5], "system error");
    client.send(&call(2, 1, 0)).await.expect("sent");
    assert_eq!(reply(&client).await.first(), Some(&2));
    server.drain(DEADLINE).await;
}
