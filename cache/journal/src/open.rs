//! Opening: recovery, replay, and the journal ready to append.
//!
//! Order of writes, each step repeatable after a kill: what replay accepted beyond the durable end is written again in
//! place and synced (a sync that failed in the run before may have left it in the page cache alone); the active
//! segment's header gets a new incarnation; only then are discarded segments taken away, and appends begin.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use objstore_base::{Error, ErrorKind, Result, ResultExt};
use objstore_env::Env;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use crate::ahead::Habit;
use crate::commit::SyncState;
use crate::config::JournalConfig;
use crate::files::{Files, Prepared};
use crate::flights::Flights;
use crate::header::{Header, PAGE_BYTES};
use crate::ids::{Lsn, SegmentId};
use crate::info::Recovery;
use crate::journal::{Appender, Journal};
use crate::recent::Recent;
use crate::record::RecordKind;
use crate::recover::{Found, Log, OpenSegment, load};
use crate::scan::damaged;
use crate::segment::{Phase, Segment};
use crate::tail::Tail;

/// Called with each record, in order: its LSN and its batch.
pub(crate) type Apply<'a> = &'a mut dyn FnMut(Lsn, &[u8]) -> Result<()>;

/// A segment has room for at least one of the largest frames; frame positions are 32 bits.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
const REWRITE_BYTES: usize = 1 << 20;

impl Journal {
    /// Opens the journal, or creates it, and hands every record after `after` to `apply`, in order. What was never
    /// durable and is torn is cut off.
    ///
    /// # Errors
    /// `Corrupt` where something that was durable is missing or damaged, or `after` is beyond the end: the message
    /// names segment, byte and LSN, and the repair. `Mismatch` for another store's segments, `NewerFormat`, `NotFound`
    /// where there is no journal and none may be created; what `apply` gives.
    pub fn open(env: Env, config: JournalConfig, after: Lsn, apply: Apply<'_>) -> Result<(Arc<Self>, Recovery)> {
        let started = env.clock.monotonic();
        if !SEGMENT_BYTES.contains(&config.segment_bytes) || !config.segment_bytes.is_multiple_of(PAGE_BYTES) {
            let why = "segments are 64 KiB to 1 GiB, in whole pages";
            return Err(Error::new(ErrorKind::InvalidArgument, "open journal").context(why));
        }
        let files = Files::new(env.disk.clone(), config.dir.clone(), config.segment_bytes, config.open_files_max);
        let ids = files.load()?;
        if ids.is_empty() {
            create(&files, &config, after)?;
        }
        let ids = if ids.is_empty() { vec![SegmentId(1)] } else { ids };
        let mut log = load(&files, &config, &ids, after)?;
        let mut recovery = Recovery { bytes: log.bytes_read, ..Recovery::default() };
        replay(&files, &mut log, after, apply, &mut recovery)?;
        recovery.cut_bytes = log.cut_bytes();
        recovery.last = log.last;
        let journal = assemble(env, config, files, log, after)?;
        recovery.duration = journal.env.clock.monotonic().saturating_sub(started);
        tracing::info!(?recovery, "journal open");
        Ok((Arc::new(journal), recovery))
    }
}

impl Journal {
    /// Whether there is a journal.
    pub fn exists(env: &Env, config: &JournalConfig) -> Result<bool> {
        let files = Files::new(env.disk.clone(), config.dir.clone(), config.segment_bytes, config.open_files_max);
        Ok(!files.load()?.is_empty())
    }

    /// Makes an empty journal that goes on after record `after` and above segment `used`: for a store whose machine
    /// was lost and whose index was rebuilt from the pool. The folder must not hold a journal.
    ///
    /// # Errors
    /// `Exists` where it does.
    pub fn begin_after(env: &Env, config: &JournalConfig, after: Lsn, used: SegmentId) -> Result<()> {
        let files = Files::new(env.disk.clone(), config.dir.clone(), config.segment_bytes, config.open_files_max);
        if !files.load()?.is_empty() {
            let error = Error::new(ErrorKind::Exists, "begin journal").entity(config.dir.display());
            return Err(error.context("there is a journal already"));
        }
        begin(&files, config, after, used)
    }
}

/// The first segment, its header durable, and the spares.
fn create(files: &Files, config: &JournalConfig, after: Lsn) -> Result<()> {
    if !config.create || after > Lsn::ZERO {
        let why = "there is no journal here, but this store had one; put its folder back, or run `tidegate recover`";
        return Err(Error::new(ErrorKind::NotFound, "open journal").entity(config.dir.display()).context(why));
    }
    begin(files, config, Lsn::ZERO, SegmentId(0))
}

