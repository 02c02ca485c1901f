//! The HTTP interface: what a running service can be asked for, what it counts, and what goes through it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | everything counted, for Prometheus |
//! | `GET /v1/stats` | operations of each door, JSON |
//! | `GET /v1/trace?door=&share=&client=&path=&op=&errors_only=&slower_than_us=` | one JSON line per operation, until the client goes |
//! | `POST /v1/ask` | the answer to the JSON request in the body, as JSON lines: the same requests and answers that commands use |
//!
//! Every request carries the token (`Authorization: Bearer …`), whatever address it comes from: a web page that a browser
//! on this machine shows could reach a loopback port, too. Connections, heads, bodies and waits are bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use objstore_base::{BoxFuture, Error, Result};
use objstore_env::{Env, TaskHandle};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::metrics;
use crate::observatory::Observatory;
use crate::trace::TraceFilter;

const CONNECTIONS_MAX: usize = 64;
/// A client that has not sent its request's head by then is let go.
const HEAD_WAIT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
/// After a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// Answer lines that wait for a slow client; whoever makes them waits with it.
const LINES_WAITING_MAX: usize = 16;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the service adds.
pub trait Api: Send + Sync {
    /// Answers the JSON `request` with lines of JSON, each with its newline; the last is the result. Ends early where
    /// nobody takes the lines any more.
    fn ask(&self, request: Bytes, lines: mpsc::Sender<Bytes>) -> BoxFuture<'_, ()>;

    /// Values beside those of the doors, of one name next to each other.
    fn values(&self) -> BoxFuture<'_, Vec<metrics::Value>>;
}

/// A listening interface.
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: Box<dyn TaskHandle>,
}

struct Shared {
    env: Env,
    token: String,
    observatory: Arc<Observatory>,
    api: Arc<dyn Api>,
    connections: Semaphore,
}

impl HttpServer {
    /// Answers on `listener` those who carry `token`.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty token; what the system says where the listener has no address.
    pub fn start(
        env: &Env,
        listener: TcpListener,
        token: String,
        observatory: Arc<Observatory>,
        api: Arc<dyn Api>,
    ) -> Result<Self> {
        const OP: &str = "listen for the admin interface";
        if token.is_empty() {
            return Err(Error::new(objstore_base::ErrorKind::InvalidArgument, OP).context("the token is empty"));
        }
        let address = listener.local_addr().map_err(|error| Error::io(OP, error))?;
        let shared = Arc::new(Shared {
            env: env.clone(),
            token,
            observatory,
            api,
            connections: Semaphore::new(CONNECTIONS_MAX),
        });
        let (stop, stopped) = watch::channel(false);
        let accepting = env.tasks.spawn("admin", Box::pin(accept(listener, shared, stopped)));
        Ok(Self { address, stop, accepting })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more and ends what is open.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.accepting.join().await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender goes with the server.
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                let tasks = Arc::clone(&shared.env.tasks);
                drop(tasks.spawn("admin connection", Box::pin(talk(stream, peer, shared, stopped))));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting an admin connection failed");
                shared.env.clock.sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let Ok(_place) = shared.connections.try_acquire() else {
        tracing::warn!(%peer, "too many admin connections");
        return;
    };
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%peer, %error, "an admin connection broke");
        },
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    if !is_authorised(&request, &shared.token) {
        return refuse(StatusCode::UNAUTHORIZED, "this needs the header Authorization: Bearer and the service's token");
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => show_metrics(shared).await,
        (&Method::GET, "/v1/stats") => show_stats(shared),
        (&Method::GET, "/v1/trace") => trace(request.uri().query().unwrap_or_default(), shared),
        (&Method::POST, "/v1/ask") => ask(request.into_body(), shared).await,
        (_, "/metrics" | "/v1/stats" | "/v1/trace" | "/v1/ask") => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST for /v1/ask")
        }
        _ => refuse(StatusCode::NOT_FOUND, "there are /metrics, /v1/stats, /v1/trace and /v1/ask"),
    }
}

fn is_authorised(request: &Request<Incoming>, token: &str) -> bool {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| given.ct_eq(token.as_bytes()).into())
}

async fn show_metrics(shared: &Shared) -> Response<Body> {
    let values = shared.api.values().await;
    match metrics::text(shared.observatory.doors(), values) {
        Ok(text) => respond(StatusCode::OK, metrics::CONTENT_TYPE, full(text.into())),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn show_stats(shared: &Shared) -> Response<Body> {
    match serde_json::to_vec(&shared.observatory.stats(&*shared.env.clock)) {
        Ok(bytes) => respond(StatusCode::OK, "application/json", full(bytes.into())),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn trace(query: &str, shared: &Shared) -> Response<Body> {
    let filter = match parse_filter(query) {
        Ok(filter) => filter,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    let Some(trace) = shared.observatory.trace(filter) else {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many watch already");
    };
    let lines = stream::unfold(trace, |mut trace| async move {
        let line = trace.next().await?;
        let mut bytes = serde_json::to_vec(&*line).unwrap_or_default();
        bytes.push(b'\n');
        let lost = trace.lost();
        if lost > 0 {
            bytes.extend_from_slice(format!("{{\"lost_lines\":{lost}}}\n").as_bytes());
        }
        Some((Ok(Frame::data(Bytes::from(bytes))), trace))
    });
    respond(StatusCode::OK, "application/x-ndjson", StreamBody::new(lines).boxed_unsync())
}

async fn ask(body: Incoming, shared: &Arc<Shared>) -> Response<Body> {
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is not whole, or longer than 64 KiB");
    };
    let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
    let (api, request) = (Arc::clone(&shared.api), body.to_bytes());
    // The work goes on with the connection: who leaves ends it.
    let asked = stream::once(async move { api.ask(request, sender).await }).filter_map(|()| async { None });
    let answers = stream::unfold(lines, |mut lines| async move { Some((lines.recv().await?, lines)) });
    let both = stream::select(asked, answers.map(|line| Ok(Frame::data(line))));
    respond(StatusCode::OK, "application/x-ndjson", StreamBody::new(both).boxed_unsync())
}

/// `name=value&…`, with the names of [`TraceFilter`].
fn parse_filter(query: &str) -> Result<TraceFilter, String> {
    let mut filter = TraceFilter::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = decode(value).ok_or_else(|| format!("{name}: this is not UTF-8 in percent encoding"))?;
        match name {
            "door" => filter.door = Some(value),
            "share" => filter.share = Some(value),
            "client" => filter.client = Some(value),
            "path" => filter.path = Some(value),
            "op" => filter.op = Some(value),
            "errors_only" => filter.errors_only = matches!(value.as_str(), "" | "1" | "true"),
            "slower_than_us" => {
                filter.slower_than_us = value.parse().map_err(|_| format!("{name}: {value} is no number"))?;
            }
            _ => return Err(format!("{name}: not known")),
        }
    }
    Ok(filter)
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = behind;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let text = serde_json::json!({ "error": why }).to_string();
    respond(status, "application/json", full(text.into()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_a_filter_or_an_error_that_names_its_part() {
        let filter = parse_filter("path=%2Fa%20b&errors_only&slower_than_us=5&client=::1").expect("it is well formed");
        assert_eq!(filter.path.as_deref(), Some("/a b"));
        assert_eq!(filter.client.as_deref(), Some("::1"));
        assert!(filter.errors_only && filter.slower_than_us == 5);
        assert_eq!(parse_filter(""), Ok(TraceFilter::default()));
        for bad in ["path=%2", "path=%zz", "path=%ff", "slower_than_us=x", "nonsense=1"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
