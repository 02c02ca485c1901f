//! What a service counts beside its doors, for Prometheus. A scrape asks what a status asks, and no more.

use std::time::Duration;

use gateway_admin::metrics::{Kind, Value};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use objstore_pool::{DriveState, PoolStatus};

use super::Service;
use super::waiting::LOOK_MAX;
use crate::host;
use crate::reports::{Health, PoolReport};

/// Values in the order in which they are shown; those of one name follow each other.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.0.push(Value { name, help, kind: Kind::Gauge, label: None, value });
    }

    fn whole(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.gauge(name, help, value as f64);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Value { name, help, kind: Kind::Counter, label: None, value: value as f64 });
    }

    fn labelled(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        label: (&'static str, &str),
        value: f64,
    ) {
        self.0.push(Value { name, help, kind, label: Some((label.0, label.1.to_owned())), value });
    }
}

impl Service {
    pub(super) async fn metric_values(&self) -> Vec<Value> {
        let mut values = Values::default();
        self.put_process(&mut values);
        self.put_store(&mut values);
        self.put_cache(&mut values);
        let look = async {
            let status = self.pool.status().await;
            let report = self.report_of(&status).await;
            (status, report)
        };
        tokio::select! {
            (status, report) = look => put_pool(&mut values, &status, &report),
            // What is not known is absent; a drive that hangs keeps no other value back.
            () = self.env.clock.sleep(LOOK_MAX) => tracing::warn!("some drives do not answer: metrics without the pool"),
        }
        values.0
    }

    fn put_process(&self, values: &mut Values) {
        let version = ("version", env!("CARGO_PKG_VERSION"));
        values.labelled("build_info", "The program's version; always 1.", Kind::Gauge, version, 1.0);
        let uptime = self.env.clock.monotonic().saturating_sub(self.started);
        values.gauge("uptime_seconds", "Time since the start.", uptime.as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            values.whole("process_resident_bytes", "Memory of the process that is in RAM.", bytes);
        }
        if let Some(used) = cpu_time() {
            let value = used.as_secs_f64();
            let (name, help) = ("process_cpu_seconds", "Processor time of the process, user and system.");
            values.0.push(Value { name, help, kind: Kind::Counter, label: None, value });
        }
        values.whole("mounts", "FUSE mounts that are served.", self.mounted.lock().len() as u64);
        let connections = self.nfs.lock().as_ref().map(|door| door.connections());
        if let Some(connections) = connections {
            values.whole("nfs_connections", "Connections of NFS clients.", connections as u64);
        }
    }

    fn put_store(&self, values: &mut Values) {
        let (engine, upload) = (self.engine.status(), self.engine.write_back().status());
        values.whole("store_inodes", "Files, directories and others, removed but open ones included.", engine.inodes);
        values.whole("store_file_bytes", "Bytes that files occupy.", engine.bytes);
        values.whole("store_orphans", "Removed files that are still open.", engine.orphans);
        values.whole("dirty_bytes", "Bytes on this machine's disk that are not in the pool yet.", upload.dirty_bytes);
        values.whole("dirty_bytes_max", "Where writers wait for the pool.", upload.max_dirty_bytes);
        let oldest = upload.oldest_age.unwrap_or_default();
        values.gauge(
            "dirty_oldest_seconds",
            "Age of the oldest of them; 0 where there are none.",
            oldest.as_secs_f64(),
        );
        if let Some(eta) = upload.eta {
            let help = "Time until the pool has them at the rate of late; absent while that is not known.";
            values.gauge("dirty_eta_seconds", help, eta.as_secs_f64());
        }
        values.counter("upload_bytes", "Bytes of blobs that went into the pool.", upload.totals.blob_bytes);
        let help =
            "Bytes of journal segments that went into the pool, before dead frames were left out and compression.";
        values.counter("upload_segment_bytes", help, upload.totals.segment_bytes);
        values.counter("upload_segments", "Journal segments that went into the pool.", upload.totals.segments);
        let failing = upload.last_error.map_or(Duration::ZERO, |error| error.failing_for);
        values.gauge(
            "upload_failing_seconds",
            "How long no upload has succeeded; 0 while they do.",
            failing.as_secs_f64(),
        );
        values.whole(
            "journal_bytes",
            "Disk that the journal takes, segments kept as cache included.",
            engine.journal_bytes,
        );
        let waiting = engine.journal_last_lsn.saturating_sub(engine.journal_durable_lsn);
        values.whole("journal_unsynced_records", "Records of the journal that no sync covers yet.", waiting);
        let help = "Reads that the journal's disk failed and the pool answered.";
        values.counter("journal_read_failures", help, engine.local_read_failures);
    }

