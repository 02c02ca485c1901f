//! What the worker knows about itself: failures, rate, totals, and how far the pool has come.

use std::time::Duration;

use cache_journal::{Lsn, SegmentId};
use objstore_base::{Error, ErrorKind};
use objstore_env::Rng;

use crate::WriteBackConfig;
use crate::rate::Rate;
use crate::status::UploadTotals;

/// What flushes wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// Every record up to here is in the pool.
    pub in_pool: Lsn,
    /// The head of the line fails in a way that waiting does not mend.
    pub stuck: Option<(ErrorKind, String)>,
}

/// Uploads fail since `since`; the latest one as `kind` and `message` say.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub segment: Option<SegmentId>,
    pub kind: ErrorKind,
    pub message: String,
    pub attempts: u32,
    pub since: Duration,
    pub retry_at: Duration,
}

#[derive(Default)]
pub(crate) struct Progress {
    pub failure: Option<Failure>,
    pub in_flight: Vec<SegmentId>,
    pub rate: Rate,
    pub totals: UploadTotals,
}

impl Progress {
    /// Notes a failed attempt and gives the delay until the next one: chance below a bound that doubles (full
    /// jitter), so that clients of a store that came back do not all come at once.
    pub(crate) fn failed(
        &mut self,
        segment: Option<SegmentId>,
        error: &Error,
        now: Duration,
        config: &WriteBackConfig,
        delay_max: Duration,
        rng: &dyn Rng,
    ) -> Duration {
        let attempts = self.failure.as_ref().map_or(0, |f| f.attempts).saturating_add(1);
        let since = self.failure.as_ref().map_or(now, |f| f.since);
        let doubled = config.retry_delay_min.saturating_mul(1 << (attempts - 1).min(20));
        let bound = if waiting_helps(error.kind()) { doubled.min(delay_max) } else { config.retry_delay_max };
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let delay = Duration::from_micros(rng.below(micros) + 1);
        let (kind, message) = (error.kind(), error.to_string());
        self.failure = Some(Failure { segment, kind, message, attempts, since, retry_at: now + delay });
        delay
    }

    /// Sealing works again; a failure of an upload stays.
    pub(crate) fn sealed(&mut self) {
        self.failure.take_if(|failure| failure.segment.is_none());
    }

    pub(crate) fn succeeded(&mut self) {
        self.failure = None;
    }
}

/// Whether a later attempt may succeed without anybody doing something: the store is away, slow, or full.
pub(crate) const fn waiting_helps(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::Io
            | ErrorKind::NoSpace
            | ErrorKind::Busy
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
    )
}
