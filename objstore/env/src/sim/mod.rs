//! A machine in memory: the adapters behind [`Env`](crate::Env) in deterministic simulation.
//!
//! The real journal, engine and pool run on it unchanged. The disk forgets what was not synced; the clock is virtual;
//! tasks take turns on one thread; chance comes from one seed. A failing run is repeated by its seed.

mod clock;
mod content;
mod disk;
mod faults;
mod file;
mod latency;
mod names;
mod pages;
mod rng;
mod state;
mod survival;
mod tasks;
mod trace;
mod world;

pub use clock::SimClock;
pub use disk::{Counts, SimDisk};
pub use faults::{Effect, Fault, FaultId, Ops, When};
pub use latency::Latency;
pub use rng::SimRng;
pub use survival::Survival;
pub use tasks::SimTasks;
pub use trace::{Replay, Trace};
pub use world::SimWorld;
