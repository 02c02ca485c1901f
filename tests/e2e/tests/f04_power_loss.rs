//! F4: the machine loses power under load. What fsync acknowledged is there afterwards.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use tests_e2e::load::Ack;
use tests_e2e::{Guest, Run, deep, tidegate};

fn acks_in(output: &str) -> Vec<Ack> {
    output.lines().filter_map(|line| Ack::parse(line.trim())).collect()
}

#[test]
fn f04_power_loss_keeps_every_acknowledged_byte() {
    let cuts = if deep() { 50 } else { 5 };
    let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in("/var/tmp").unwrap();
    let image = dir.path().join("disk.img");
    Run::bash("truncate -s 2G \"$IMAGE\" && mkfs.ext4 -q \"$IMAGE\"").env("IMAGE", &image).ok();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();

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
    let loader = env!("CARGO_BIN_EXE_load");
    let mut total = 0;
    for round in 0..cuts {
        let script = format!("{serve}\n{loader} run /mnt/t 1 {round} & exec {loader} run /mnt/t 2 {round}\n");
        let mut guest = Guest::boot(&shared, &image, &script);
        let target = 20 + (round * 37) % 60;
        let end = Instant::now() + Duration::from_secs(180);
        while acks_in(&guest.output()).len() < target {
            assert!(!guest.ended(), "the guest ended:\n{}", guest.output());
            assert!(Instant::now() < end, "too few acknowledgements:\n{}\n{}", guest.output(), log(&shared));
            std::thread::sleep(Duration::from_millis(20));
        }
        guest.cut();
        let output = fs::read_to_string(shared.join("output")).unwrap_or_default();
        let acks = acks_in(&output);
        total += acks.len();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(shared.join("acks")).unwrap();
        for ack in &acks {
            writeln!(file, "{}", ack.line()).unwrap();
        }

        let script = format!("{serve}\n{loader} verify /mnt/t /mnt/host/acks && cd / && kill %1 && wait %1\n");
        let guest = Guest::boot(&shared, &image, &script);
        let code = guest.finish(Duration::from_secs(240));
        let output = fs::read_to_string(shared.join("output")).unwrap_or_default();
        assert_eq!(code, Some(0), "round {round}, after {} acknowledgements:\n{output}\n{}", acks.len(), log(&shared));
    }
    assert!(total >= cuts * 20);
}

fn log(shared: &std::path::Path) -> String {
    fs::read_to_string(shared.join("service.log")).unwrap_or_default()
}
