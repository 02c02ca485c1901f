//! The workloads. Each has a preparation that is not timed and a work that is.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tests_e2e::{Pattern, Run, Site};

const MIB: usize = 1 << 20;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub files: u64,
    pub mib: u64,
}

/// One thing to time.
pub struct Workload {
    pub name: &'static str,
    /// D0/D1 buffered, D2 synced (see the design of guarantees).
    pub durability: &'static str,
    pub unit: &'static str,
    /// Units of work at a scale.
    pub amount: fn(Scale) -> f64,
    pub prepare: fn(&Path, Scale, &Site) -> io::Result<()>,
    pub work: fn(&Path, Scale) -> io::Result<()>,
    /// The end of the work, timed with it.
    pub end: fn(&Path, &Site) -> io::Result<()>,
}

const fn files(scale: Scale) -> f64 {
    scale.files as f64
}

const fn mib(scale: Scale) -> f64 {
    scale.mib as f64
}

/// Durable operations are fewer: each costs a sync.
const fn durable_files(scale: Scale) -> f64 {
    (scale.files / 4) as f64
}

/// All workloads, in the order they run.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "create 4 KiB files",
        durability: "D1",
        unit: "files/s",
        amount: files,
        prepare: nothing,
        work: create_small,
        end: at_once,
    },
    Workload {
        name: "durable 4 KiB files",
        durability: "D2",
        unit: "files/s",
        amount: durable_files,
        prepare: nothing,
        work: create_durable,
        end: at_once,
    },
    Workload {
        name: "write and fsync",
        durability: "D2",
        unit: "MiB/s",
        amount: mib,
        prepare: nothing,
        work: write_large,
        end: at_once,
    },
    Workload {
        name: "write until in the pool",
        durability: "D3",
        unit: "MiB/s",
        amount: mib,
        prepare: nothing,
        work: write_large,
        end: into_the_pool,
    },
    Workload {
        name: "cold read",
        durability: "-",
        unit: "MiB/s",
        amount: mib,
        prepare: cold_file,
        work: read_large,
        end: at_once,
    },
    Workload {
        name: "cold read from the pool",
        durability: "-",
        unit: "MiB/s",
        amount: mib,
        prepare: pool_file,
        work: read_large,
        end: at_once,
    },
    Workload {
        name: "warm read",
        durability: "-",
        unit: "MiB/s",
        amount: mib,
        prepare: warm_file,
        work: read_large,
        end: at_once,
    },
    Workload {
        name: "stat 4 KiB files",
        durability: "-",
        unit: "files/s",
        amount: files,
        prepare: create_prepared,
        work: stat_all,
        end: at_once,
    },
    Workload {
        name: "tar x",
        durability: "D1",
        unit: "files/s",
        amount: files,
        prepare: make_tar,
        work: untar,
        end: at_once,
    },
    Workload {
        name: "rm -rf",
        durability: "D1",
        unit: "files/s",
        amount: files,
        prepare: create_prepared,
        work: remove_tree,
        end: at_once,
    },
];

fn nothing(_: &Path, _: Scale, _: &Site) -> io::Result<()> {
    Ok(())
}

fn at_once(_: &Path, _: &Site) -> io::Result<()> {
    Ok(())
}

/// Locally a sync is all there is.
fn into_the_pool(dir: &Path, site: &Site) -> io::Result<()> {
    if dir.starts_with(site.mnt()) {
        site.flush();
    }
    Ok(())
}

fn name(dir: &Path, n: u64) -> std::path::PathBuf {
    dir.join("t").join(format!("d{}", n % 20)).join(format!("file-{n}"))
}

fn folders(dir: &Path) -> io::Result<()> {
    (0..20).try_for_each(|d| fs::create_dir_all(dir.join("t").join(format!("d{d}"))))
}

fn create_small(dir: &Path, scale: Scale) -> io::Result<()> {
    folders(dir)?;
    let content = Pattern(1).bytes(0, 4096);
    (0..scale.files).try_for_each(|n| fs::write(name(dir, n), &content))
}

fn create_durable(dir: &Path, scale: Scale) -> io::Result<()> {
    folders(dir)?;
    let content = Pattern(1).bytes(0, 4096);
    for n in 0..scale.files / 4 {
        let mut file = File::create(name(dir, n))?;
        file.write_all(&content)?;
        file.sync_all()?;
    }
    Ok(())
}

fn write_large(dir: &Path, scale: Scale) -> io::Result<()> {
    let content = Pattern(2).bytes(0, MIB);
    let mut file = File::create(dir.join("large"))?;
    for _ in 0..scale.mib {
        file.write_all(&content)?;
    }
    file.sync_all()
}

fn read_large(dir: &Path, scale: Scale) -> io::Result<()> {
    let mut file = File::open(dir.join("large"))?;
    let mut buffer = vec![0; MIB];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => total += n as u64,
        }
    }
    if total == scale.mib * MIB as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn drop_page_cache() -> io::Result<()> {
    Run::new("sync").ok();
    fs::write("/proc/sys/vm/drop_caches", "3")
}

fn cold_file(dir: &Path, scale: Scale, _: &Site) -> io::Result<()> {
    write_large(dir, scale)?;
    drop_page_cache()
}

fn pool_file(dir: &Path, scale: Scale, site: &Site) -> io::Result<()> {
    write_large(dir, scale)?;
    into_the_pool(dir, site)?;
    if dir.starts_with(site.mnt()) {
        site.command(&["cache", "drop", "--data"]).arg(site.data()).ok();
    }
    drop_page_cache()
}

fn warm_file(dir: &Path, scale: Scale, _: &Site) -> io::Result<()> {
    write_large(dir, scale)?;
    read_large(dir, scale)
}

fn create_prepared(dir: &Path, scale: Scale, _: &Site) -> io::Result<()> {
    create_small(dir, scale)
}

fn stat_all(dir: &Path, scale: Scale) -> io::Result<()> {
    (0..scale.files).try_for_each(|n| fs::metadata(name(dir, n)).map(drop))
}

fn make_tar(dir: &Path, scale: Scale, site: &Site) -> io::Result<()> {
    let archive = site.dir().join("bench.tar");
    if !archive.exists() {
        let source = site.dir().join("tar-source");
        fs::create_dir(&source)?;
        create_small(&source, scale)?;
        Run::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&source).arg("t").ok();
        fs::remove_dir_all(&source)?;
    }
    fs::write(dir.join("archive"), archive.as_os_str().as_encoded_bytes())
}

fn untar(dir: &Path, _: Scale) -> io::Result<()> {
    let archive = fs::read_to_string(dir.join("archive"))?;
    Run::new("tar").args(["-xf", &archive, "-C"]).arg(dir).deadline_secs(600).ok();
    Ok(())
}

fn remove_tree(dir: &Path, _: Scale) -> io::Result<()> {
    fs::remove_dir_all(dir.join("t"))
}
