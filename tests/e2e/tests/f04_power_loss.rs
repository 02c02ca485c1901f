//! F4: the machine loses power under load. What fsync acknowledged is there afterwards.
//!
//! The machine is a User-Mode-Linux guest that is killed. Where that kernel cannot run (it does not know the register
//! state of processors with AMX), it is this machine with a disk that is cut off at an instant: the same result for
//! the bytes on the disk.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use tests_e2e::load::Ack;
use tests_e2e::{FrozenDisk, Guest, Run, Site, SiteOptions, deep, tidegate};

const LOADER: &str = env!("CARGO_BIN_EXE_load");
/// Acknowledgements to wait for before a cut: a base and a spread.
const ACKS_BASE: usize = 20;
const ACKS_SPREAD: usize = 60;

fn cuts() -> usize {
    if deep() { 50 } else { 5 }
}

fn target(round: usize) -> usize {
    ACKS_BASE + (round * 37) % ACKS_SPREAD
}

fn acks_in(output: &str) -> Vec<Ack> {
    output.lines().filter_map(|line| Ack::parse(line.trim())).collect()
}

fn keep(acks: &[Ack], file: &Path) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    for ack in acks {
        writeln!(file, "{}", ack.line()).unwrap();
    }
}

fn wait_for_acks(output: impl Fn() -> String, count: usize, mut check: impl FnMut()) {
    let end = Instant::now() + Duration::from_secs(180);
    while acks_in(&output()).len() < count {
        check();
        assert!(Instant::now() < end, "too few acknowledgements:\n{}", output());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn f04_power_loss_keeps_every_acknowledged_byte() {
    let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in("/var/tmp").unwrap();
    if Guest::boots(dir.path()) {
        guest_loses_power(dir.path());
    } else {
        eprintln!("User-Mode Linux does not run on this processor: cutting off a disk of this machine instead");
        disk_is_cut_off(dir.path());
    }
}

fn guest_loses_power(dir: &Path) {
    let image = dir.join("disk.img");
    Run::bash("truncate -s 2G \"$IMAGE\" && mkfs.ext4 -q \"$IMAGE\"").env("IMAGE", &image).ok();
    let shared = dir.join("shared");
    fs::create_dir(&shared).unwrap();
    let service_log = || fs::read_to_string(shared.join("service.log")).unwrap_or_default();
    let serve = format!(
        r#"
        set -e
        mkdir -p /mnt/disk /mnt/t; mount -t ext4 /dev/ubda /mnt/disk
        export HOME=/mnt/disk
        {tidegate} mount --foreground --data /mnt/disk/data --upload-delay 1s /mnt/t > /mnt/host/service.log 2>&1 &
        for i in $(seq 1 600); do grep -q ' /mnt/t fuse' /proc/mounts && break; sleep 0.05; done
        grep -q ' /mnt/t fuse' /proc/mounts || {{ cat /mnt/host/service.log; exit 9; }}
        "#,
        tidegate = tidegate().display()
    );
    for round in 0..cuts() {
        let script = format!("{serve}\n{LOADER} run /mnt/t 1 {round} & exec {LOADER} run /mnt/t 2 {round}\n");
        let mut guest = Guest::boot(&shared, Some(&image), &script);
        let output = shared.join("output");
        wait_for_acks(
            || fs::read_to_string(&output).unwrap_or_default(),
            target(round),
            || assert!(!guest.ended(), "the guest ended:\n{}\n{}", guest.output(), service_log()),
        );
        guest.cut();
        keep(&acks_in(&fs::read_to_string(&output).unwrap_or_default()), &shared.join("acks"));

        let script = format!("{serve}\n{LOADER} verify /mnt/t /mnt/host/acks && cd / && kill %1 && wait %1\n");
        let code = Guest::boot(&shared, Some(&image), &script).finish(Duration::from_secs(240));
        let said = fs::read_to_string(&output).unwrap_or_default();
        assert_eq!(code, Some(0), "round {round}:\n{said}\n{}", service_log());
    }
}

fn disk_is_cut_off(dir: &Path) {
    let disk = FrozenDisk::new(dir);
    let acks = dir.join("acks");
    for round in 0..cuts() {
        let options = SiteOptions {
            data: Some(disk.disk().join("data")),
            args: ["--upload-delay", "1s"].map(String::from).to_vec(),
            ..SiteOptions::default()
        };
        let mut site = Site::new(options);
        site.mount();
        let outputs: Vec<PathBuf> = (0..2).map(|n| site.dir().join(format!("load{n}"))).collect();
        let loads: Vec<Child> = (0..2)
            .map(|n| {
                let log = File::create(&outputs[n]).unwrap();
                Run::new(LOADER).arg("run").arg(site.mnt()).args([n.to_string(), round.to_string()]).start(log)
            })
            .collect();
        let said = || outputs.iter().map(|o| fs::read_to_string(o).unwrap_or_default()).collect::<String>();
        wait_for_acks(said, target(round), || ());
        disk.cut(
            || keep(&acks_in(&said()), &acks),
            || {
                site.kill();
                for mut load in loads {
                    load.kill().unwrap();
                    load.wait().unwrap();
                }
            },
        );
        site.mount();
        Run::new(LOADER).arg("verify").arg(site.mnt()).arg(&acks).deadline_secs(180).ok();
        site.stop();
    }
}
