//! What the service answers when it is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cache_journal::{SegmentId, SegmentState};
use cache_writeback::{Band, UploadState};
use fs_api::{FileKind, Ino};
use gateway_admin::{Trace, TraceFilter};
use objstore_base::{BlobId, BlobStore, BoxFuture, ErrorKind};
use objstore_pool::PoolStatus;
use tokio::sync::{mpsc, oneshot};

use super::Service;
use crate::control::{Answer, Control, Request, Stop, Stopped};
use crate::exit::Failure;
use crate::pool_reports::{heal_outcome, pool_report, shard_report};
use crate::reports::{
    CheckOutcome, DropOutcome, ExtentReport, HealOutcome, InfoReport, PoolReport, Progress, SegmentReport, StatusReport,
};
use crate::shares::{ShareChanged, ShareList, ShareReport};
use crate::store::{Room, heal_list};
use crate::units::show_bytes;
use crate::watch_reports::{LoadReport, Sample};

/// Extents that one `info` lists; a file of 4 TiB written at once has 16 million, and nobody reads them.
const EXTENTS_MAX: usize = 100_000;
/// Segments whose shards are looked at for one `info`: each is read back whole.
const SEGMENTS_MAX: usize = 16;
/// A disk with less free than this part is reported as full.
const FULL_PART: u64 = 20;

impl Control for Service {
    fn answer(&self, request: Request, progress: mpsc::Sender<Progress>) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            match request {
                Request::Status => self.status_report().await.map(|report| Answer::Status(Box::new(report))),
                Request::Stats => Ok(Answer::Stats(Box::new(self.sample()))),
                // It has no answer: it is shown by `Control::trace`.
                Request::Trace { .. } => Ok(Answer::Finished),
                Request::Info { inode } => self.info(Ino(inode)).await.map(Answer::Info),
                Request::PoolStatus => self.pool_report().await.map(Answer::Pool),
                Request::PoolHeal => self.heal(progress).await.map(Answer::Healed),
                Request::Flush => self.flush_with_progress(&progress).await.map(|()| Answer::Finished),
                Request::Check => self.check().await.map(Answer::Checked),
                Request::CacheDrop => self.drop_copies().await.map(Answer::Dropped),
                Request::Reload => self.reload().await.map(Answer::Reloaded),
                Request::ShareList => Ok(Answer::Shares(self.share_list())),
                Request::ShareCreate { directory, make, terms } => {
                    self.shares.create(directory, make, terms).await.map(|share| self.share_changed(share))
                }
                Request::ShareSet { share, terms } => {
                    self.shares.set(share, terms).await.map(|share| self.share_changed(share))
                }
                Request::ShareDelete { share } => self.shares.delete(share).await.map(|()| Answer::Finished),
                Request::Stop { mountpoint, force } => self.stop(mountpoint, force, progress).await,
            }
        })
    }

    fn trace(&self, filter: TraceFilter) -> Result<Trace, Failure> {
        self.watching.trace(filter).ok_or_else(|| {
            Failure::refuse("watch operations", self.layout.data.display(), "too many watch already: end one of them")
        })
    }

    fn stop_answered(&self) {
        self.answered.notify_one();
    }
}

impl Service {
    pub(crate) async fn pool_report(&self) -> Result<PoolReport, Failure> {
        Ok(self.report_of(&self.pool.status().await).await)
    }

