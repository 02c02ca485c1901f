//! What a server serves: programs, their calls, and how a call is refused.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use objstore_base::BoxFuture;

use crate::xdr::{Body, Decoder};

/// Who the client says is calling. AUTH_SYS proves nothing; what it is worth is the program's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    /// At most 16 gids and 255 bytes of machine name.
    Sys {
        machine: Bytes,
        uid: u32,
        gid: u32,
        gids: Vec<u32>,
    },
}

#[derive(Debug)]
pub struct Call {
    pub xid: u32,
    pub version: u32,
    pub procedure: u32,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub auth: Auth,
    /// Slices of the received record: they keep it in memory as long as they live.
    pub args: Decoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    ProcedureUnavailable,
    GarbageArguments,
    SystemError,
    AuthTooWeak,
    AuthBad,
    /// No reply: the same call is being served already.
    Drop,
}

/// One RPC program. `call` is polled once on the connection's own task: what is ready then is answered without a task
/// of its own, so it must not block. Calls of one connection run side by side and their replies may change places.
pub trait Program: Send + Sync + 'static {
    fn number(&self) -> u32;
    fn versions(&self) -> RangeInclusive<u32>;
    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>>;
}