fn begin(files: &Files, config: &JournalConfig, after: Lsn, used: SegmentId) -> Result<()> {
    for _ in files.spare_count()..=config.spare_segments {
        files.add_spare()?;
    }
    files.prepare(&Header::new(config.store_uuid, used.next(), config.segment_bytes, after.next()))?;
    Ok(())
}

/// Hands out the records after `after`; cuts the log at the first in doubt that does not verify.
fn replay(files: &Files, log: &mut Log, after: Lsn, apply: Apply<'_>, recovery: &mut Recovery) -> Result<()> {
    let ids: Vec<SegmentId> = log.segments.keys().copied().collect();
    for id in ids {
        let Some(found) = log.segments.get(&id) else { continue };
        let cut = match &found.open {
            None => replay_sealed(files, found, after, apply, recovery)?,
            Some(open) => replay_open(found, open, after, log.durable, apply, recovery)?,
        };
        if let Some(index) = cut {
            log.cut(id, index);
            break;
        }
    }
    Ok(())
}

fn replay_sealed(
    files: &Files,
    found: &Found,
    after: Lsn,
    apply: Apply<'_>,
    recovery: &mut Recovery,
) -> Result<Option<usize>> {
    let header = &found.header;
    if header.last_lsn > after {
        let mut scanner = found.scanner(files.open(header.segment)?);
        scanner.whole(header.first_lsn, header.last_lsn, |view| {
            if view.head.kind == RecordKind::Data && view.head.lsn > after {
                apply(view.head.lsn, view.batch)?;
                recovery.records += 1;
            }
            Ok(())
        })?;
        recovery.bytes += scanner.bytes_read;
    }
    Ok(None)
}

/// Gives the index of the first record whose payload is torn.
fn replay_open(
    found: &Found,
    open: &OpenSegment,
    after: Lsn,
    durable: Lsn,
    apply: Apply<'_>,
    recovery: &mut Recovery,
) -> Result<Option<usize>> {
    let mut scanner = found.scanner(open.file.clone());
    for (index, place) in open.places.iter().enumerate().filter(|(_, p)| p.lsn > after) {
        let io = |e| Error::io("read segment", e).entity(found.header.segment);
        if place.lsn > durable && !scanner.payload_holds(place.at).map_err(io)? {
            return Ok(Some(index));
        }
        let Some(view) = scanner.record(place.at).map_err(io)? else {
            return Err(damaged(found.header.segment, place.at, place.lsn));
        };
        if place.kind == RecordKind::Data {
            apply(place.lsn, view.batch)?;
            recovery.records += 1;
        }
    }
    recovery.bytes += scanner.bytes_read;
    Ok(None)
}

fn assemble(env: Env, config: JournalConfig, files: Files, mut log: Log, after: Lsn) -> Result<Journal> {
    let now = env.clock.monotonic();
    let hit = |name| env.failpoints.hit(name).map_err(|e| Error::io(name, e));
    hit("journal.recover.rewrite")?;
    rewrite_doubtful(&log)?;
    let mut next_segment = log.next_segment();
    let active = match active_of(&log) {
        Some(id) => id,
        None => {
            // The position in the log is durable in the new header before the old ones go.
            let header = Header::new(config.store_uuid, next_segment, config.segment_bytes, log.last.next());
            let Prepared { file, .. } = files.prepare(&header)?;
            log.segments.insert(next_segment, Found::fresh(header, file, &config));
            next_segment = next_segment.next();
            header.segment
        }
    };
    hit("journal.recover.header")?;
    let mut segments = BTreeMap::new();
    let mut rolled = Vec::new();
    let mut discarded = Vec::new();
    let last_watermark = log.last_watermark();
    let last_data = log.last_data();
    for (id, found) in log.segments {
        let empty = found.open.as_ref().is_some_and(|o| o.places.is_empty());
        if empty && id != active {
            discarded.push(id);
            continue;
        }
        let segment =
            Arc::new(if id == active { activate(found, next_segment, now)? } else { found.into_segment(now) });
        if segment.body.read().phase == Phase::Rolled {
            rolled.push(segment.clone());
        }
        segments.insert(id, segment);
    }
    hit("journal.recover.cut")?;
    discard(&files, &config, &discarded)?;
    let active = segments.get(&active).cloned().expect("it was inserted above");
    let position = active.body.read().end;
    let newest_sealed = segments.values().filter(|s| s.body.read().phase >= Phase::Sealed).map(|s| s.id).max();
    let appender = Appender {
        active,
        next: None,
        rolled,
        position,
        next_lsn: log.last.next(),
        tail: Tail::default(),
        batch: Vec::new(),
        ids: Vec::new(),
        frozen: false,
        habit: Habit::default(),
        unsynced_since: None,
        last_data,
        last_watermark,
        appended_bytes: 0,
    };
    let journal = Journal {
        files,
        appender: Mutex::new(appender),
        thaw: Condvar::new(),
        writer: Mutex::default(),
        flights: Flights::default(),
        sync: Mutex::new(SyncState::default()),
        synced: Condvar::new(),
        preparing: Mutex::default(),
        retiring: Mutex::default(),
        segments: RwLock::new(segments),
        tables: Recent::new(config.table_cache_bytes),
        next_segment: AtomicU64::new(next_segment.0),
        last: AtomicU64::new(log.last.0),
        durable: AtomicU64::new(log.last.0),
        appended_bytes: AtomicU64::new(0),
        synced_bytes: AtomicU64::new(0),
        index_flushed: AtomicU64::new(after.0),
        read_tick: AtomicU64::new(0),
        poison: OnceLock::new(),
        sealed_tx: watch::Sender::new(newest_sealed.unwrap_or_default()),
        env: env.clone(),
        config,
    };
    // Segments that were full but not sealed are sealed now.
    match journal.sync_all() {
        // A sync failed and a copy saved what it covered; nobody waits for it here.
        Err(error) if journal.poisoned().is_none() => tracing::warn!(%error, "a sync failed while opening"),
        synced => synced?,
    }
    journal.try_prepare();
    Ok(journal)
}

