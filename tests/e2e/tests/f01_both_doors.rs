//! F1 with two doors: kill -9 while a mount and NFS clients write. What either acknowledged as durable is there, seen
//! through both.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tests_e2e::load::{self, Ack};
use tests_e2e::{NfsClient, Pattern, Site, SiteOptions, deep};

const DOORS: &str = "[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:0\"]\n[cache]\nupload_delay = \"2s\"\n";

#[test]
fn f01_kill_9_with_a_mount_and_nfs_loses_no_acknowledged_byte() {
    let kills: u64 = if deep() { 100 } else { 12 };
    let mut site = Site::new(SiteOptions { doors: Some(DOORS.to_owned()), ..SiteOptions::default() });
    site.mount();
    site.share(&["create", "/", "--as", "/all", "--squash", "none"]).ok();
    let acked: Arc<Mutex<Vec<Ack>>> = Arc::default();
    let (by_mount, by_nfs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..kills {
        let stop = AtomicBool::new(false);
        let note = |ack: Ack, counter: &AtomicUsize| {
            acked.lock().unwrap().push(ack);
            counter.fetch_add(1, Ordering::Relaxed);
            !stop.load(Ordering::Relaxed)
        };
        let address = site.nfs_address().expect("the door is open");
        let mnt = site.mnt();
        thread::scope(|scope| {
            for worker in 0..2 {
                let (note, by_mount, by_nfs, mnt) = (&note, &by_mount, &by_nfs, &mnt);
                scope.spawn(move || {
                    // It ends because the service died under it, or because it was told to.
                    drop(load::run(mnt, worker, round, |ack| note(ack, by_mount)));
                });
                scope.spawn(move || {
                    let mut client = NfsClient::connect(address);
                    let root = client.mount("/all").expect("this machine is on the list");
                    client.load(&root, worker, round, |ack| note(ack, by_nfs));
                });
            }
            thread::sleep(Duration::from_millis(250 + (round * 7919) % 400));
            site.kill();
            stop.store(true, Ordering::Relaxed);
        });
        site.mount();
        let facts = acked.lock().unwrap().clone();
        let wrong = load::verify(&site.mnt(), facts.clone());
        assert!(wrong.is_empty(), "round {round}: {}", wrong.join("\n"));
        // A part of them through the other door.
        let mut client = NfsClient::connect(site.nfs_address().expect("the door is open"));
        let root = client.mount("/all").expect("this machine is on the list");
        for ack in facts.iter().rev().filter(|ack| !ack.name.starts_with("log")).take(20) {
            let file = client.lookup(&root, &ack.name);
            assert!(
                client.read(&file, 1 << 20) == Pattern(ack.seed).bytes(0, ack.len)[..],
                "round {round}: {}",
                ack.name
            );
        }
        let mut acked = acked.lock().unwrap();
        if acked.len() > 1500 {
            for ack in acked.drain(..) {
                fs::remove_file(site.mnt().join(&ack.name)).ok();
            }
        }
    }
    let (by_mount, by_nfs) = (by_mount.into_inner() as u64, by_nfs.into_inner() as u64);
    assert!(by_mount > kills && by_nfs > kills, "hardly any load: {by_mount} by the mount, {by_nfs} by NFS");
    let check = site.command(&["check", "--data"]).arg(site.data()).deadline_secs(120).finish();
    assert_eq!(check.code, Some(0), "{}", check.text());
    site.stop();
}
