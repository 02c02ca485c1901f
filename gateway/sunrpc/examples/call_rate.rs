//! Small calls per second on one connection: `cargo run --release -p gateway-sunrpc --example throughput [in flight]`.
//! Client and server share the machine: the client writes one batch of calls and reads its replies.
#![allow(clippy::disallowed_methods, reason = "a measurement outside the program")]

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_sunrpc::{Body, Call, Hooks, Limits, Program, Refusal, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Null;

impl Program for Null {
    fn number(&self) -> u32 {
        100_003
    }

    fn versions(&self) -> RangeInclusive<u32> {
        3..=3
    }

    fn call(self: Arc<Self>, _call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        async { Ok(Body::default()) }.boxed()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let inflight: usize = std::env::args().nth(1).map_or(Ok(16), |given| given.parse())?;
    let env = objstore_env::real::env(tokio::runtime::Handle::current())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::start(vec![listener], vec![Arc::new(Null)], Limits::default(), Hooks::from(&env));
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let words = [0x8000_0028u32, 1, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    let call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let batch = call.repeat(inflight);
    let mut replies = vec![0; 28 * inflight];
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(3) {
        stream.write_all(&batch).await?;
        stream.read_exact(&mut replies).await?;
        calls += inflight;
    }
    println!("{:.0} calls/s with {inflight} in flight", calls as f64 / start.elapsed().as_secs_f64());
    drop(stream);
    server.drain(Duration::from_secs(1)).await;
    Ok(())
}
