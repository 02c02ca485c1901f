//! `flush`: everything that was appended before the call is in the pool when it returns.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_journal::Lsn;
use objstore_base::{Error, ErrorKind, Result};
use tokio::sync::MutexGuard;

use crate::progress::Reached;
use crate::{Step, WriteBack};

impl WriteBack {
    /// Seals what is active and waits until every record appended before this call is in the pool. While the store is
    /// away this waits; the caller sets the limit by dropping the future. Without a running worker the caller does
    /// the uploads.
    ///
    /// # Errors
    /// A failure that waiting does not mend: the local segment is damaged, the store refuses.
    ///
    /// # Cancel
    /// What was asked for stays asked for; the worker goes on.
    pub async fn flush(&self) -> Result<()> {
        let target = self.journal.last();
        self.flush_upto.fetch_max(target.0, Ordering::AcqRel);
        self.note_reached();
        self.wake_worker();
        let mut reached = self.reached.subscribe();
        let ended = tokio::select! {
            biased;
            // Cloned inside: the guard that `wait_for` gives must not live across an await.
            ended = async {
                let ended = reached.wait_for(|r| r.in_pool >= target || r.stuck.is_some()).await;
                ended.map(|r| r.clone()).unwrap_or_default()
            } => ended,
            turn = self.unattended_turn() => {
                let ended = self.upload_until(target).await;
                drop(turn);
                ended
            }
        };
        match ended.stuck {
            _ if ended.in_pool >= target => Ok(()),
            Some((kind, message)) => Err(Error::new(kind, "flush").context(message)),
            None => Err(Error::new(ErrorKind::Internal, "flush").context("the uploads ended early")),
        }
    }

    /// The turn, once no worker is there to take it: a flush that nobody polls must not hold up a worker.
    async fn unattended_turn(&self) -> MutexGuard<'_, ()> {
        let mut attended = self.attended.subscribe();
        // The sender lives in `self`.
        attended.wait_for(|attended| !*attended).await.map(|_| ()).unwrap_or_default();
        self.turn.lock().await
    }

    /// Does the worker's work until `target` is in the pool or the head of the line is stuck. The caller has the turn.
    async fn upload_until(&self, target: Lsn) -> Reached {
        loop {
            let reached = self.reached.borrow().clone();
            if reached.in_pool >= target || reached.stuck.is_some() {
                return reached;
            }
            match self.step_in_turn().await {
                Ok(Step::Waiting(delay)) => self.env.clock.sleep(delay).await,
                Ok(Step::Idle) => {
                    // Another thread's commit is sealing the segment at this moment.
                    self.env.clock.sleep(Duration::from_millis(1)).await;
                    self.note_reached();
                }
                // A failure is in the progress, and the next step waits for it.
                Ok(Step::Sealed(_) | Step::Uploaded(_) | Step::Retired(_)) | Err(_) => {}
            }
        }
    }
}
