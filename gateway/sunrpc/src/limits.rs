//! Bounds of a server, and what of the machine it is handed.

use std::sync::Arc;
use std::time::Duration;

use objstore_env::{Clock, Env, Tasks};

#[derive(Debug, Clone)]
pub struct Limits {
    /// A record's bytes; a header that announces more ends the connection.
    pub record_bytes_max: usize,
    /// Calls of one connection that are being served; beyond them it is not read.
    pub inflight_per_connection: usize,
    /// Bytes of long records over all connections; beyond them the connections that want more are not read.
    pub inflight_bytes_total: usize,
    /// The part of them that one client (address) may have; its further connections wait for each other.
    pub inflight_bytes_per_client: usize,
    pub connections_max: usize,
    pub connections_per_client_max: usize,
    /// A connection without a call for this long is closed; clients connect again.
    pub idle: Duration,
    /// From the first byte of a record to its last.
    pub request_read_timeout: Duration,
    /// A client that takes no reply bytes for this long is closed.
    pub reply_write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest WRITE (1 MiB) and the room its header, credentials and handle need.
            record_bytes_max: (1 << 20) + 4096,
            // Linux opens up to 64 slots at first, 65,536 at most; 128 MiB of largest writes would be too many.
            inflight_per_connection: 128,
            // 48 MiB: growth stays below 64 MiB with what allocators keep.
            inflight_bytes_total: 48 << 20,
            // Half: a client that never finishes what it began leaves as much to the others, and 24 of the largest
            // writes on their way keep any network busy.
            inflight_bytes_per_client: 24 << 20,
            connections_max: 8192,
            // nconnect=16 of a few hundred mounts behind one address.
            connections_per_client_max: 4096,
            // Linux clients close after five minutes themselves.
            idle: Duration::from_secs(360),
            request_read_timeout: Duration::from_secs(10),
            reply_write_timeout: Duration::from_secs(30),
        }
    }
}

/// Time and tasks, handed down.
#[derive(Clone)]
pub struct Hooks {
    pub clock: Arc<dyn Clock>,
    pub tasks: Arc<dyn Tasks>,
}

impl From<&Env> for Hooks {
    fn from(env: &Env) -> Self {
        Self { clock: env.clock.clone(), tasks: env.tasks.clone() }
    }
}
