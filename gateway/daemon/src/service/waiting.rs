//! What a drain waits for, said at once and again and again to whoever waits.

use std::convert::Infallible;
use std::time::Duration;

use cache_writeback::UploadState;
use objstore_pool::{DriveState, PoolStatus};
use tokio::sync::mpsc;

use super::Service;
use crate::exit::Failure;
use crate::reports::Progress;
use crate::units::show_bytes;

const PROGRESS_STEP: Duration = Duration::from_millis(200);
/// Steps from one look at the drives to the next: each look asks all of them.
const STEPS_PER_LOOK: u32 = 5;
/// A drive that hangs must not keep whoever waits from hearing of it.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(2);

impl Service {
    /// As `Engine::flush`, telling how far it is and what keeps it.
    pub(crate) async fn flush_with_progress(&self, progress: &mpsc::Sender<Progress>) -> Result<(), Failure> {
        tokio::select! {
            biased;
            flushed = self.engine.flush() => Ok(flushed?),
            never = self.tell_progress(progress) => match never {},
        }
    }

    async fn tell_progress(&self, progress: &mpsc::Sender<Progress>) -> Infallible {
        let total = self.engine.status().dirty_bytes;
        loop {
            let waiting = tokio::select! {
                biased;
                obstacle = self.obstacle() => obstacle,
                () = self.env.clock.sleep(LOOK_MAX) => Some("some drives do not answer: see `tidegate pool status`".into()),
            };
            for _ in 0..STEPS_PER_LOOK {
                let left = self.engine.status().dirty_bytes;
                let step = Progress {
                    doing: "into the pool".into(),
                    done: total.saturating_sub(left),
                    total: total.max(left),
                    bytes: true,
                    waiting: waiting.clone(),
                };
                // A full queue or a caller who left: the next step is as good.
                drop(progress.try_send(step));
                self.env.clock.sleep(PROGRESS_STEP).await;
            }
        }
    }

    /// Why nothing goes into the pool now, and what can be done; `None` while it goes.
    pub(crate) async fn obstacle(&self) -> Option<String> {
        self.obstacle_of(&self.pool.status().await)
    }

    /// As [`Self::obstacle`], for one who has the pool's status.
    pub(crate) fn obstacle_of(&self, status: &PoolStatus) -> Option<String> {
        let upload = self.engine.write_back().status();
        let waits = format!("{} wait in the journal", show_bytes(upload.dirty_bytes));
        if let Some(why) = too_few_drives(status) {
            return Some(format!("{why}; {waits}"));
        }
        let failing = upload.last_error.filter(|_| matches!(upload.state, UploadState::Retrying(_)));
        failing
            .map(|error| format!("uploads fail ({} attempts, tried again): {}; {waits}", error.attempts, error.message))
    }
}

/// What a pool says that has too few drives to take a blob.
pub(crate) fn too_few_drives(status: &PoolStatus) -> Option<String> {
    let away: Vec<String> = status
        .drives
        .iter()
        .filter(|drive| drive.state == DriveState::Away)
        .map(|drive| drive.path.display().to_string())
        .collect();
    let needed = status.drives_min;
    let there = status.drives.len() - away.len();
    if there >= needed {
        return None;
    }
    let advice = if away.len() <= status.m {
        "bring them back, or make them anew with `tidegate pool heal`"
    } else {
        "bring them back: more are away than the code bears"
    };
    Some(format!(
        "the pool takes nothing: {} of {} drives are away ({}) and {needed} are needed: {advice}",
        away.len(),
        status.drives.len(),
        away.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use objstore_pool::DriveStatus;
    use objstore_shard::PoolUuid;

    use super::*;

    fn status(k: usize, m: usize, states: &[DriveState]) -> PoolStatus {
        let drive = |(slot, state): (u16, &DriveState)| DriveStatus {
            slot,
            path: format!("/disk{slot}").into(),
            uuid: None,
            state: *state,
            why: None,
            total_bytes: 0,
            available_bytes: 0,
            errors: 0,
            last_error: None,
        };
        PoolStatus {
            uuid: PoolUuid([1; 16]),
            k,
            m,
            epoch: 1,
            drives: (0..).zip(states).map(drive).collect(),
            drives_min: if m == 0 { k } else { (k + m).div_ceil(m) },
            missing_shards: 0,
            displaced_shards: 0,
            missing_blobs: 0,
            pending_deletions: 0,
            reconstructed_reads: 0,
            hedged_reads: 0,
            corrupt_units: 0,
        }
    }

    #[test]
    fn a_pool_with_too_few_drives_names_them_and_what_to_do() {
        use DriveState::{Away, Ok, Suspect};
        assert_eq!(too_few_drives(&status(4, 2, &[Ok, Ok, Ok, Ok, Suspect, Away])), None);
        assert_eq!(too_few_drives(&status(4, 2, &[Away, Ok, Ok, Ok, Ok, Away])), None, "the others take their shards");
        let said = too_few_drives(&status(2, 1, &[Away, Ok, Ok])).expect("2 of 3 needed");
        assert!(said.contains("1 of 3") && said.contains("(/disk0)") && said.contains("3 are needed"), "{said}");
        assert!(said.contains("pool heal"), "{said}");
        let said = too_few_drives(&status(4, 2, &[Away, Away, Away, Away, Ok, Ok])).expect("2 of 3 needed");
        assert!(!said.contains("pool heal"), "four lost drives cannot be made anew: {said}");
        assert_eq!(too_few_drives(&status(2, 0, &[Ok, Ok])), None);
        assert!(too_few_drives(&status(1, 0, &[Away])).is_some());
    }
}
