//! What an operator sees of the doors: counters, latencies, traces, the audit log, and the HTTP interface that shows
//! them.
//!
//! [`Observed`] stands between a door and its [`fs_api::Vfs`] and tells an [`Observatory`] about every operation; the
//! doors know nothing of it. [`metrics`] renders what was counted for Prometheus, and [`http`] serves it, together with
//! what a running service can be asked for. This crate decides nothing about files, and an operation that nobody
//! watches costs two looks at the clock and a few additions.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod audit;
mod counters;
pub mod http;
mod latency;
pub mod metrics;
mod names;
mod observatory;
mod observed;
mod op;
mod trace;

pub use audit::{AuditConfig, AuditLog};
pub use counters::{ClientStats, DoorStats, OpStats};
pub use latency::{Latency, LatencyStats};
pub use observatory::{Observatory, Stats};
pub use observed::Observed;
pub use op::Op;
pub use trace::{Line, Trace, TraceFilter};