    pub(super) async fn report_of(&self, status: &PoolStatus) -> PoolReport {
        // With no drive there the rest of the report matters all the more.
        let capacity = self.pool.capacity().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the pool's capacity is not known");
            objstore_base::Capacity::default()
        });
        pool_report(status, capacity, heal_list::is_lost(&self.layout))
    }

    async fn status_report(&self) -> Result<StatusReport, Failure> {
        let status = self.pool.status().await;
        let pool = self.report_of(&status).await;
        let stuck = self.obstacle_of(&status);
        let (engine, upload) = (self.engine.status(), self.engine.write_back().status());
        let mounts = self.mounted.lock().clone();
        Ok(StatusReport {
            health: pool.health,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.env.clock.monotonic().saturating_sub(self.started).as_secs_f64(),
            data: self.layout.data.clone(),
            mountpoint: mounts.first().cloned(),
            mounts,
            nfs: self.nfs_report(),
            admin: self.admin_report(),
            store_uuid: self.store.store_uuid.to_string(),
            code: self.code()?.to_string(),
            survives: pool.survives.clone(),
            inodes: engine.inodes,
            file_bytes: engine.bytes,
            dirty_bytes: engine.dirty_bytes,
            dirty_bytes_max: upload.max_dirty_bytes,
            dirty_oldest_secs: upload.oldest_age.map(|age| age.as_secs_f64()),
            dirty_eta_secs: upload.eta.map(|eta| eta.as_secs_f64()),
            upload_bytes_per_sec: upload.upload_rate_bytes_per_s,
            upload_state: upload_state(upload.state).to_owned(),
            stuck,
            upload_error: upload.last_error.as_ref().map(|error| error.message.clone()),
            journal_bytes: engine.journal_bytes,
            journal_last_lsn: engine.journal_last_lsn,
            journal_durable_lsn: engine.journal_durable_lsn,
            cache_bytes: self.cache_bytes(&upload),
            cache_bytes_max: self.settings.cache_bytes_max,
            orphans: engine.orphans,
            local_read_failures: engine.local_read_failures,
            full: self.full(upload.band, &pool),
            pool,
        })
    }

    /// What the doors counted, and what goes on behind them; from memory only.
    fn sample(&self) -> Sample {
        let (engine, upload) = (self.engine.status(), self.engine.write_back().status());
        let cache = self.engine.read_cache_stats();
        Sample {
            stats: self.watching.stats(),
            load: LoadReport {
                uptime_secs: self.env.clock.monotonic().saturating_sub(self.started).as_secs_f64(),
                dirty_bytes: upload.dirty_bytes,
                dirty_bytes_max: upload.max_dirty_bytes,
                dirty_oldest_secs: upload.oldest_age.map(|age| age.as_secs_f64()),
                upload_state: upload_state(upload.state).to_owned(),
                upload_bytes_per_sec: upload.upload_rate_bytes_per_s,
                upload_bytes: upload.totals.blob_bytes,
                journal_bytes: engine.journal_bytes,
                cache_bytes: self.cache_bytes(&upload),
                cache_hits: cache.memory_hits + cache.disk_hits,
                cache_misses: cache.misses,
                nfs_connections: self.nfs.lock().as_ref().map(|door| door.connections() as u64),
            },
        }
    }

    fn full(&self, band: Band, pool: &PoolReport) -> Vec<String> {
        let mut full = Vec::new();
        match band {
            Band::Free => {}
            Band::Slowed | Band::WriteThrough => {
                full.push("the cache fills faster than the pool takes it: writers are slowed down".to_owned())
            }
            Band::Full => full.push(
                "the cache is full of data that waits for the pool: writers wait; see whether the pool takes data"
                    .to_owned(),
            ),
            Band::DiskFull => full.push(format!(
                "the disk under {} is nearly full: writers wait; free some space",
                self.layout.data.display()
            )),
        }
        let complaint = Room::at(&self.layout.data).ok().and_then(|room| room.complaint());
        if let Some(complaint) = complaint.filter(|_| band != Band::DiskFull) {
            full.push(format!("under {}, {complaint}", self.layout.data.display()));
        }
        for drive in
            pool.drives.iter().filter(|drive| drive.state != "away" && drive.free_bytes < drive.total_bytes / FULL_PART)
        {
            full.push(format!("only {} are free on drive {}", show_bytes(drive.free_bytes), drive.place));
        }
        full
    }

    async fn check(&self) -> Result<CheckOutcome, Failure> {
        let report = self.engine.check().await?;
        Ok(CheckOutcome {
            inodes: report.inodes,
            names: report.names,
            extents: report.extents,
            frames: report.frames,
            file_bytes: report.bytes,
            findings: report.findings,
            findings_total: report.findings_total,
        })
    }

    async fn drop_copies(&self) -> Result<DropOutcome, Failure> {
        Ok(DropOutcome { freed_bytes: self.engine.drop_local_copies().await? })
    }

    async fn heal(&self, progress: mpsc::Sender<Progress>) -> Result<HealOutcome, Failure> {
        let report = self.pool.heal(|step| {
            let step = Progress {
                doing: "blobs read back".into(),
                done: step.blobs_done,
                total: step.blobs_total,
                bytes: false,
                waiting: None,
            };
            // A full queue or a caller who left: the next step is as good.
            drop(progress.try_send(step));
        });
        let report = report.await?;
        if report.is_complete() {
            heal_list::found_again(&self.layout);
        }
        Ok(heal_outcome(report))
    }

    fn share_list(&self) -> ShareList {
        ShareList { shares: self.shares.reports(), mount_lines: self.mount_lines(&self.shares.paths()) }
    }

    fn share_changed(&self, share: ShareReport) -> Answer {
        let mount_line = self.mount_lines(std::slice::from_ref(&share.path)).pop();
        let mut notes = Vec::new();
        if mount_line.is_none() {
            notes.push("no NFS door is open: the share is kept, and served by `tidegate serve` with [nfs]".to_owned());
        }
        if !share.overlaps.is_empty() {
            let others = share.overlaps.join(", ");
            notes
                .push(format!("it overlaps with {others}: who may use either reaches what both have, under its terms"));
        }
        Answer::ShareChanged(Box::new(ShareChanged { share, notes, mount_line }))
    }

    async fn stop(
        &self,
        mountpoint: PathBuf,
        force: bool,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Answer, Failure> {
        let (outcome, told) = oneshot::channel();
        let gone = || Failure::refuse("stop the service", self.layout.data.display(), "it is ending already");
        self.stops.send(Stop { mountpoint, force, progress, outcome }).await.map_err(|_| gone())?;
        let Stopped { left, ended } = told.await.map_err(|_| gone())??;
        Ok(if ended { Answer::Stopped(left) } else { Answer::Unmounted(left) })
    }

    async fn info(&self, ino: Ino) -> Result<InfoReport, Failure> {
        let inode = self.engine.inspect(ino)?;
        let extents = self.engine.extents(ino, EXTENTS_MAX)?;
        let mut segments: BTreeMap<u64, SegmentReport> = BTreeMap::new();
        for (frame, _) in extents.iter().filter_map(|extent| extent.at) {
            let id = frame.segment.0;
            if segments.len() < SEGMENTS_MAX && !segments.contains_key(&id) {
                segments.insert(id, self.segment(frame.segment).await?);
            }
        }
        Ok(InfoReport {
            path: Default::default(),
            inode: ino.0,
            kind: kind_name(inode.kind).to_owned(),
            mode: format!("{:04o}", inode.mode),
            uid: inode.uid,
            gid: inode.gid,
            nlink: inode.nlink,
            size: if inode.kind == FileKind::Symlink { inode.target.len() as u64 } else { inode.size },
            allocated_bytes: inode.allocated,
            extents: extents
                .iter()
                .map(|extent| ExtentReport {
                    offset: extent.offset,
                    len: extent.len,
                    kind: if extent.at.is_some() { "data" } else { "reserved" }.to_owned(),
                    segment: extent.at.map(|(frame, _)| frame.segment.0),
                    frame: extent.at.map(|(frame, _)| frame.frame.0),
                    skip: extent.at.map(|(_, skip)| skip),
                })
                .collect(),
            segments: segments.into_values().collect(),
        })
    }

    async fn segment(&self, id: SegmentId) -> Result<SegmentReport, Failure> {
        let local = self.engine.journal().segments().into_iter().find(|segment| segment.id == id);
        let described = match self.pool.describe(BlobId::segment(id.0)).await {
            Ok(described) => Some(described),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let at = match (local.map(|segment| segment.state), &described) {
            (Some(SegmentState::Active | SegmentState::Sealed), _) | (Some(_), None) => "journal",
            (Some(SegmentState::Uploaded), Some(_)) => "journal and pool",
            (None, _) => "pool",
        };
        let shards = described.map(|described| described.shards.iter().map(shard_report).collect()).unwrap_or_default();
        Ok(SegmentReport { segment: id.0, at: at.to_owned(), shards })
    }
}

const fn upload_state(state: UploadState) -> &'static str {
    match state {
        UploadState::Stopped => "stopped",
        UploadState::Idle => "idle",
        UploadState::Uploading => "uploading",
        UploadState::Retrying(_) => "retrying",
    }
}

const fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}
