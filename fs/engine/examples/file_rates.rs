//! Rates of file bytes through the trait, one thread: level D0/D1, where not said otherwise.
//!
//! `cargo run -p fs-engine --example file_rates [MIB] [DIR]`: the journal in a temporary folder in DIR, the index and
//! the pool in memory; what is measured is the engine and the journal.

use std::sync::Arc;
use std::time::Instant;

use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_api::{Context, Created, Credentials, OpenFlags, ROOT_INO, Target, Vfs};
use fs_engine::{Engine, EngineConfig};
use fs_meta::MemoryStore;
use objstore_base::MemoryBlobStore;

const MIB: usize = 1 << 20;

struct Bench {
    engine: Arc<Engine>,
    runtime: tokio::runtime::Runtime,
    cx: Context,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    fn measure(&self, what: &str, count: usize, bytes_each: usize, mut step: impl FnMut(usize)) {
        let start = Instant::now();
        (0..count).for_each(&mut step);
        let took = start.elapsed();
        let rate = (count * bytes_each) as f64 / took.as_secs_f64() / 1e6;
        println!("{what:<40} {rate:>9.0} MB/s  {:>9.2} µs each", took.as_secs_f64() * 1e6 / count as f64);
    }

    fn create(&self, name: &str) -> Target {
        let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
        let made = self.engine.create(&self.cx, ROOT_INO, name.as_bytes(), 0o644, 0, flags, true);
        let Created { attr, handle, .. } = self.runtime.block_on(made).expect("create");
        Target::opened(attr.ino, handle.id)
    }

    fn write(&self, target: Target, offset: usize, data: &[u8]) {
        let written = self.runtime.block_on(self.engine.write(&self.cx, target, offset as u64, data));
        assert_eq!(written.expect("write") as usize, data.len());
    }

    fn read(&self, target: Target, offset: usize, len: usize) {
        let read = self.runtime.block_on(self.engine.read(&self.cx, target, offset as u64, len as u32));
        assert_eq!(read.expect("read").len(), len);
    }

    fn sync(&self) {
        self.runtime.block_on(self.engine.sync(&self.cx)).expect("sync");
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mib: usize = args.next().map_or(512, |n| n.parse().expect("MIB is a number"));
    let dir = args.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let dir = tempfile::tempdir_in(dir).expect("temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let env = objstore_env::real::env(runtime.handle().clone()).expect("environment");
    let journal = JournalConfig::new(dir.path().join("journal"), [1; 16]);
    let config = EngineConfig::new(journal, WriteBackConfig::new(64 << 30));
    let engine = Engine::open(env, Arc::new(MemoryStore::new()), Arc::new(MemoryBlobStore::new()), config);
    let bench = Bench { engine: engine.expect("open"), runtime, cx: Context::new(1, Credentials::root()) };
    let data: Vec<u8> = (0..MIB).map(|n| (n * 31 % 251) as u8).collect();

    let large = bench.create("large");
    bench.measure("write 1 MiB, sequential", mib, MIB, |n| bench.write(large, n * MIB, &data));
    bench.measure("  and sync (D2)", 1, 0, |_| bench.sync());
    bench.measure("read 1 MiB, local, sequential", mib, MIB, |n| bench.read(large, n * MIB, MIB));
    let step = |n: usize| n.wrapping_mul(2_654_435_761) % (mib * MIB / 4096) * 4096;
    bench.measure("read 4 KiB, local, random", 50_000, 4096, |n| bench.read(large, step(n), 4096));
    let small = bench.create("small");
    let blocks = mib * MIB / 4096 / 4;
    bench.measure("write 4 KiB, sequential", blocks, 4096, |n| bench.write(small, n * 4096, &data[..4096]));
    bench
        .measure("write 4 KiB, random over 1 MiB frames", 50_000, 4096, |n| bench.write(large, step(n), &data[..4096]));
    bench.sync();
    bench.measure("write 4 KiB and sync (D2)", 1000, 4096, |n| {
        bench.write(small, n * 4096, &data[..4096]);
        bench.sync();
    });
    bench.measure("read 1 MiB, local, after random writes", mib, MIB, |n| bench.read(large, n * MIB, MIB));
    let report = bench.runtime.block_on(bench.engine.check()).expect("check");
    println!("{} extents, {} frames, {} findings", report.extents, report.frames, report.findings_total);
}
