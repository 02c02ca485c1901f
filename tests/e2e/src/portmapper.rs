//! A portmapper of a test's own.

use std::fs;
use std::net::TcpStream;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::command::Run;

const DEADLINE: Duration = Duration::from_secs(20);

/// rpcbind in a network and with a /run of its own, which this thread has from then on, and whatever it starts: rpcbind
/// listens on every address, on a port that others have. It ends with this.
pub struct Portmapper(Child);

impl Portmapper {
    pub fn alone() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("root may");
        Run::bash("mount --make-rprivate / && mount -t tmpfs run /run && mkdir -p /run/rpcbind && ip link set lo up")
            .ok();
        let log = fs::File::create("/run/rpcbind.log").expect("a fresh folder");
        let mut portmapper = Self(Run::new("rpcbind").args(["-f", "-w"]).start(log));
        let begin = Instant::now();
        while TcpStream::connect("127.0.0.1:111").is_err() {
            assert!(portmapper.0.try_wait().expect("an own child").is_none(), "rpcbind ended");
            assert!(begin.elapsed() < DEADLINE, "rpcbind does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        portmapper
    }
}

impl Drop for Portmapper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
