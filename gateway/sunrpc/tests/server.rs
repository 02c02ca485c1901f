//! The server over real sockets: exact answers, and clients that lie, dawdle or break off.
#![allow(clippy::disallowed_methods, reason = "tests open sockets and wait with deadlines")]

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_sunrpc::client::{Client, ClientError};
use gateway_sunrpc::xdr::{Body, Encoder};
use gateway_sunrpc::{Auth, Call, Hooks, Limits, Program, Refusal, Server};
use objstore_env::Env;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const PROGRAM: u32 = 0x2000_0001;
const DEADLINE: Duration = Duration::from_secs(20);

/// 0 null, 1 echo, 2 panic, 3 echo when the gate opens, 4 no reply; the others are unavailable.
struct Trial {
    gate: Semaphore,
    /// One permit for each call that came through the gate.
    passed: Semaphore,
}

impl Program for Trial {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        2..=3
    }

    fn call(self: Arc<Self>, mut call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        async move {
            match call.procedure {
                0 => Ok(Body::default()),
                1 | 3 => {
                    let said = call.args.opaque(1 << 20).map_err(|_| Refusal::GarbageArguments)?;
                    if call.procedure == 3 {
                        self.gate.acquire().await.expect("never closed").forget();
                        self.passed.add_permits(1);
                    }
                    let mut results = Encoder::new();
                    results.payload(said);
                    Ok(results.finish())
                }
                2 => panic!("a handler's fault"),
                4 => Err(Refusal::Drop),
                _ => Err(Refusal::ProcedureUnavailable),
            }
        }
        .boxed()
    }
}

struct Site {
    env: Env,
    server: Server,
    trial: Arc<Trial>,
    address: SocketAddr,
}