    fn put_cache(&self, values: &mut Values) {
        let (upload, cache) = (self.engine.write_back().status(), self.engine.read_cache_stats());
        let bytes = self.cache_bytes(&upload);
        values.whole("cache_bytes", "Local copies of what is in the pool, on disk.", bytes);
        values.whole("cache_bytes_max", "What they may take.", self.settings.cache_bytes_max);
        values.whole("cache_memory_bytes", "Frames kept in memory.", cache.memory_bytes);
        let help = "Frames from the pool that were found here, in memory or on disk.";
        values.labelled("cache_hits", help, Kind::Counter, ("place", "memory"), cache.memory_hits as f64);
        values.labelled("cache_hits", help, Kind::Counter, ("place", "disk"), cache.disk_hits as f64);
        values.counter("cache_misses", "Frames that had to come from the pool.", cache.misses);
        values.counter("cache_fetched_bytes", "Bytes that came from the pool.", cache.fetched_bytes);
        values.counter("cache_corrupt", "Copies on disk that did not verify and were fetched again.", cache.corrupt);
    }
}

fn put_pool(values: &mut Values, status: &PoolStatus, report: &PoolReport) {
    values.whole("pool_capacity_bytes", "What the drives have room for, whoever uses it.", report.capacity_bytes);
    values.whole("pool_free_bytes", "What is free of that.", report.free_bytes);
    let health = match report.health {
        Health::Ok => 0.0,
        Health::Degraded => 1.0,
        Health::Damaged => 2.0,
    };
    values.gauge("pool_health", "0 ok, 1 degraded, 2 damaged.", health);
    values.whole(
        "pool_drives_to_spare",
        "Drives that may be lost now without a loss.",
        status.drives_to_spare() as u64,
    );
    values.whole("shards_missing", "Shards that are known to be missing.", status.missing_shards);
    let help = "Shards that share a drive with another of their blob, because their own was away.";
    values.whole("shards_displaced", help, status.displaced_shards);
    values.whole("heal_blobs", "Blobs that wait to be healed.", status.missing_blobs);
    values.whole("heal_list_lost", "1 while what is to be healed is not known.", u64::from(report.heal_list_lost));
    values.counter("pool_reconstructed_reads", "Rows that were read by rebuilding.", status.reconstructed_reads);
    values.counter("pool_hedged_reads", "Those of them because a drive was slow.", status.hedged_reads);
    values.counter("pool_corrupt_units", "Pieces of shards whose bytes did not fit.", status.corrupt_units);
    let drives: Vec<(String, &objstore_pool::DriveStatus)> =
        status.drives.iter().map(|drive| (drive.path.display().to_string(), drive)).collect();
    let state = |drive: &objstore_pool::DriveStatus| match drive.state {
        DriveState::Ok => 0.0,
        DriveState::Suspect => 1.0,
        DriveState::Away => 2.0,
    };
    for (name, drive) in &drives {
        values.labelled("drive_state", "0 ok, 1 suspect, 2 away.", Kind::Gauge, ("drive", name), state(drive));
    }
    for (name, drive) in &drives {
        let total = drive.total_bytes as f64;
        values.labelled("drive_total_bytes", "Size of the drive.", Kind::Gauge, ("drive", name), total);
    }
    for (name, drive) in &drives {
        let free = drive.available_bytes as f64;
        values.labelled("drive_free_bytes", "Free on the drive.", Kind::Gauge, ("drive", name), free);
    }
    for (name, drive) in &drives {
        let errors = drive.errors as f64;
        values.labelled("drive_errors", "Failures of the drive.", Kind::Counter, ("drive", name), errors);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = host::read_text("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    u64::try_from(us).ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_and_its_time() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        let before = cpu_time().expect("the system says");
        let mut sum = 0_u64;
        while cpu_time().expect("the system says") <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_pool_without_one_drive_is_shown_with_its_state() {
        let drive = |slot: u16, state| objstore_pool::DriveStatus {
            slot,
            path: format!("/disk{slot}").into(),
            uuid: None,
            state,
            why: None,
            total_bytes: 100,
            available_bytes: 40,
            errors: 3,
            last_error: None,
        };
        let status = PoolStatus {
            uuid: objstore_shard::PoolUuid([1; 16]),
            k: 1,
            m: 1,
            epoch: 1,
            drives: vec![drive(0, DriveState::Ok), drive(1, DriveState::Away)],
            drives_min: 1,
            missing_shards: 5,
            displaced_shards: 0,
            missing_blobs: 4,
            pending_deletions: 0,
            reconstructed_reads: 0,
            hedged_reads: 0,
            corrupt_units: 0,
        };
        let report = crate::pool_reports::pool_report(&status, objstore_base::Capacity::default(), false);
        let mut values = Values::default();
        put_pool(&mut values, &status, &report);
        let found = |name: &str| -> Vec<f64> {
            values.0.iter().filter(|value| value.name == name).map(|value| value.value).collect()
        };
        assert_eq!(found("drive_state"), [0.0, 2.0]);
        assert_eq!(found("shards_missing"), [5.0]);
        assert_eq!(found("pool_health"), [1.0]);
        let text = gateway_admin::metrics::text(Vec::new(), values.0).expect("plain numbers");
        assert!(text.contains("tidegate_drive_state{drive=\"/disk1\"} 2"), "{text}");
        assert_eq!(text.matches("# TYPE tidegate_drive_errors counter").count(), 1, "{text}");
    }
}
