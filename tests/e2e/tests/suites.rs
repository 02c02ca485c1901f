//! Public suites and everyday programs judge the FUSE mount.

#![allow(clippy::disallowed_methods)]

use std::fs;

use tests_e2e::{Run, Site, SiteOptions, deep, fill_tree, tidegate, tool};

const PJDFSTEST_CONFIG: &str = r#"
[features]
file_flags = []
posix_fallocate = {}
utime_now = {}
utimensat = {}
rename_ctime = {}

[settings]
naptime = 0.01
allow_remount = false
expected_failures = []

[dummy_auth]
entries = [["nobody", "nogroup"], ["games", "games"], ["man", "man"]]
"#;

#[test]
fn pjdfstest_has_no_failure() {
    let site = Site::mounted();
    let config = site.dir().join("pjd.toml");
    fs::write(&config, PJDFSTEST_CONFIG).unwrap();
    let done = Run::new(tool("pjdfstest"))
        .arg("-c")
        .arg(&config)
        // The other filesystem, for EXDEV.
        .args(["-s", "/dev/shm", "-p"])
        .arg(site.mnt())
        .dir(&site.mnt())
        .deadline_secs(600)
        .finish();
    let failed: Vec<&str> = done.stdout.lines().filter(|l| l.contains("FAILED") || l.contains("failed")).collect();
    assert_eq!(done.code, Some(0), "{}\n{}", failed.join("\n"), done.stderr);
    assert!(done.stdout.lines().count() > 300, "it ran hardly any test:\n{}", done.stdout);
}

fn fsx(seed: u64, operations: u64) {
    let site = Site::mounted();
    Run::new(tool("fsx"))
        .args(["-N", &operations.to_string(), "-S", &seed.to_string(), "-q"])
        .arg(site.mnt().join("fsx"))
        .deadline_secs(60 + operations / 50)
        .ok();
}

#[test]
fn fsx_finds_no_wrong_byte_seed_1() {
    fsx(1, if deep() { 200_000 } else { 20_000 });
}

#[test]
fn fsx_finds_no_wrong_byte_seed_2() {
    fsx(2, if deep() { 200_000 } else { 20_000 });
}

#[test]
fn fsx_finds_no_wrong_byte_seed_3() {
    fsx(3, if deep() { 200_000 } else { 20_000 });
}

#[test]
fn fio_verifies_its_random_writes() {
    let site = Site::mounted();
    Run::new(tool("fio"))
        .args([
            "--name=v",
            "--rw=randwrite",
            "--bsrange=512-128k",
            "--bs_unaligned=1",
            "--size=128m",
            "--verify=crc32c",
        ])
        .args(["--do_verify=1", "--verify_fatal=1", "--fsync=256", "--numjobs=2", "--minimal"])
        .arg(format!("--directory={}", site.mnt().display()))
        .dir(site.dir())
        .deadline_secs(300)
        .ok();
}

#[test]
fn fio_verifies_after_a_remount_from_the_pool() {
    let mut site = Site::mounted();
    let job = |site: &Site, only_verify: bool| {
        Run::new(tool("fio"))
            .args([
                "--name=v",
                "--rw=randwrite",
                "--bs=8k",
                "--size=48m",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--minimal",
            ])
            .args(["--randseed=7", "--end_fsync=1", "--verify_state_save=0"])
            .arg(if only_verify { "--verify_only" } else { "--do_verify=0" })
            .arg(format!("--directory={}", site.mnt().display()))
            .dir(site.dir())
            .deadline_secs(300)
            .ok();
    };
    job(&site, false);
    site.flush();
    site.remount();
    job(&site, true);
}

#[test]
fn git_clones_and_checks_a_repository() {
    let site = Site::mounted();
    Run::bash(
        r#"
        mkdir origin && cd origin && git init -q . && git config user.email t@t && git config user.name t
        for i in $(seq 1 40); do echo "line $i" >> a.txt; head -c $((i * 977)) /dev/urandom > bin$i; git add -A; git commit -qm "c$i"; done
        cd "$MNT" && git clone -q "file://$ORIGIN" clone && cd clone && git fsck --full --strict && git gc -q && git fsck --full
        git checkout -q HEAD~20 && git checkout -q - && test -z "$(git status --porcelain)"
        "#,
    )
    .env("MNT", site.mnt())
    .env("ORIGIN", site.dir().join("origin"))
    .dir(site.dir())
    .deadline_secs(180)
    .ok();
}