async fn site(limits: Limits) -> Site {
    let env = objstore_env::real::env(tokio::runtime::Handle::current()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let trial = Arc::new(Trial { gate: Semaphore::new(0), passed: Semaphore::new(0) });
    let server = Server::start(vec![listener], vec![trial.clone()], limits, Hooks::from(&env));
    Site { env, server, trial, address }
}

impl Site {
    async fn client(&self) -> Client {
        Client::connect(self.env.clock.clone(), self.address, DEADLINE).await.unwrap()
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn opaque(bytes: &[u8]) -> Body {
    let mut args = Encoder::new();
    args.opaque(bytes);
    args.finish()
}

/// A call record by words, with its mark; AUTH_NONE credentials follow the six words of the head.
fn record(words: &[u32]) -> Vec<u8> {
    let mut record = (0x8000_0000u32 | (words.len() as u32 * 4)).to_be_bytes().to_vec();
    record.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    record
}

async fn reply_words(stream: &mut TcpStream) -> Vec<u32> {
    let mark = timeout(DEADLINE, stream.read_u32()).await.unwrap().unwrap();
    let mut words = Vec::new();
    for _ in 0..(mark & 0x7fff_ffff) / 4 {
        words.push(stream.read_u32().await.unwrap());
    }
    words
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end too.
    timeout(DEADLINE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h49_every_answer_is_exact() {
    let site = site(Limits::default()).await;
    let mut stream = site.raw().await;
    let none = [0, 0, 0, 0];
    let long_gids = [1, 24 + 17 * 4 - 4, 0, 0, 1, 1, 17].into_iter().chain([5; 17]).chain([0, 0]).collect::<Vec<u32>>();
    let cases: Vec<(Vec<u32>, Vec<u32>)> = vec![
        ([&[7, 0, 2, PROGRAM, 3, 0][..], &none].concat(), vec![7, 1, 0, 0, 0, 0]),
        ([&[8, 0, 2, PROGRAM + 1, 3, 0][..], &none].concat(), vec![8, 1, 0, 0, 0, 1]),
        ([&[9, 0, 2, PROGRAM, 4, 0][..], &none].concat(), vec![9, 1, 0, 0, 0, 2, 2, 3]),
        ([&[10, 0, 2, PROGRAM, 3, 77][..], &none].concat(), vec![10, 1, 0, 0, 0, 3]),
        ([&[11, 0, 2, PROGRAM, 3, 1][..], &none, &[u32::MAX]].concat(), vec![11, 1, 0, 0, 0, 4]),
        ([&[12, 0, 2, PROGRAM, 3, 2][..], &none].concat(), vec![12, 1, 0, 0, 0, 5]),
        ([&[13, 0, 3, PROGRAM, 3, 0][..], &none].concat(), vec![13, 1, 1, 0, 2, 2]),
        ([&[14, 0, 2, PROGRAM, 3, 0, 6, 0, 0, 0][..]].concat(), vec![14, 1, 1, 1, 1]),
        ([&[15, 0, 2, PROGRAM, 3, 0][..], &long_gids].concat(), vec![15, 1, 1, 1, 1]),
        ([&[16, 0, 2, PROGRAM, 3, 0][..], &none].concat(), vec![16, 1, 0, 0, 0, 0]),
    ];
    for (call, expected) in cases {
        stream.write_all(&record(&call)).await.unwrap();
        assert_eq!(reply_words(&mut stream).await, expected, "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_come_back_whole_and_unpadded() {
    let site = site(Limits::default()).await;
    let mut client = site.client().await;
    for length in [0, 1, 3, 4096, 4097, 20_000, 70_001, 1 << 20] {
        let said: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let mut reply = client.call(PROGRAM, 3, 1, &Auth::None, opaque(&said)).await.unwrap();
        assert_eq!(&reply.opaque(1 << 20).unwrap()[..], &said[..]);
        reply.finish().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_overtake_a_call_that_waits_and_a_panic_ends_one_call() {
    let site = site(Limits::default()).await;
    let mut stream = site.raw().await;
    stream.write_all(&record(&[1, 0, 2, PROGRAM, 3, 3, 0, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&record(&[2, 0, 2, PROGRAM, 3, 2, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&record(&[3, 0, 2, PROGRAM, 3, 0, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(reply_words(&mut stream).await, [2, 1, 0, 0, 0, 5]);
    assert_eq!(reply_words(&mut stream).await, [3, 1, 0, 0, 0, 0]);
    site.trial.gate.add_permits(1);
    assert_eq!(reply_words(&mut stream).await, [1, 1, 0, 0, 0, 0, 0]);
}

/// Calls that end on several threads at once, some while the client reads and some while it does not: no reply is lost, sent
/// twice or mixed with another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replies_of_calls_that_end_together_arrive_whole() {
    const CALLS: u32 = 48;
    let site = site(Limits::default()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let (mut receive, mut send) = socket.connect(site.address).await.unwrap().into_split();
    let bytes = |xid: u32| (xid as usize * 7919) % 60_000 / 4 * 4;
    for round in 0..8 {
        let xids = round * CALLS..(round + 1) * CALLS;
        let calls = xids.clone().flat_map(|xid| {
            let (procedure, length) = (if xid % 3 == 0 { 1 } else { 3 }, bytes(xid) as u32);
            let head = [xid, 0, 2, PROGRAM, 3, procedure, 0, 0, 0, 0, length];
            record(&head.into_iter().chain((0..length / 4).map(|_| xid)).collect::<Vec<u32>>())
        });
        let calls: Vec<u8> = calls.collect();
        let sending = async { send.write_all(&calls).await.unwrap() };
        let reading = async {
            let mut open: Vec<u32> = xids.clone().collect();
            while !open.is_empty() {
                site.trial.gate.add_permits(3);
                let mark = receive.read_u32().await.unwrap();
                let mut reply = vec![0; (mark & 0x7fff_ffff) as usize];
                receive.read_exact(&mut reply).await.unwrap();
                let words: Vec<u32> =
                    reply.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
                let at = open.iter().position(|xid| *xid == words[0]).expect("one reply to each call");
                let xid = open.swap_remove(at);
                assert_eq!(words[1..6], [1, 0, 0, 0, 0]);
                assert_eq!((words.len(), words[6] as usize), (7 + bytes(xid) / 4, bytes(xid)));
                assert!(words[7..].iter().all(|word| *word == xid), "{xid}");
            }
        };
        timeout(DEADLINE, async { tokio::join!(sending, reading) }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h41_a_call_cut_anywhere_closes_or_is_refused() {
    let site = site(Limits::default()).await;
    let sys = [5, 0, 2, PROGRAM, 3, 1, 1, 28, 0, 1, 0x6100_0000, 1, 1, 1, 9, 0, 0, 3, 0x6162_6300];
    let whole = record(&sys);
    for cut in 0..whole.len() - 4 {
        let mut stream = site.raw().await;
        stream.write_all(&(0x8000_0000u32 | cut as u32).to_be_bytes()).await.unwrap();
        stream.write_all(&whole[4..4 + cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_closed(&mut stream).await, "{cut}");
    }
    site.client().await.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h39_garbage_and_huge_records_close_the_connection() {
    let site = site(Limits::default()).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x7f, 0xff, 0xff, 0xff], &[0xff; 4], &[0; 4]] {
        let mut stream = site.raw().await;
        stream.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h37_a_request_never_finished_and_a_silent_client_are_closed() {
    let short = Duration::from_millis(50);
    let site = site(Limits { request_read_timeout: short, idle: short, ..Limits::default() }).await;
    let mut partial = site.raw().await;
    partial.write_all(&[0x80, 0]).await.unwrap();
    let mut silent = site.raw().await;
    assert!(is_closed(&mut partial).await);
    assert!(is_closed(&mut silent).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h37_replies_never_read_cost_that_client_only() {
    let limits = Limits { reply_write_timeout: Duration::from_millis(200), ..Limits::default() };
    let site = site(limits).await;
    let mut greedy = site.raw().await;
    let mut call = (0x8000_0000u32 | (44 + (1 << 20))).to_be_bytes().to_vec();
    for word in [1, 0, 2, PROGRAM, 3, 1, 0, 0, 0, 0, 1 << 20] {
        call.extend(u32::to_be_bytes(word));
    }
    call.resize(call.len() + (1 << 20), 1);
    let flood = async { while greedy.write_all(&call).await.is_ok() {} };
    timeout(DEADLINE, flood).await.expect("the server closes it");
    site.client().await.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h37_caps_hold_and_are_given_back() {
    let site = site(Limits { connections_per_client_max: 2, ..Limits::default() }).await;
    let mut first = site.client().await;
    let mut second = site.client().await;
    first.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
    second.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
    assert!(is_closed(&mut site.raw().await).await);
    drop(first);
    let again = async { while site.client().await.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.is_err() {} };
    timeout(DEADLINE, again).await.expect("the seat is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_what_is_in_flight_and_ends_by_its_deadline() {
    let first = site(Limits::default()).await;
    let mut stream = first.raw().await;
    stream.write_all(&record(&[1, 0, 2, PROGRAM, 3, 3, 0, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&record(&[2, 0, 2, PROGRAM, 3, 0, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(reply_words(&mut stream).await[0], 2);
    let (server, trial) = (first.server, first.trial);
    let draining = tokio::spawn(server.drain(DEADLINE));
    trial.gate.add_permits(1);
    assert_eq!(reply_words(&mut stream).await[0], 1);
    timeout(DEADLINE, draining).await.unwrap().unwrap();

    let second = site(Limits::default()).await;
    let mut stream = second.raw().await;
    stream.write_all(&record(&[1, 0, 2, PROGRAM, 3, 3, 0, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&record(&[2, 0, 2, PROGRAM, 3, 0, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(reply_words(&mut stream).await[0], 2);
    timeout(DEADLINE, second.server.drain(Duration::from_millis(10))).await.unwrap();
    assert!(is_closed(&mut stream).await);
}

/// A change that is cut off half-way would be the work of a cable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_does_not_cancel_a_call_under_way() {
    let site = site(Limits::default()).await;
    let mut stream = site.raw().await;
    stream.write_all(&record(&[1, 0, 2, PROGRAM, 3, 3, 0, 0, 0, 0, 0])).await.unwrap();
    stream.write_all(&record(&[2, 0, 2, PROGRAM, 3, 0, 0, 0, 0, 0])).await.unwrap();
    // The answer to the second call says that the first is under way. Left unread, it turns the close into a reset.
    timeout(DEADLINE, stream.peek(&mut [0])).await.unwrap().unwrap();
    drop(stream);
    let lost = async {
        while site.server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, lost).await.expect("the server sees the reset");
    assert_eq!(site.trial.passed.available_permits(), 0);
    site.trial.gate.add_permits(1);
    timeout(DEADLINE, site.trial.passed.acquire()).await.expect("the call goes on").unwrap().forget();
    timeout(DEADLINE, site.server.drain(DEADLINE)).await.expect("nothing of it is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hears_why_it_is_refused() {
    let site = site(Limits::default()).await;
    let auth = Auth::Sys { machine: Bytes::from_static(b"host"), uid: 1, gid: 2, gids: (0..16).collect() };
    let mut client = site.client().await;
    client.call(PROGRAM, 2, 0, &auth, Body::default()).await.unwrap();
    let refused = client.call(PROGRAM, 9, 0, &auth, Body::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused([0, 2]))));
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h39_two_hundred_unfinished_records_stay_small_and_disturb_nobody() {
    let site = site(Limits::default()).await;
    let before = resident_kib();
    let mut held = Vec::new();
    for huge in 0..200u32 {
        let mut stream = site.raw().await;
        // Half announce 2 GiB, half the largest legal record, of which they send a part.
        let length = if huge % 2 == 0 { u32::MAX } else { 0x8000_0000 | (1 << 20) };
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        // The server may have closed already: that is its answer to the first half.
        drop(stream.write_all(&[0; 12_000]).await);
        held.push(stream);
    }
    site.client().await.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
    assert!(resident_kib() < before + 64 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h39_a_client_that_finishes_nothing_leaves_memory_for_long_records_to_others() {
    // Nobody's time runs out: what the one holds it holds to the end.
    let site = site(Limits { request_read_timeout: DEADLINE * 100, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let mut stream = socket.connect(site.address).await.unwrap();
        stream.write_all(&(0x8000_0000_u32 | (1 << 20)).to_be_bytes()).await.unwrap();
        // Enough to stand in the queue for the whole record.
        stream.write_all(&[0; 64 << 10]).await.unwrap();
        held.push(stream);
    }
    let said = vec![7; 1 << 20];
    let mut client = site.client().await;
    for _ in 0..10 {
        let mut reply = client.call(PROGRAM, 3, 1, &Auth::None, opaque(&said)).await.expect("it is served");
        assert_eq!(reply.opaque(1 << 20).unwrap(), said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h37_thousands_of_idle_connections_leave_a_client_served() {
    // Both ends of each are descriptors of this process; half of what it may open is enough for the point.
    let allowed = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().0;
    let count = usize::try_from(allowed / 2).unwrap_or(usize::MAX).saturating_sub(200).min(5_000);
    let site = site(Limits { connections_per_client_max: 6_000, ..Limits::default() }).await;
    let before = resident_kib();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = site.raw().await;
        stream.write_all(&[0x80, 0]).await.unwrap();
        held.push(stream);
    }
    let served = async {
        let mut client = site.client().await;
        client.call(PROGRAM, 3, 0, &Auth::None, Body::default()).await.unwrap();
    };
    timeout(Duration::from_secs(1), served).await.expect("a service within a second");
    // A half-sent header holds one free chunk at most, of which the pages that were written are resident.
    assert!(resident_kib() < before + 192 * 1024);
}
