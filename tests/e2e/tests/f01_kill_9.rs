//! F1: kill -9 under load. Every byte acknowledged by fsync is looked for afterwards, and the service is back in time.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tests_e2e::load::{self, Ack};
use tests_e2e::{Pattern, Site, SiteOptions, deep};

/// The promise is 10 s plus 1 s per GiB dirty.
const BACK_WITHIN: Duration = Duration::from_secs(10);

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

fn verify(mnt: &Path, acked: &Mutex<Vec<Ack>>) {
    let wrong = load::verify(mnt, acked.lock().unwrap().clone());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn f01_kill_9_loses_no_acknowledged_byte() {
    let kills: u64 = if deep() { 200 } else { 40 };
    let mut site =
        Site::new(SiteOptions { args: ["--upload-delay", "2s"].map(String::from).to_vec(), ..SiteOptions::default() });
    site.mount();
    let acked: Arc<Mutex<Vec<Ack>>> = Arc::default();
    let mut seen = 0;
    for round in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for worker in 0..3 {
            let (mnt, acked, stop) = (site.mnt(), acked.clone(), stop.clone());
            workers.push(thread::spawn(move || {
                load::run(&mnt, worker, round, |ack| {
                    acked.lock().unwrap().push(ack);
                    !stop.load(Ordering::Relaxed)
                })
            }));
        }
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
        // Keep the directory and the time to verify it bounded: what was verified may go.
        let mut acked = acked.lock().unwrap();
        seen += acked.len();
        if acked.len() > 1500 {
            for ack in acked.drain(..) {
                fs::remove_file(site.mnt().join(&ack.name)).ok();
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
