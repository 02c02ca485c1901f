//! ONC RPC version 2 (RFC 5531) over TCP: framing, XDR (RFC 4506), AUTH_NONE and AUTH_SYS, a server and a small client;
//! over UDP a server for small calls.
//!
//! The transport under the NFS door; it knows no file and no procedure. What it keeps: no count from the wire is
//! believed before the bytes are there, every buffer, queue and wait has a bound, a client that is slow, silent or
//! lying costs only itself, and a panic in a handler ends one call.
//!
//! Nothing was taken from `nfsserve` and its forks but the lesson: they allocate what a record header announces (2 GiB
//! for four bytes), trust XDR counts, spend a task and channel hops on each call, and hand no credentials on. The
//! framing loop here answers a call that needs no waiting on the connection's own task and sends all replies that are
//! ready with one vectored write; payloads are slices of what was received, and are sent without a copy.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod client;
mod connection;
mod datagram;
mod limits;
mod memory;
mod message;
mod outbox;
pub mod portmap;
mod program;
mod record;
mod server;
mod wire;
pub mod xdr;

pub use datagram::DatagramServer;
pub use limits::{Hooks, Limits};
pub use program::{Auth, Call, Program, Refusal};
pub use server::Server;
pub use xdr::Body;
