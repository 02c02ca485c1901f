//! The pool's own words as reports.

use objstore_pool::{DriveState, HealReport, PoolStatus, ShardPlace, ShardState};

use crate::board::{self, Counted};
use crate::reports::{DriveReport, HealOutcome, Health, PoolReport, ShardReport};
use crate::units::Code;

pub(crate) fn pool_report(status: &PoolStatus, capacity: objstore_base::Capacity, heal_list_lost: bool) -> PoolReport {
    let code = Code { data: status.k as u8, parity: status.m as u8 };
    let drives: Vec<Counted<'_>> = status
        .drives
        .iter()
        .map(|drive| Counted { path: &drive.path, away: drive.state == DriveState::Away })
        .collect();
    PoolReport {
        health: if heal_list_lost { health(status).max(Health::Degraded) } else { health(status) },
        pool_uuid: status.uuid.to_string(),
        code: code.to_string(),
        survives: board::survives(code, &drives),
        capacity_bytes: capacity.total,
        free_bytes: capacity.free,
        heal_pending: status.missing_blobs,
        displaced_shards: status.displaced_shards,
        heal_list_lost,
        drives: status.drives.iter().map(drive_report).collect(),
    }
}

/// Away drives and missing shards are a debt; more drives away than the code bears, and bytes cannot be read.
fn health(status: &PoolStatus) -> Health {
    let away = status.drives.iter().filter(|drive| drive.state == DriveState::Away).count();
    match away {
        _ if away > status.m => Health::Damaged,
        0 if status.missing_shards == 0 => Health::Ok,
        _ => Health::Degraded,
    }
}

fn drive_report(drive: &objstore_pool::DriveStatus) -> DriveReport {
    let state = match drive.state {
        DriveState::Ok => "ok",
        DriveState::Suspect => "suspect",
        DriveState::Away => "away",
    };
    DriveReport {
        slot: drive.slot,
        place: drive.path.display().to_string(),
        state: state.to_owned(),
        total_bytes: drive.total_bytes,
        free_bytes: drive.available_bytes,
        errors: drive.errors,
        last_error: drive.why.clone().or_else(|| drive.last_error.clone()),
    }
}

pub(crate) fn heal_outcome(report: HealReport) -> HealOutcome {
    HealOutcome {
        blobs_checked: report.blobs_checked,
        blobs_healed: report.blobs_healed,
        shards_rebuilt: report.shards_rebuilt,
        shards_moved: report.shards_moved,
        drives_initialised: report.drives_initialised,
        drives_away: report.drives_away,
        blobs_failed: report.blobs_failed,
        failures: report.failures.into_iter().map(|(blob, why)| format!("{blob}: {why}")).collect(),
    }
}

pub(crate) fn shard_report(shard: &ShardPlace) -> ShardReport {
    let state = match shard.state {
        ShardState::Ok => "ok",
        ShardState::Missing => "missing",
        ShardState::Corrupt => "corrupt",
        ShardState::Unreachable => "unreachable",
    };
    ShardReport {
        index: shard.index,
        slot: shard.slot,
        place: shard.path.as_ref().map(|path| path.display().to_string()),
        state: state.to_owned(),
    }
}
