//! F4: the machine loses power under load. What fsync acknowledged is there afterwards.
//!
//! The machine is a User-Mode-Linux guest with a disk image; killing it loses what had not reached the image.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tests_e2e::load::Ack;
use tests_e2e::{Guest, Run, deep, tidegate};

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
    let dir = dir.path();
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
