//! Durable commits per second by thread count, and append throughput of 1 MiB writes.
//!
//! `cargo run --release -p cache-journal --example commit_rate -- DIR [SECONDS]`. Level D2: each commit is synced.
#![allow(clippy::disallowed_methods, reason = "a measurement outside the program")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_journal::{FrameData, Journal, JournalConfig, Lsn};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let parent = PathBuf::from(args.next().ok_or("usage: commit_rate DIR [SECONDS]")?);
    let seconds = args.next().map_or(Ok(3), |s| s.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let env = objstore_env::real::env(runtime.handle().clone())?;
    let dir = parent.join(format!("commit-rate-{}", std::process::id()));
    let config = JournalConfig { spare_segments: 3, ..JournalConfig::new(dir.join("journal"), [1; 16]) };
    let (journal, _) = Journal::open(env.clone(), config.clone(), Lsn::ZERO, &mut |_, _| Ok(()))?;
    for threads in [1, 8, 32] {
        let rate = commits(&journal, threads, Duration::from_secs(seconds))?;
        println!("{threads:>2} threads, 200-byte batch: {rate:.0} durable commits/s");
        recycle(&journal)?;
    }
    for sync_every in [u64::MAX, 1] {
        let (rate, what) = (bulk(&journal, Duration::from_secs(seconds), sync_every)?, sync_every);
        println!(
            "1 MiB appends, {}: {rate:.0} MB/s",
            if what == 1 { "each committed" } else { "unsynced bound 8 MiB" }
        );
    }
    let (p50, p99) = commits_beside_bulk(&journal, Duration::from_secs(seconds))?;
    println!("commit of 200 bytes beside a 1 MiB stream: p50 {p50:?}, p99 {p99:?}");
    println!("appends without commit, 1 thread: {:.0}/s", appends(&journal, Duration::from_secs(1))?);
    let last = journal.last();
    drop(journal);
    let started = Instant::now();
    let (_, recovery) =
        Journal::open(env, config, Lsn::ZERO.max(Lsn(last.0.saturating_sub(500_000))), &mut |_, _| Ok(()))?;
    println!("opened in {:?}: {} records, {} bytes read", started.elapsed(), recovery.records, recovery.bytes);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// As upload and index flush would: sealed segments go, their files are used again.
fn recycle(journal: &Journal) -> Result<(), Failure> {
    journal.seal()?;
    for info in journal.segments().iter().filter(|i| i.state == cache_journal::SegmentState::Sealed) {
        journal.mark_uploaded(info.id)?;
    }
    journal.index_flushed(journal.durable());
    journal.retire(0)?;
    Ok(())
}

fn commits(journal: &Journal, threads: usize, time: Duration) -> Result<f64, Failure> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<(), Failure> {
                    while !stop.load(Ordering::Relaxed) {
                        let lsn = journal.append(&[], &mut |_, out| out.extend_from_slice(&[7; 200]))?.lsn;
                        journal.commit(lsn)?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| "a worker died")?)
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

fn commits_beside_bulk(journal: &Journal, time: Duration) -> Result<(Duration, Duration), Failure> {
    let mut waits = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        let stream = scope.spawn(|| bulk(journal, time, u64::MAX));
        while !stream.is_finished() {
            let started = Instant::now();
            let lsn = journal.append(&[], &mut |_, out| out.extend_from_slice(&[7; 200]))?.lsn;
            journal.commit(lsn)?;
            waits.push(started.elapsed());
        }
        stream.join().map_err(|_| "the stream died")??;
        Ok(())
    })?;
    waits.sort_unstable();
    Ok((waits[waits.len() / 2], waits[waits.len() * 99 / 100]))
}

fn appends(journal: &Journal, time: Duration) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut count = 0u64;
    while started.elapsed() < time {
        for _ in 0..100 {
            journal.append(&[], &mut |_, out| out.extend_from_slice(&[7; 200]))?;
        }
        count += 100;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn bulk(journal: &Journal, time: Duration, commit_every: u64) -> Result<f64, Failure> {
    let data = vec![0xa5u8; 1 << 20];
    let started = Instant::now();
    let mut written = 0u64;
    while started.elapsed() < time {
        let frames: Vec<_> = data
            .chunks(cache_journal::FRAME_BYTES_MAX)
            .zip(0u64..)
            .map(|(bytes, i)| FrameData { ino: 1, offset: i * bytes.len() as u64, bytes, origin: None })
            .collect();
        let lsn = journal.append(&frames, &mut |_, out| out.extend_from_slice(&[7; 200]))?.lsn;
        written += 1;
        if written.is_multiple_of(commit_every) {
            journal.commit(lsn)?;
        }
        if journal.segments().len() > 4 {
            recycle(journal)?;
        }
    }
    journal.commit(journal.last())?;
    Ok(written as f64 * 1.048_576 / started.elapsed().as_secs_f64())
}
