//! Rates of the metadata operations through the trait, one thread, nothing synced (level D0/D1).
//!
//! `cargo run -p fs-engine --example rates [COUNT]` on a temporary folder, with the index in memory: what is measured is
//! the engine and the journal. It prints operations per second.

use std::sync::Arc;
use std::time::Instant;

use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_api::{Context, Credentials, NewNode, OpenFlags, ROOT_INO, SetAttr, Target, Vfs};
use fs_engine::{Engine, EngineConfig};
use fs_meta::MemoryStore;
use futures::FutureExt;
use objstore_base::{BoxFuture, MemoryBlobStore, Result};

fn now<T>(future: BoxFuture<'_, Result<T>>) -> T {
    future.now_or_never().expect("ready at the first poll").expect("it works")
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn measure(what: &str, count: u32, mut step: impl FnMut(u32)) {
    let start = Instant::now();
    (0..count).for_each(&mut step);
    let each = start.elapsed() / count;
    println!("{what:<24} {:>10.0}/s  {each:>10.2?} each", 1.0 / each.as_secs_f64());
}

fn main() {
    let count = std::env::args().nth(1).map_or(100_000, |n| n.parse().expect("COUNT is a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let env = objstore_env::real::env(runtime.handle().clone()).expect("environment");
    let dir = tempfile::tempdir().expect("temporary folder");
    let journal = JournalConfig::new(dir.path().join("journal"), [1; 16]);
    let config = EngineConfig::new(journal, WriteBackConfig::new(8 << 30));
    let engine = Engine::open(env, Arc::new(MemoryStore::new()), Arc::new(MemoryBlobStore::new()), config);
    run(&*engine.expect("the store opens"), count);
}

fn run(vfs: &dyn Vfs, count: u32) {
    let cx = Context::new(0, Credentials::root());
    let name = |n: u32| format!("file-{n}");
    let names: Vec<String> = (0..count).map(name).collect();
    let at = |n: u32| names[n as usize].as_bytes();
    let d = now(vfs.make(&cx, ROOT_INO, b"d", NewNode::Directory, 0o755, 0)).ino;
    let flags = OpenFlags { write: true, ..OpenFlags::default() };
    measure("create + release", count, |n| {
        let made = now(vfs.create(&cx, d, at(n), 0o644, 0, flags, true));
        now(vfs.release(&cx, made.attr.ino, made.handle.id));
    });
    measure("lookup", count, |n| {
        now(vfs.lookup(&cx, d, at(n)));
    });
    let inos: Vec<_> = (0..count).map(|n| now(vfs.lookup(&cx, d, at(n))).ino).collect();
    measure("getattr", count, |n| {
        now(vfs.getattr(&cx, Target::inode(inos[n as usize])));
    });
    measure("lookup of what is not", count, |n| {
        let missing = vfs.lookup(&cx, ROOT_INO, at(n)).now_or_never().expect("ready");
        assert!(missing.is_err());
    });
    measure("chmod", count, |n| {
        let set = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        now(vfs.setattr(&cx, Target::inode(inos[n as usize]), set));
    });
    let bytes = [7; 4096];
    measure("open, write 4K, release", count, |n| {
        let ino = inos[n as usize];
        let handle = now(vfs.open(&cx, ino, flags));
        now(vfs.write(&cx, Target::opened(ino, handle.id), 0, &bytes));
        now(vfs.release(&cx, ino, handle.id));
    });
    measure("rename", count, |n| {
        now(vfs.rename(&cx, d, at(n), ROOT_INO, at(n), fs_api::RenameMode::Replace));
    });
    measure("unlink", count, |n| now(vfs.unlink(&cx, ROOT_INO, at(n))));
}
