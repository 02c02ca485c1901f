//! Memory and idleness have budgets.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use tests_e2e::{Pattern, Site, deep};

/// The promise with default budgets.
const RSS_BYTES_MAX: u64 = 1 << 30;

fn rss_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn memory_stays_in_its_budget() {
    let (files, gib) = if deep() { (1_000_000u64, 20) } else { (20_000, 2) };
    let site = Site::mounted();
    let creators: Vec<_> = (0..2u64)
        .map(|worker| {
            let dir = site.mnt().join(format!("w{worker}"));
            thread::spawn(move || {
                for n in 0..files / 2 {
                    let folder = dir.join((n / 5000).to_string());
                    if n % 5000 == 0 {
                        fs::create_dir_all(&folder).unwrap();
                    }
                    fs::write(folder.join(n.to_string()), n.to_le_bytes()).unwrap();
                }
            })
        })
        .collect();
    for creator in creators {
        creator.join().unwrap();
    }
    let block = Pattern(1).bytes(0, 8 << 20);
    let mut file = fs::File::create(site.mnt().join("large")).unwrap();
    for n in 0..gib * 128 {
        file.write_all(&block).unwrap();
        // Two files' worth of space is enough to show the memory; the disk need not hold all of it at once.
        if n % 256 == 255 {
            file = fs::File::create(site.mnt().join("large")).unwrap();
        }
    }
    drop(file);
    let rss = rss_bytes(site.pid());
    println!("peak RSS {} MiB after {files} files and {gib} GiB", rss >> 20);
    assert!(rss < RSS_BYTES_MAX, "{} MiB", rss >> 20);
}

#[test]
fn idle_costs_next_to_nothing() {
    let site = Site::mounted();
    fs::write(site.mnt().join("a"), "b").unwrap();
    site.flush();
    thread::sleep(Duration::from_secs(2));
    let before = cpu_ticks(site.pid());
    thread::sleep(Duration::from_secs(10));
    let ticks = cpu_ticks(site.pid()) - before;
    assert!(ticks <= 20, "{ticks} ticks of 10 ms in 10 s of idleness");
}
