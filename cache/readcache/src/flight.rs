//! Single flight: one fetch of a frame at a time, however many wait, and whoever of them gives up.
//!
//! A flight is driven by those who wait for it: when one is cancelled the others go on, when all are it ends. Bytes are
//! seen by a waiter only through the finished result, which owns them; a fetch that was cut off hands nothing to anyone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cache_journal::FrameId;
use futures::FutureExt;
use futures::future::{Shared, WeakShared};
use objstore_base::{BoxFuture, Error};
use parking_lot::Mutex;

/// The frames that a flight brought, or why it failed: both are shared by all who waited.
pub(crate) type Landed = Result<Arc<BTreeMap<FrameId, Bytes>>, Arc<Error>>;
pub(crate) type Flight = Shared<BoxFuture<'static, Landed>>;

#[derive(Default)]
struct Board {
    flights: BTreeMap<FrameId, (u64, WeakShared<BoxFuture<'static, Landed>>)>,
    next: u64,
}

/// The flights in the air, by frame.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<Board>>);

/// Takes a flight's frames off the board when it has landed or was given up.
struct Landing {
    flights: Flights,
    number: u64,
    frames: Vec<FrameId>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.flights.0.lock();
        for frame in &self.frames {
            // Another flight may have begun after all who waited for this one were gone.
            if board.flights.get(frame).is_some_and(|(number, _)| *number == self.number) {
                board.flights.remove(frame);
            }
        }
    }
}

impl Flights {
    pub(crate) fn holds(&self, frame: FrameId) -> bool {
        self.0.lock().flights.contains_key(&frame)
    }

    /// For each of `frames` the flight that brings it: one in the air, or one that `start` makes for all frames that
    /// nobody is fetching. The second value lists those.
    pub(crate) fn board(
        &self,
        frames: &[FrameId],
        start: impl FnOnce(Vec<FrameId>) -> BoxFuture<'static, Landed>,
    ) -> (Vec<(FrameId, Flight)>, usize) {
        // Declared before the guard, so dropped after it: the last handle of a flight runs `Landing::drop`.
        let mut boarded = Vec::with_capacity(frames.len());
        let mut own = Vec::new();
        let mut board = self.0.lock();
        for frame in frames {
            match board.flights.get(frame).and_then(|(_, flight)| flight.upgrade()) {
                Some(flight) => boarded.push((*frame, flight)),
                None => own.push(*frame),
            }
        }
        own.sort_unstable();
        own.dedup();
        let started = own.len();
        if started > 0 {
            let number = board.next;
            board.next += 1;
            let landing = Landing { flights: self.clone(), number, frames: own.clone() };
            let journey = start(own.clone());
            let flight = async move {
                let landed = journey.await;
                drop(landing);
                landed
            };
            let flight = flight.boxed().shared();
            let weak = flight.downgrade().expect("it has not run, so it is not finished");
            for frame in &own {
                board.flights.insert(*frame, (number, weak.clone()));
                boarded.push((*frame, flight.clone()));
            }
        }
        drop(board);
        (boarded, started)
    }
}
