//! One connection: reads records, answers calls, sends replies, all on one task.
//!
//! A call whose future is ready at its first poll costs no task, no channel and no wake-up. One that is not becomes a
//! task that lays its reply down at the [`Wire`]. While the client owes reads of its replies, has too many calls in
//! flight, or wants memory that others hold, it is not read: TCP slows it down, and nobody else.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use objstore_base::BoxFuture;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;

use crate::memory::{Budget, Memory};
use crate::message::{NotACall, take_call};
use crate::program::{Call, Program, Refusal};
use crate::record::{Broken, Records};
use crate::server::{Open, Phase, Shared};
use crate::wire::{Out, Outcome, Wire};
use crate::xdr::Decoder;

/// Replies a client may leave unread before its calls wait: two of the largest READs and their neighbours.
const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Less progress than this does not prolong a client's time to take its replies.
const PROGRESS_BYTES: usize = 64 << 10;
/// Rounds without a wait after which other tasks get their turn.
const ROUNDS_MAX: u32 = 32;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client left, was idle, or the server drains.
    Quiet,
    NotRpc,
    Broken(Broken),
    Slow(&'static str),
}

pub(crate) struct Connection {
    stream: OwnedReadHalf,
    wire: Arc<Wire>,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    peer: SocketAddr,
    local: SocketAddr,
    records: Records,
    /// The client has sent its last byte.
    eof: bool,
    budget: Budget,
    permit: Option<Memory>,
    permit_wait: Option<BoxFuture<'static, Option<Memory>>>,
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
    partial_since: Option<Duration>,
    unsent_since: Option<Duration>,
    progress: usize,
    /// A call came since `called_at` was set; the clock is read once per wait, not per call.
    called: bool,
    called_at: Duration,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, [peer, local]: [SocketAddr; 2], budget: Budget, shared: Arc<Shared>) -> Self {
        let now = shared.hooks.clock.monotonic();
        let (stream, write) = stream.into_split();
        Self {
            stream,
            wire: Arc::new(Wire::new(write)),
            phase: shared.phase.subscribe(),
            peer,
            local,
            records: Records::new(shared.limits.record_bytes_max),
            eof: false,
            budget,
            permit: None,
            permit_wait: None,
            timer: None,
            partial_since: None,
            unsent_since: None,
            progress: 0,
            called: false,
            called_at: now,
            shared,
        }
    }

    pub(crate) async fn serve(mut self) -> End {
        let mut rounds = 0;
        loop {
            let phase = *self.phase.borrow_and_update();
            if phase == Phase::Killed {
                return End::Quiet;
            }
            match self.turn(phase) {
                Err(end) => return end,
                Ok(true) if rounds < ROUNDS_MAX => rounds += 1,
                Ok(true) => {
                    rounds = 0;
                    tokio::task::yield_now().await;
                }
                Ok(false) => {
                    rounds = 0;
                    if let Err(end) = self.wait(phase).await {
                        return end;
                    }
                }
            }
        }
    }

    /// One round without waiting; whether bytes came in, so that another round is worth it.
    fn turn(&mut self, phase: Phase) -> Result<bool, End> {
        if phase == Phase::Running {
            self.dispatch()?;
        }
        self.send()?;
        if self.wire.with(|out| self.is_over(phase, out)) {
            return Err(End::Quiet);
        }
        self.receive(phase)
    }

    fn is_over(&self, phase: Phase, out: &Out) -> bool {
        (self.eof || phase == Phase::Draining) && out.inflight() == 0 && out.all_sent()
    }

    fn may_call(&self, out: &Out) -> bool {
        out.inflight() < self.shared.limits.inflight_per_connection && out.bytes() < BACKLOG_BYTES_MAX
    }

    fn may_read(&self, phase: Phase, out: &Out) -> bool {
        phase == Phase::Running
            && !self.eof
            && self.may_call(out)
            && (self.permit.is_some() || self.records.wants().is_none())
    }

    fn dispatch(&mut self) -> Result<(), End> {
        while self.wire.with(|out| self.may_call(out)) {
            let Some(record) = self.records.next().map_err(End::Broken)? else { break };
            self.partial_since = None;
            self.called = true;
            let permit = self.permit.take();
            self.answer(record, permit)?;
        }
        Ok(())
    }

    fn answer(&mut self, record: Bytes, permit: Option<Memory>) -> Result<(), End> {
        let mut args = Decoder::new(record);
        let head = match take_call(&mut args) {
            Ok(head) => head,
            Err(NotACall::Garbage) => return Err(End::NotRpc),
            Err(NotACall::Refused(xid, answer)) => {
                self.wire.with(|out| out.answer(xid, answer));
                return Ok(());
            }
        };
        let program = match self.shared.find(head.program, head.version) {
            Ok(program) => program,
            Err(answer) => {
                self.wire.with(|out| out.answer(head.xid, answer));
                return Ok(());
            }
        };
        let (xid, version, procedure) = (head.xid, head.version, head.procedure);
        let (peer, local) = (self.peer, self.local);
        let call = Call { xid, version, procedure, peer, local, auth: head.auth, args };
        match begin(program, call) {
            Begun::Ready(outcome) => self.wire.with(|out| out.reply(xid, outcome)),
            Begun::Pending(future) => self.spawn(xid, future, permit),
        }
        Ok(())
    }

    fn spawn(&mut self, xid: u32, future: BoxFuture<'static, Outcome>, permit: Option<Memory>) {
        self.wire.with(Out::begin);
        let (wire, open, mut killed) =
            (Arc::downgrade(&self.wire), Open::new(&self.shared), self.shared.phase.subscribe());
        let task = async move {
            let outcome = tokio::select! {
                outcome = AssertUnwindSafe(future).catch_unwind() => outcome.unwrap_or(Err(Refusal::SystemError)),
                _ = killed.wait_for(|phase| *phase == Phase::Killed) => Err(Refusal::Drop),
            };
            if let Some(wire) = wire.upgrade() {
                wire.finish(xid, outcome);
            }
            drop((permit, open));
        };
        // Not joined one by one: the server counts it through `open` and waits for the count.
        drop(self.shared.hooks.tasks.spawn("rpc call", task.boxed()));
    }

    fn send(&mut self) -> Result<(), End> {
        let (sent, left) = self.wire.send().map_err(|_| End::Quiet)?;
        self.progress += sent;
        if left == 0 || self.progress >= PROGRESS_BYTES {
            self.unsent_since = None;
            self.progress = 0;
        }
        Ok(())
    }

    fn receive(&mut self, phase: Phase) -> Result<bool, End> {
        if !self.wire.with(|out| self.may_read(phase, out)) {
            return Ok(false);
        }
        // Not `try_read_buf`: a read that leaves room tells the runtime that the socket is empty, and the wait that follows
        // needs no second read to learn it. Not ready may also mean that other tasks are due: the wait sees to both.
        match self.stream.read_buf(self.records.room()).now_or_never() {
            Some(Ok(0)) => {
                self.eof = true;
                Ok(true)
            }
            Some(Ok(_)) => Ok(true),
            Some(Err(_)) => Err(End::Quiet),
            None => Ok(false),
        }
    }

    /// Until there is something to do; ends the connection where the client has used up its time.
    async fn wait(&mut self, phase: Phase) -> Result<(), End> {
        self.records.rest();
        self.ask_for_memory(phase);
        let (reads, writes, calls, over) = self.wire.with(|out| {
            out.rest();
            let reads = self.may_read(phase, out);
            out.attend(!reads);
            (reads, out.waits_for_socket(), out.inflight(), self.is_over(phase, out))
        });
        if over {
            return Ok(());
        }
        self.arm(reads, writes, calls > 0)?;
        let interest = match (reads, writes) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let asked = self.permit_wait.is_some();
        let timer = &mut self.timer.as_mut().expect("armed above").1;
        tokio::select! {
            biased;
            ready = self.stream.ready(interest), if reads || writes => {
                ready.map_err(|_| End::Quiet)?;
            }
            () = self.wire.arrived() => {}
            permit = async { self.permit_wait.as_mut().expect("asked").await }, if asked => {
                self.permit_wait = None;
                self.permit = permit;
            }
            _ = self.phase.changed() => {}
            () = timer => self.timer = None,
        }
        Ok(())
    }

    /// A record longer than the free chunk waits for its share of the memory, in turn with the others, and for all of it
    /// at once: whoever holds a share can finish.
    fn ask_for_memory(&mut self, phase: Phase) {
        if phase != Phase::Running || self.permit.is_some() || self.permit_wait.is_some() {
            return;
        }
        if let Some(bytes) = self.records.wants().filter(|_| self.wire.with(|out| self.may_call(out))) {
            self.permit_wait = Some(self.budget.ask(bytes, &self.shared.limits));
        }
    }

    /// Sets the timer for the first of the client's deadlines.
    fn arm(&mut self, reads: bool, writes: bool, calls: bool) -> Result<(), End> {
        let limits = &self.shared.limits;
        let now = self.shared.hooks.clock.monotonic();
        // Only what the client owes counts: not the time in which it is not read.
        let owes = reads && self.records.is_partial();
        self.partial_since = owes.then(|| self.partial_since.unwrap_or(now));
        if writes {
            self.unsent_since.get_or_insert(now);
        }
        if self.called || calls || self.permit_wait.is_some() {
            self.called = false;
            self.called_at = now;
        }
        let deadlines = [
            (self.partial_since.map(|at| at + limits.request_read_timeout), End::Slow("did not finish a request")),
            (self.unsent_since.map(|at| at + limits.reply_write_timeout), End::Slow("did not take its replies")),
            (Some(self.called_at + limits.idle), End::Quiet),
        ];
        let (mut first, mut reason) = (Duration::MAX, End::Quiet);
        for (at, end) in deadlines {
            if let Some(at) = at.filter(|at| *at < first) {
                (first, reason) = (at, end);
            }
        }
        if first <= now {
            return Err(reason);
        }
        if self.timer.as_ref().is_none_or(|(at, _)| first < *at) {
            self.timer = Some((first, self.shared.hooks.clock.sleep(first - now)));
        }
        Ok(())
    }
}

/// Ready with the outcome, or the future that goes on.
enum Begun {
    Ready(Outcome),
    Pending(BoxFuture<'static, Outcome>),
}

/// The first poll. Its waker does nothing: a future that is not ready is polled again by the task it is moved to.
fn begin(program: Arc<dyn Program>, call: Call) -> Begun {
    let begun = catch_unwind(AssertUnwindSafe(|| {
        let mut future = program.call(call);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Begun::Ready(outcome),
            Poll::Pending => Begun::Pending(future),
        }
    }));
    begun.unwrap_or(Begun::Ready(Err(Refusal::SystemError)))
}
