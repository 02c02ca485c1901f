//! The worker that pays debts by itself: what puts missed and reads found broken is healed while all drives work.
//!
//! It looks at the heal list only. A lost drive, and what nobody has read, are for [`crate::Pool::heal`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use crate::HealReport;
use crate::heal::HealProgress;
use crate::pool::Inner;

/// A shard that came late is usually on its drive by then, and nothing is to be done.
const INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a blob could not be healed doubles up to this: it costs reading all its shards.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

impl Inner {
    /// Runs until `stop` becomes true.
    pub(crate) async fn healer(self: Arc<Self>, mut stop: tokio::sync::watch::Receiver<bool>) {
        let mut interval = INTERVAL;
        loop {
            let stopped = Box::pin(stop.wait_for(|stop| *stop));
            if let Either::Left(_) = select(stopped, self.env.clock.sleep(interval)).await {
                return;
            }
            interval = match self.pay_debts(&stop).await {
                Some(report) if report.blobs_failed > 0 => (interval * 2).min(INTERVAL_MAX),
                _ => INTERVAL,
            };
        }
    }

    /// `None` where there is nothing to do or a drive is not well: a heal would fail, or put more load on it.
    async fn pay_debts(self: &Arc<Self>, stop: &tokio::sync::watch::Receiver<bool>) -> Option<HealReport> {
        let owing = self.owing_blobs();
        if owing.is_empty() || !self.slots.iter().all(|slot| slot.is_well(self.now())) {
            return None;
        }
        let mut report = HealReport::default();
        for blobs in owing.chunks(self.config.heal_concurrency) {
            if *stop.borrow() {
                break;
            }
            self.heal_batch(blobs, &mut report, &mut HealProgress::default(), &|_| {}).await;
        }
        tracing::info!(
            blobs = report.blobs_healed,
            shards = report.shards_rebuilt,
            failed = report.blobs_failed,
            "healed"
        );
        Some(report)
    }
}
