//! Locks over the network: NLM version 4 (program 100021) and the status monitor, NSM version 1 (program 100024), beside
//! the NFS door.
//!
//! A thin adapter: a lock is a POSIX lock of the [`fs_api::Vfs`] under this door's number, so NLM clients, FUSE and every
//! other door see each other's. What is added is what the protocol asks of a server: who holds what, so that a client
//! which restarted loses it; calls back to those who wait; the memory of who has to be told when this server restarts.
//! Handles, shares and credentials are judged by the NFS door. `SEMANTICS.md` says what it promises.
//!
//! Invariants: I1 what a client holds or waits for in the table of locks is also in its record here, so it can be taken
//! away as a whole. I2 a client is on the durable list before its first monitored lock is granted. I3 everything that a
//! client can make grow has a bound, its own and that of all clients.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod callback;
mod client;
mod door;
mod freeing;
mod grace;
mod grant;
mod limits;
mod locking;
mod monitor;
mod monitor_file;
mod notify;
pub mod protocol;
mod range;
mod reservations;
mod status_monitor;
mod waiter;

pub use door::{NlmDoor, NlmOptions};
pub use limits::NlmLimits;
pub use monitor::{MemoryMonitors, MonitorStore, Monitored};
pub use monitor_file::FileMonitors;
pub use status_monitor::StatusMonitor;
