//! F1: kill -9 under load. Every byte acknowledged by fsync is looked for afterwards, and the service is back in time.

#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tests_e2e::{Pattern, Site, SiteOptions, deep};

/// The promise is 10 s plus 1 s per GiB dirty.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// What was acknowledged as durable: name → (pattern, length).
type Acked = Arc<Mutex<HashMap<String, (u64, usize)>>>;

/// Creates, syncs and renames small files until the service dies.
fn small_files(mnt: &Path, worker: u64, round: u64, acked: &Acked, stop: &AtomicBool) -> std::io::Result<()> {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let seed = worker << 48 | round << 32 | n;
        let len = [1usize, 500, 4096, 9_999, 65_536, 200_001][(seed % 6) as usize];
        let name = format!("w{worker}-r{round}-{n}");
        let temporary = mnt.join(format!("{name}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&Pattern(seed).bytes(0, len))?;
        file.sync_all()?;
        fs::rename(&temporary, mnt.join(&name))?;
        File::open(mnt)?.sync_all()?;
        acked.lock().unwrap().insert(name, (seed, len));
    }
    Ok(())
}

/// Appends to one file with a sync per append; the acknowledged length only grows.
fn appender(mnt: &Path, worker: u64, round: u64, acked: &Acked, stop: &AtomicBool) -> std::io::Result<()> {
    let name = format!("log{worker}-r{round}");
    let seed = 0xabcd << 32 | worker << 16 | round;
    let mut file = OpenOptions::new().create(true).append(true).open(mnt.join(&name))?;
    let mut len = 0usize;
    while !stop.load(Ordering::Relaxed) {
        let more = 1 + (len * 31) % 7000;
        file.write_all(&Pattern(seed).bytes(len as u64, more))?;
        file.sync_data()?;
        len += more;
        acked.lock().unwrap().insert(name.clone(), (seed, len));
    }
    Ok(())
}

/// Unsynced noise: big writes, deletes, overwrites. Nothing of it is promised.
fn noise(mnt: &Path, round: u64, stop: &AtomicBool) -> std::io::Result<()> {
    let block = Pattern(round).bytes(0, 1 << 20);
    let file = File::create(mnt.join("noise"))?;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        file.write_all_at(&block, (n % 24) << 20)?;
        let gone = mnt.join(format!("gone{}", n % 5));
        fs::write(&gone, &block[..1000])?;
        fs::remove_file(&gone)?;
    }
    Ok(())
}

fn verify(mnt: &Path, acked: &Acked) {
    for (name, (seed, len)) in acked.lock().unwrap().iter() {
        let mut content = Vec::new();
        let mut file =
            File::open(mnt.join(name)).unwrap_or_else(|e| panic!("{name} was acknowledged and is gone: {e}"));
        file.read_to_end(&mut content).unwrap_or_else(|e| panic!("{name} cannot be read: {e}"));
        assert!(content.len() >= *len, "{name}: {len} bytes were acknowledged, {} are there", content.len());
        assert!(content == Pattern(*seed).bytes(0, content.len()), "{name} holds wrong bytes");
    }
}

#[test]
fn f01_kill_9_loses_no_acknowledged_byte() {
    let kills: u64 = if deep() { 200 } else { 40 };
    let mut site =
        Site::new(SiteOptions { args: ["--upload-delay", "2s"].map(String::from).to_vec(), ..SiteOptions::default() });
    site.mount();
    let acked: Acked = Arc::default();
    let mut seen = 0;
    for round in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for worker in 0..2 {
            let (mnt, acked, stop) = (site.mnt(), acked.clone(), stop.clone());
            workers.push(thread::spawn(move || small_files(&mnt, worker, round, &acked, &stop)));
        }
        let (mnt, a, s) = (site.mnt(), acked.clone(), stop.clone());
        workers.push(thread::spawn(move || appender(&mnt, 9, round, &a, &s)));
        let (mnt, s) = (site.mnt(), stop.clone());
        workers.push(thread::spawn(move || noise(&mnt, round, &s)));

        thread::sleep(Duration::from_millis(100 + (round * 7919) % 400));
        site.kill();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            // It ended because the service died under it, or because it was told to.
            drop(worker.join().expect("the load does not panic"));
        }
        let back = site.try_mount().unwrap();
        assert!(
            back < BACK_WITHIN + Duration::from_secs(if deep() { 0 } else { 5 }),
            "round {round}: back after {back:?}"
        );
        verify(&site.mnt(), &acked);
        seen = acked.lock().unwrap().len();
        // Keep the directory and the time to verify it bounded: what was verified may go.
        if seen > 600 {
            for (name, _) in acked.lock().unwrap().drain() {
                fs::remove_file(site.mnt().join(name)).unwrap();
            }
        }
    }
    assert!(seen > 0, "the load acknowledged nothing");
    site.stop();
    site.mount();
    verify(&site.mnt(), &acked);
    let check = site.command(&["check", "--data"]).arg(site.data()).deadline_secs(120).finish();
    assert_eq!(check.code, Some(0), "{}", check.text());
}