/// The last segment goes on being written if it is not sealed and holds records, or stands at the end of the log.
fn active_of(log: &Log) -> Option<SegmentId> {
    let counts = |found: &Found| {
        let holds = found.open.as_ref().is_none_or(|o| !o.places.is_empty());
        holds || found.header.first_lsn == log.last.next()
    };
    let (id, found) = log.segments.iter().rfind(|(_, found)| counts(found))?;
    found.open.is_some().then_some(*id)
}

/// What was replayed though nothing proves it durable becomes durable now.
fn rewrite_doubtful(log: &Log) -> Result<()> {
    let mut buf = vec![0; REWRITE_BYTES];
    for found in log.segments.values() {
        let Some(open) = &found.open else { continue };
        let mut at = open.places.iter().find(|p| p.lsn > log.durable).map_or(open.end(), |p| p.at);
        let end = open.end();
        let done = (|| {
            while at < end {
                let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
                let bytes = buf.get_mut(..len).unwrap_or_default();
                open.file.read_exact_at(bytes, at)?;
                open.file.write_all_at(&[IoSlice::new(bytes)], at)?;
                at += len as u64;
            }
            open.file.sync_data()
        })();
        done.map_err(|e| Error::io("make the end of the journal durable", e)).on(found.header.segment)?;
    }
    Ok(())
}

/// Readies the last segment for more records: what was cut off ends here for good, and whatever stands further behind
/// has a lower incarnation.
fn activate(found: Found, next_segment: SegmentId, now: Duration) -> Result<Segment> {
    let Found { header, .. } = found;
    let Some(open) = &found.open else { return Ok(found.into_segment(now)) };
    let header = Header {
        generation: header.generation + 1,
        // Also above what a header says that was lost since.
        incarnation: header.incarnation.max(open.incarnation) + 1,
        next_segment,
        first_lsn: open.places.first().map_or(header.first_lsn, |p| p.lsn),
        ..header
    };
    let end = open.end();
    let page_end = (end + 1).next_multiple_of(PAGE_BYTES).min(header.segment_bytes);
    let zeros = vec![0; usize::try_from(page_end - end).unwrap_or(0)];
    let readied = (|| {
        if found.file_bytes < header.segment_bytes {
            open.file.allocate(found.file_bytes..header.segment_bytes)?;
        }
        open.file.write_all_at(&[IoSlice::new(&zeros)], end)?;
        open.file.write_all_at(&[IoSlice::new(&header.encode())], header.position())?;
        open.file.sync_data()
    })();
    readied.map_err(|e| Error::io("reopen segment", e)).on(header.segment)?;
    let segment = Found { header, file_bytes: header.segment_bytes, ..found }.into_segment(now);
    segment.body.write().phase = Phase::Active;
    Ok(segment)
}

fn discard(files: &Files, config: &JournalConfig, discarded: &[SegmentId]) -> Result<()> {
    if discarded.is_empty() {
        return Ok(());
    }
    let mut spares = Vec::new();
    for id in discarded {
        let wanted = files.spare_count() + spares.len() < config.spare_segments;
        spares.extend(files.retire(*id, wanted)?);
    }
    files.sync_dir()?;
    files.add_retired(spares);
    Ok(())
}