#[test]
fn cargo_builds_inside_the_mount() {
    let site = Site::mounted();
    Run::bash(
        r#"
        cargo init -q --name inside --vcs none inside && cd inside
        for i in $(seq 1 20); do echo "pub fn f$i() -> u32 { $i }" > src/m$i.rs; echo "mod m$i;" >> src/main.rs; done
        sed -i 's/Hello, world!/built {}/; s/");/", m7::f7());/' src/main.rs
        cargo build -q --offline && test "$(./target/debug/inside)" = "built 7"
        touch src/m3.rs && cargo build -q --offline && ./target/debug/inside
        "#,
    )
    .env("CARGO_TARGET_DIR", site.mnt().join("inside/target"))
    .env("RUSTFLAGS", "-Awarnings")
    .dir(&site.mnt())
    .deadline_secs(180)
    .ok();
}

#[test]
fn rsync_there_and_back_finds_nothing_to_do() {
    let site = Site::mounted();
    let source = site.dir().join("source");
    fill_tree(&source, 300).unwrap();
    Run::bash(
        r#"
        setfattr -n user.color -v blue source/d0/e0/f0
        setfacl -m u:games:rw source/d1/e1/f1; setfacl -d -m g:man:rx source/d2
        mkfifo source/fifo; chmod 4755 source/d3/e0/f3; touch -d '2001-02-03 04:05:06.123456789' source/d4/e1/f4
        truncate -s 10M source/sparse; mknod source/null c 1 3; chown games:games source/d5/e2/f5
        rsync -aHAXS source/ "$MNT/copy/"
        test -z "$(rsync -aHAXc --delete --dry-run --itemize-changes source/ "$MNT/copy/")"
        rsync -aHAXS "$MNT/copy/" back/
        test -z "$(rsync -aHAXc --delete --dry-run --itemize-changes source/ back/)"
        "#,
    )
    .env("MNT", site.mnt())
    .dir(site.dir())
    .deadline_secs(180)
    .ok();
}

#[test]
fn sqlite_in_wal_mode_keeps_every_commit_through_kill_9() {
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    let writer = r#"
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full")
db.execute("create table if not exists t(n integer primary key, v blob)")
n = db.execute("select coalesce(max(n), 0) from t").fetchone()[0]
ack = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    n += 1
    db.execute("insert into t values(?, randomblob(?))", (n, 10 + n * 37 % 5000))
    os.write(ack, b"%d\n" % n)
"#;
    let script = site.dir().join("writer.py");
    fs::write(&script, writer).unwrap();
    let (database, acks) = (site.mnt().join("a.db"), site.dir().join("acks"));
    for round in 1..=3 {
        let log = fs::File::create(site.dir().join("writer.log")).unwrap();
        let mut child = Run::new("python3").arg(&script).arg(&database).arg(&acks).start(log);
        let target = round * 60;
        let acked = || fs::read_to_string(&acks).map(|t| t.lines().count()).unwrap_or(0);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while acked() < target {
            assert!(
                std::time::Instant::now() < end,
                "only {} commits; {}",
                acked(),
                fs::read_to_string(site.dir().join("writer.log")).unwrap()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        site.kill();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = fs::read_to_string(&acks).unwrap().lines().last().unwrap().to_owned();
        site.mount();
        let done =
            Run::new("sqlite3").arg(&database).arg("pragma integrity_check; select count(*), max(n) from t;").ok();
        let mut lines = done.stdout.lines();
        assert_eq!(lines.next(), Some("ok"), "{}", done.stdout);
        let (count, max) = lines.next().unwrap().split_once('|').unwrap();
        assert_eq!(count, max, "a commit in the middle is missing");
        assert!(max.parse::<u64>().unwrap() >= last.parse::<u64>().unwrap(), "acknowledged {last}, found {max}");
    }
}

#[test]
fn binary_under_test_is_there() {
    assert!(tidegate().is_file(), "{} is missing: cargo build -p gateway-daemon", tidegate().display());
}
