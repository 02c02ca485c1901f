//! [`SimWorld`]: one machine, one seed, one schedule.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::clock::SimClock;
use super::disk::SimDisk;
use super::rng::SimRng;
use super::survival::Survival;
use super::tasks::SimTasks;
use crate::{Clock, Env, Failpoints, Rng};

/// Streams under the world's seed; the disk's own is in its file.
const PROGRAM_STREAM: u64 = 2;
const SCHEDULE_STREAM: u64 = 3;
const TEST_STREAM: u64 = 4;

/// A machine with a disk, clocks and a processor. The same seed and the same program give the same run, step for step,
/// as long as the program draws on nothing but its [`Env`] (which rules out the order of a `HashMap`, and a
/// `tokio::select!` without `biased`).
pub struct SimWorld {
    seed: u64,
    runtime: Option<Runtime>,
    disk: SimDisk,
    clock: SimClock,
    skew: Arc<AtomicI64>,
    program: Arc<SimRng>,
    schedule: Arc<SimRng>,
    test: SimRng,
    failpoints: Failpoints,
}

impl SimWorld {
    pub fn new(seed: u64) -> Self {
        Self::with_disk(seed, SimDisk::new(seed))
    }

    /// A machine with a disk that has a past: a crash image.
    pub fn with_disk(seed: u64, disk: SimDisk) -> Self {
        let runtime = runtime();
        let skew = Arc::<AtomicI64>::default();
        Self {
            seed,
            clock: SimClock::after(runtime.handle().clone(), Duration::ZERO, Arc::clone(&skew)),
            runtime: Some(runtime),
            disk,
            skew,
            program: Arc::new(SimRng::stream(seed, PROGRAM_STREAM)),
            schedule: Arc::new(SimRng::stream(seed, SCHEDULE_STREAM)),
            test: SimRng::stream(seed, TEST_STREAM),
            failpoints: Failpoints::none(),
        }
    }

    pub const fn seed(&self) -> u64 {
        self.seed
    }

    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub const fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The test's own generator, apart from the program's.
    pub const fn rng(&self) -> &SimRng {
        &self.test
    }

    /// Takes effect in environments made afterwards.
    pub fn set_failpoints(&mut self, failpoints: Failpoints) {
        self.failpoints = failpoints;
    }

    /// The environment of a program that runs on this machine until it crashes.
    pub fn env(&self) -> Env {
        let tasks = SimTasks::new(self.running().handle().clone(), Arc::clone(&self.schedule), self.disk.latency());
        Env {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::clone(&self.program) as Arc<dyn Rng>,
            tasks: Arc::new(tasks),
            failpoints: self.failpoints.clone(),
        }
    }

    /// Runs until `future` is done; other tasks run meanwhile and stand still afterwards.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.running().block_on(future)
    }

    /// Lets `duration` of virtual time pass, with everything that is due in it.
    pub fn pass(&self, duration: Duration) {
        self.run(self.clock.sleep(duration));
    }

    /// Kills the program at once, with every task of it, and starts the machine again: the disk keeps what `survival`
    /// says, monotonic time begins anew, wall time goes on. The old environment is dead.
    pub fn crash(&mut self, survival: Survival) {
        self.disk.power_off();
        let before = self.clock.total();
        self.runtime = None;
        let runtime = runtime();
        self.clock = SimClock::after(runtime.handle().clone(), before, Arc::clone(&self.skew));
        self.runtime = Some(runtime);
        self.disk = self.disk.crash(survival);
    }

    fn running(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is gone only inside `crash`")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O needs nothing")
}
