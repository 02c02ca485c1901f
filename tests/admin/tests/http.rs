//! The HTTP interface over a real socket: who gets in, what comes out, and what a hostile client cannot do.

#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fs_api::{Context, Credentials, NewNode, Origin, ROOT_INO, Vfs};
use gateway_admin::http::{Api, HttpServer};
use gateway_admin::{Observatory, Observed, metrics};
use objstore_base::BoxFuture;
use objstore_env::Env;
use tests_model::Model;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const TOKEN: &str = "correct horse";
const WAIT: Duration = Duration::from_secs(20);

/// Repeats what it is asked, three times.
struct Echo;

impl Api for Echo {
    fn ask(&self, request: Bytes, lines: mpsc::Sender<Bytes>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for _ in 0..3 {
                let line = [&request[..], b"\n"].concat();
                if lines.send(line.into()).await.is_err() {
                    return;
                }
            }
        })
    }

    fn values(&self) -> BoxFuture<'_, Vec<metrics::Value>> {
        let kind = metrics::Kind::Gauge;
        let value = metrics::Value { name: "dirty_bytes", help: "Dirty.", kind, label: None, value: 5.0 };
        Box::pin(async move { vec![value] })
    }
}

struct World {
    server: HttpServer,
    observatory: Arc<Observatory>,
    vfs: Arc<Observed>,
}

impl World {
    async fn new() -> Self {
        let env: Env = objstore_env::real::env(tokio::runtime::Handle::current()).unwrap();
        let observatory = Observatory::new();
        let vfs = Observed::new(Arc::new(Model::new()), &env, Arc::clone(&observatory), "nfs");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Arc::new(Echo);
        let server = HttpServer::start(&env, listener, TOKEN.to_owned(), Arc::clone(&observatory), api).unwrap();
        Self { server, observatory, vfs }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    async fn make(&self, name: &str) -> objstore_base::Result<()> {
        let cx = Context { origin: Some(origin()), ..Context::new(1, Credentials::root()) };
        self.vfs.make(&cx, ROOT_INO, name.as_bytes(), NewNode::Regular, 0o644, 0).await.map(drop)
    }
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin { client: "10.0.0.7".to_owned(), share: "/export".to_owned() })
}

async fn send(address: SocketAddr, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(WAIT, stream.read_to_string(&mut text)).await.expect("it ends in time").unwrap();
    text
}

fn with_token(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}")
}

#[tokio::test]
async fn nothing_is_told_without_the_token() {
    let world = World::new().await;
    for wrong in
        ["", "\r\nAuthorization: Bearer ", "\r\nAuthorization: Bearer correct hors", "\r\nAuthorization: Basic x"]
    {
        for path in ["/metrics", "/v1/stats", "/v1/trace", "/nothing"] {
            let answer = all(send(world.address(), &format!("GET {path} HTTP/1.1{wrong}"), "").await).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
    }
}

#[tokio::test]
async fn metrics_and_stats_show_what_went_through_the_door() {
    let world = World::new().await;
    world.make("a").await.unwrap();
    world.make("a").await.expect_err("it is there");
    let answer = all(send(world.address(), &with_token("GET /metrics"), "").await).await;
    for part in [
        "tidegate_dirty_bytes 5.0",
        "tidegate_door_duration_seconds_count{door=\"nfs\",op=\"create\"} 2",
        "tidegate_door_errors_total{door=\"nfs\",op=\"create\"} 1",
    ] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    let answer = all(send(world.address(), &with_token("GET /v1/stats"), "").await).await;
    let stats: gateway_admin::Stats = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(stats.doors[0].clients["10.0.0.7"].ops, 2);
    assert_eq!(stats.doors[0].clients["10.0.0.7"].errors, 1);
}

#[tokio::test]
async fn a_trace_is_one_line_per_operation_that_fits_until_the_reader_goes() {
    let world = World::new().await;
    let path = "GET /v1/trace?path=%2Fwanted&share=%2Fexport";
    let mut stream = send(world.address(), &with_token(path), "").await;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // The head comes before the first line: from then on it watches.
    let read = timeout(WAIT, stream.read(&mut buffer)).await.expect("the head comes").unwrap();
    seen.extend_from_slice(&buffer[..read]);
    world.make("other").await.unwrap();
    world.make("wanted").await.unwrap();
    world.make("wanted").await.expect_err("it is there");
    while seen.iter().filter(|byte| **byte == b'{').count() < 2 {
        let read = timeout(WAIT, stream.read(&mut buffer)).await.expect("lines come").unwrap();
        assert!(read > 0, "it ended early");
        seen.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8(seen).unwrap();
    assert!(text.contains("\"path\":\"/wanted\"") && text.contains("\"result\":\"Exists\""), "{text}");
    assert!(!text.contains("/other"), "{text}");
    drop(stream);
    // The next lines find nobody, and then none are made.
    for _ in 0..200 {
        world.make("wanted").await.expect_err("it is there");
        if world.observatory.trace(gateway_admin::TraceFilter::default()).is_some() {
            return;
        }
    }
    panic!("the reader never left");
}

#[tokio::test]
async fn a_question_is_answered_in_lines() {
    let world = World::new().await;
    let answer = all(send(world.address(), &with_token("POST /v1/ask"), "{\"op\":\"status\"}").await).await;
    assert_eq!(answer.matches("{\"op\":\"status\"}\n").count(), 3, "{answer}");
    let answer = all(send(world.address(), &with_token("GET /v1/ask"), "").await).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let answer = all(send(world.address(), &with_token("GET /v1/unknown"), "").await).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = all(send(world.address(), &with_token("GET /v1/trace?nonsense=1"), "").await).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("nonsense"), "{answer}");
}

#[tokio::test]
async fn large_and_broken_requests_are_refused_and_others_are_served() {
    let world = World::new().await;
    let answer = all(send(world.address(), &with_token("POST /v1/ask"), &"x".repeat(100_000)).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{}", &answer[..60.min(answer.len())]);
    let mut idle = Vec::new();
    for _ in 0..70 {
        idle.push(TcpStream::connect(world.address()).await.unwrap());
    }
    drop(idle);
    let mut garbage = TcpStream::connect(world.address()).await.unwrap();
    garbage.write_all(&[0xff; 300]).await.unwrap();
    // Refused or cut, but over.
    let mut rest = Vec::new();
    drop(timeout(WAIT, garbage.read_to_end(&mut rest)).await.expect("it ends in time"));
    let answered = async {
        loop {
            let answer = all(send(world.address(), &with_token("GET /v1/stats"), "").await).await;
            if answer.starts_with("HTTP/1.1 200 ") {
                return;
            }
        }
    };
    timeout(WAIT, answered).await.expect("places come free when clients go");
}

#[tokio::test]
async fn after_its_end_nobody_is_answered() {
    let world = World::new().await;
    let address = world.address();
    let mut trace = send(address, &with_token("GET /v1/trace"), "").await;
    timeout(WAIT, world.server.stop()).await.expect("it ends in time");
    // Ended, or reset where it had not been accepted yet.
    drop(timeout(WAIT, trace.read_to_end(&mut Vec::new())).await.expect("it ends in time"));
    assert!(TcpStream::connect(address).await.is_err());
}
