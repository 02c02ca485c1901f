//! A clock that stands until it is moved.

use std::sync::Arc;
use std::time::Duration;

use objstore_base::BoxFuture;
use objstore_env::{Clock, WallTime};
use tokio::sync::watch;

#[derive(Clone)]
pub struct ManualClock(Arc<watch::Sender<Duration>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::from_secs(1000))))
    }
}

impl ManualClock {
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now += duration);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> WallTime {
        WallTime(0)
    }

    fn monotonic(&self) -> Duration {
        *self.0.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        let end = *now.borrow() + duration;
        Box::pin(async move {
            // A clock that is gone never gets there.
            if now.wait_for(|now| *now >= end).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
