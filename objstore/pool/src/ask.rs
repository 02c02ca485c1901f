//! Asking all drives the same question without being held up by one that hangs.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use objstore_shard::Drive;

use crate::pool::Inner;

/// A drive that has not answered a question, or finished a deletion, by then is not waited for.
pub(crate) const ASK_DEADLINE: Duration = Duration::from_secs(30);

/// How long a suspect drive is waited for: one that works answers such a question in microseconds.
const SUSPECT_PATIENCE: Duration = Duration::from_millis(5);

/// Who is waited for until the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// All but m drives.
    UpToParity,
    ForEveryone,
}

/// How much waiting has been done.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Waited {
    NotYet,
    ForSuspects,
    ForAll,
}

impl Inner {
    /// One answer per slot. Once all but m have answered, the others get a hedge delay, suspects a moment; they are
    /// then `TimedOut`. Which is right because whatever was acknowledged can be found without any m drives, as long as
    /// each holds one shard of it.
    pub(crate) async fn ask_all<T: Send>(
        &self,
        question: impl Fn(Arc<dyn Drive>) -> BoxFuture<'static, Result<T>>,
    ) -> Vec<Result<T>> {
        self.ask_all_with(Patience::UpToParity, question).await
    }

    pub(crate) async fn ask_all_with<T: Send>(
        &self,
        patience: Patience,
        question: impl Fn(Arc<dyn Drive>) -> BoxFuture<'static, Result<T>>,
    ) -> Vec<Result<T>> {
        let mut answers: Vec<Option<Result<T>>> = self.slots.iter().map(|_| None).collect();
        let mut asked = FuturesUnordered::new();
        for (slot, answer) in self.slots.iter().zip(&mut answers) {
            match slot.reach() {
                Ok(drive) => {
                    let reply = question(drive);
                    asked.push(async move { (slot, reply.await) });
                }
                Err(e) => *answer = Some(Err(e)),
            }
        }
        let mut timer = self.env.clock.sleep(SUSPECT_PATIENCE);
        let mut waited = Waited::NotYet;
        while !asked.is_empty() && !self.is_enough(&answers, patience, waited) {
            match select(asked.next(), timer).await {
                Either::Left((answered, rest)) => {
                    timer = rest;
                    if let Some((slot, reply)) = answered {
                        let reply = reply.inspect_err(|e| slot.failed(self.now(), e));
                        answers[usize::from(slot.number)] = Some(reply);
                    }
                }
                Either::Right(_) => {
                    let (next, limit) = match waited {
                        Waited::NotYet => (Waited::ForSuspects, self.hedge_delay()),
                        Waited::ForSuspects => (Waited::ForAll, ASK_DEADLINE),
                        Waited::ForAll => break,
                    };
                    waited = next;
                    timer = self.env.clock.sleep(limit);
                }
            }
        }
        answers.into_iter().enumerate().map(|(slot, answer)| answer.unwrap_or_else(|| Err(self.silent(slot)))).collect()
    }

    /// Whether those who have not answered may be left behind.
    fn is_enough<T>(&self, answers: &[Option<Result<T>>], patience: Patience, waited: Waited) -> bool {
        let answered = answers.iter().filter(|answer| matches!(answer, Some(Ok(_)))).count();
        let now = self.now();
        let only_suspects = || answers.iter().zip(&self.slots).all(|(a, slot)| a.is_some() || slot.is_suspect(now));
        let patience_is_over = match waited {
            Waited::NotYet => false,
            Waited::ForSuspects => only_suspects(),
            Waited::ForAll => true,
        };
        let dispensable = match patience {
            Patience::UpToParity => self.config.m,
            Patience::ForEveryone => 0,
        };
        answered + dispensable >= self.slots.len() && patience_is_over
    }

    fn silent(&self, slot: usize) -> Error {
        let slot = &self.slots[slot];
        slot.slow(self.now());
        Error::new(ErrorKind::TimedOut, "ask drive").entity(slot.path.display()).context("it does not answer")
    }

    /// The result of `work`, or `TimedOut`.
    pub(crate) async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match select(Box::pin(work), self.env.clock.sleep(limit)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(Error::new(ErrorKind::TimedOut, "use drive").context("it does not answer")),
        }
    }
}
