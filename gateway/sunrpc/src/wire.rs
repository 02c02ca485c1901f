//! The sending half of a connection, shared by the connection and the calls that it started.

use std::io;

use parking_lot::{Mutex, MutexGuard};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use crate::message::Answer;
use crate::outbox::Outbox;
use crate::program::Refusal;
use crate::xdr::Body;

pub(crate) type Outcome = Result<Body, Refusal>;

/// A call that was started finds it gone where its connection is.
pub(crate) struct Wire {
    half: OwnedWriteHalf,
    out: Mutex<Out>,
    /// Replies are there that the connection has to see to.
    arrived: Notify,
}

#[derive(Default)]
pub(crate) struct Out {
    outbox: Outbox,
    /// Somebody sends what was in the outbox, without the lock: what comes meanwhile waits for its turn.
    sending: bool,
    inflight: usize,
    /// The connection waits for the end of calls, not for its client alone.
    attentive: bool,
}

impl Wire {
    pub(crate) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, out: Mutex::default(), arrived: Notify::new() }
    }

    /// What `look` finds.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Out) -> T) -> T {
        look(&mut self.out.lock())
    }

    /// Sends what the socket takes and gives how much that was, and how much is left that nobody sends.
    pub(crate) fn send(&self) -> io::Result<(usize, usize)> {
        let mut out = self.out.lock();
        if out.sending || out.outbox.bytes() == 0 {
            return Ok((0, 0));
        }
        let (sent, left, _) = self.send_unlocked(&mut out)?;
        Ok((sent, left))
    }

    /// Sends until nothing is left or the socket takes no more; `out` is unlocked meanwhile. Gives the bytes sent, those
    /// left, and whether the connection wants to hear of it.
    fn send_unlocked(&self, out: &mut MutexGuard<'_, Out>) -> io::Result<(usize, usize, bool)> {
        out.sending = true;
        let mut total = 0;
        loop {
            let mut batch = std::mem::take(&mut out.outbox);
            let sent = MutexGuard::unlocked(out, || batch.send(self.half.as_ref()));
            let blocked = batch.bytes() > 0;
            out.outbox.return_first(batch);
            total += *sent.as_ref().unwrap_or(&0);
            if blocked || out.outbox.bytes() == 0 {
                out.sending = false;
                sent?;
                return Ok((total, out.outbox.bytes(), out.attentive));
            }
        }
    }

    /// Ends a call. The last one under way sends its reply itself: its client waits for nothing else, and nobody has to wake
    /// up for it. Replies of several go out together, by the connection.
    pub(crate) fn finish(&self, xid: u32, outcome: Outcome) {
        {
            let mut out = self.out.lock();
            out.inflight -= 1;
            let alone = out.inflight == 0 && out.outbox.bytes() == 0 && !out.sending && !out.attentive;
            out.reply(xid, outcome);
            // What fails here fails the connection too.
            if alone && matches!(self.send_unlocked(&mut out), Ok((_, 0, false))) {
                return;
            }
        }
        self.arrived.notify_one();
    }

    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Out {
    pub(crate) const fn bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Whether every reply so far is with the socket.
    pub(crate) const fn all_sent(&self) -> bool {
        self.outbox.bytes() == 0 && !self.sending
    }

    /// Whether there are replies that the socket did not take. Whoever sends tells the connection what is left.
    pub(crate) const fn waits_for_socket(&self) -> bool {
        self.outbox.bytes() > 0 && !self.sending
    }

    pub(crate) const fn inflight(&self) -> usize {
        self.inflight
    }

    pub(crate) fn begin(&mut self) {
        self.inflight += 1;
    }

    /// Whether the connection hears of the end of every call from here on.
    pub(crate) fn attend(&mut self, attentive: bool) {
        self.attentive = attentive;
    }

    pub(crate) fn answer(&mut self, xid: u32, answer: Answer) {
        self.outbox.answer(xid, answer, None);
    }

    pub(crate) fn reply(&mut self, xid: u32, outcome: Outcome) {
        match outcome {
            Ok(body) => self.outbox.answer(xid, Answer::Success, Some(body)),
            Err(refusal) => {
                if let Some(answer) = Answer::of(refusal) {
                    self.answer(xid, answer);
                }
            }
        }
    }

    /// Gives the memory of a silent connection back.
    pub(crate) fn rest(&mut self) {
        self.outbox.rest();
    }
}
