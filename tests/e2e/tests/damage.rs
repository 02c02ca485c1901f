//! Damaged or full: a clear message or a truthful errno, and nothing lost that can be kept.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tests_e2e::{Pattern, Run, Site, SiteOptions};

/// The journal's file that holds most, and where its last byte is that is not zero.
fn segment_in_use(site: &Site) -> (PathBuf, usize) {
    let files = fs::read_dir(site.data().join("journal")).unwrap().map(|e| e.unwrap().path());
    let ends = files.filter(|p| p.is_file()).map(|path| {
        let content = fs::read(&path).unwrap();
        let end = content.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        (path, end)
    });
    ends.max_by_key(|(_, end)| *end).unwrap()
}

#[test]
fn damaged_journal_tail_is_cut_and_the_rest_served() {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("early"), "early").unwrap();
    fs::File::open(site.mnt().join("early")).unwrap().sync_all().unwrap();
    site.kill();
    // Garbage after everything that was written, as a torn last write leaves it.
    let (segment, end) = segment_in_use(&site);
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[0xa5; 3000], (end as u64).next_multiple_of(8)).unwrap();
    site.mount();
    assert_eq!(fs::read_to_string(site.mnt().join("early")).unwrap(), "early");
    fs::write(site.mnt().join("late"), "late").unwrap();
}

#[test]
fn hole_in_the_journal_stops_the_start_and_names_a_repair_that_works() {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("in the pool"), Pattern(99).bytes(0, 70_000)).unwrap();
    site.flush();
    for n in 0..50 {
        let mut file = fs::File::create(site.mnt().join(format!("f{n}"))).unwrap();
        file.write_all(&Pattern(n).bytes(0, 20_000)).unwrap();
        file.sync_all().unwrap();
    }
    site.kill();
    let (segment, end) = segment_in_use(&site);
    assert!(end > 500_000, "the records end at {end} already");
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    // More than one record's payload, so that the head of at least one is hit.
    file.write_all_at(&[0xff; 40_000], 100_000).unwrap();
    let why = site.try_mount().unwrap_err();
    assert!(why.contains("rename the store's folder `journal` and run `tidegate recover"), "{why}");
    assert!(!why.contains("panicked"), "{why}");
    fs::rename(site.data().join("journal"), site.data().join("journal.damaged")).unwrap();
    let said = site.command(&["recover", "--data"]).arg(site.data()).deadline_secs(120).ok();
    assert!(said.stdout.contains("the journal is lost"), "{}", said.stdout);
    site.mount();
    assert_eq!(fs::read(site.mnt().join("in the pool")).unwrap(), Pattern(99).bytes(0, 70_000));
    fs::write(site.mnt().join("new"), "new").unwrap();
    site.stop();
    site.mount();
    assert_eq!(fs::read_to_string(site.mnt().join("new")).unwrap(), "new");
}

#[test]
fn damaged_index_stops_the_start_and_names_the_repair() {
    let mut site = Site::mounted();
    fs::write(site.mnt().join("a"), "b").unwrap();
    site.stop();
    fs::write(site.data().join("index/CURRENT"), "MANIFEST-999999\n").unwrap();
    let why = site.try_mount().unwrap_err();
    assert!(why.contains("index") && why.contains("recover"), "{why}");
    assert!(!why.contains("panicked"), "{why}");
}

#[test]
fn lost_index_is_rebuilt_by_recover() {
    let mut site = Site::mounted();
    for n in 0..50 {
        fs::write(site.mnt().join(format!("f{n}")), Pattern(n).bytes(0, 30_000)).unwrap();
    }
    site.stop();
    fs::remove_dir_all(site.data().join("index")).unwrap();
    site.command(&["recover", "--data"]).arg(site.data()).deadline_secs(120).ok();
    site.mount();
    for n in 0..50 {
        assert_eq!(fs::read(site.mnt().join(format!("f{n}"))).unwrap(), Pattern(n).bytes(0, 30_000));
    }
}

/// A site whose store lies on a filesystem of `mib` MiB of its own.
struct SmallDisk {
    site: Option<Site>,
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mib: u64, args: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in("/var/tmp").unwrap();
        Run::bash(&format!(
            "truncate -s {mib}M small.img; mkfs.ext4 -q small.img; mkdir small; mount -o loop small.img small"
        ))
        .dir(dir.path())
        .ok();
        let site = Site::new(SiteOptions {
            data: Some(dir.path().join("small/data")),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            ..SiteOptions::default()
        });
        Self { site: Some(site), dir }
    }

    fn site(&mut self) -> &mut Site {
        self.site.as_mut().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.site.take());
        Run::bash("for i in $(seq 1 100); do umount small && exit 0; sleep 0.05; done; umount -l small")
            .dir(self.dir.path())
            .finish();
    }
}

#[test]
fn f07_disk_full_is_enospc_and_what_was_acknowledged_stays() {
    let mut disk = SmallDisk::new(700, &["--cache-size", "128M", "--max-dirty", "96M", "--upload-delay", "1s"]);
    let site = disk.site();
    site.mount();
    let block = Pattern(3).bytes(0, 1 << 20);
    let mut kept = 0;
    let error = loop {
        let path = site.mnt().join(format!("f{kept}"));
        let done = fs::File::create(&path).and_then(|mut file| file.write_all(&block).and_then(|()| file.sync_all()));
        match done {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        assert!(kept < 2000, "the disk never became full");
    };
    assert_eq!(error.raw_os_error(), Some(28), "ENOSPC, not {error}");
    assert!(kept > 50, "only {kept} MiB fitted");
    for n in 0..kept {
        assert!(fs::read(site.mnt().join(format!("f{n}"))).unwrap() == block, "f{n}");
    }
    for n in 0..kept / 2 {
        fs::remove_file(site.mnt().join(format!("f{n}"))).unwrap();
    }
    site.remount();
    for n in kept / 2..kept {
        assert!(fs::read(site.mnt().join(format!("f{n}"))).unwrap() == block, "f{n}");
    }
}

#[test]
fn f06_cache_full_slows_writers_and_loses_nothing() {
    let mut site = Site::new(SiteOptions {
        args: ["--cache-size", "64M", "--max-dirty", "64M", "--upload-delay", "1s"].map(String::from).to_vec(),
        ..SiteOptions::default()
    });
    site.mount();
    let away = site.dir().join("drives-away");
    fs::rename(site.data().join("drives"), &away).unwrap();
    let path = site.mnt().join("large");
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut file = fs::File::create(path)?;
            for mib in 0..256u64 {
                file.write_all(&Pattern(5).bytes(mib << 20, 1 << 20))?;
            }
            file.sync_all()
        }
    });
    // With the store away the writer fills the cache and waits; half of its patience later the store is back.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let status = site.status();
        let dirty = status["dirty_bytes"].as_u64().unwrap();
        assert!(dirty <= 80 << 20, "the cap is 64 MiB: {status}");
        if dirty > 56 << 20 {
            break;
        }
        assert!(std::time::Instant::now() < end, "the cache never filled: {status}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    fs::write(site.mnt().join("small"), "names and small files still work").ok();
    fs::remove_file(site.mnt().join("small")).ok();
    fs::rename(&away, site.data().join("drives")).unwrap();
    writer.join().unwrap().unwrap();
    let content = fs::read(&path).unwrap();
    assert!(content == Pattern(5).bytes(0, 256 << 20), "wrong bytes");
    site.remount();
    assert!(fs::read(&path).unwrap() == content, "wrong bytes after a restart");
}
