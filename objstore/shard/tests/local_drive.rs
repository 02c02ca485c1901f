//! A local drive: what it stores it gives back, what broke it says, and a crash leaves whole shards or none.

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use objstore_base::{BlobClass, ErrorKind, Result};
use objstore_env::sim::{Effect, Fault, Ops, SimWorld, Survival, When};
use objstore_env::{Disk, Env};
use objstore_shard::{Drive, LocalDrive, ShardName};
use support::{POOL, body, identity, name};

const DIR: &str = "/drive";

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.map(|_| ()).map_err(|e| e.kind()).expect_err("an error")
}

fn made(world: &SimWorld) -> LocalDrive {
    world.run(LocalDrive::init(&world.env(), DIR.into(), POOL, 3)).expect("init")
}

fn opened(world: &SimWorld) -> Result<LocalDrive> {
    world.run(LocalDrive::open(&world.env(), DIR.into(), POOL, 3))
}

/// Puts, reads in ranges, verifies, finds, lists and deletes; on any disk.
async fn stores_and_gives_back(drive: &LocalDrive) {
    let identity = identity(0x0123_4567, 4, 900_000);
    let content: Bytes = body(&identity).concat().into();
    drive.put(identity, body(&identity)).await.expect("put");
    for range in [0..0, 0..1, 65_535..65_537, 70_000..200_000, 0..content.len(), content.len()..content.len()] {
        let read = drive.read(identity.name, range.start as u64..range.end as u64).await.expect("read");
        assert_eq!(read.bytes, content.slice(range));
        assert_eq!(*read.header.identity(), identity);
    }
    assert_eq!(kind(drive.read(identity.name, 0..content.len() as u64 + 1).await), ErrorKind::InvalidArgument);
    assert_eq!(*drive.verify(identity.name).await.expect("verify").identity(), identity);
    assert_eq!(drive.find(identity.name.blob).await.expect("find"), [identity.name]);
    let other = ShardName { index: 5, ..identity.name };
    assert_eq!(kind(drive.read(other, 0..0).await), ErrorKind::NotFound);
    drive.delete(other).await.expect("deleting nothing");
    drive.delete(identity.name).await.expect("delete");
    drive.delete(identity.name).await.expect("delete again");
    assert_eq!(kind(drive.verify(identity.name).await), ErrorKind::NotFound);
    assert_eq!(drive.find(identity.name.blob).await.expect("find"), []);
    assert!(drive.space().await.expect("space").total > 0);
}

#[test]
fn a_drive_stores_and_gives_back() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    world.run(stores_and_gives_back(&drive));
    let left = world.disk().list(Path::new(DIR)).expect("list");
    assert_eq!(left.iter().filter(|entry| entry.name.starts_with("s-")).count(), 0, "empty directories are removed");
}

#[test]
fn a_drive_works_on_the_real_disk() {
    let dir = tempfile::tempdir().expect("directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let env: Env = objstore_env::real::env(runtime.handle().clone()).expect("environment");
    runtime.block_on(async {
        let path = dir.path().join("drive");
        let drive = LocalDrive::init(&env, path.clone(), POOL, 0).await.expect("init");
        stores_and_gives_back(&drive).await;
        let again = LocalDrive::open(&env, path.clone(), POOL, 0).await;
        assert_eq!(kind(again), ErrorKind::StoreLocked);
        drop(drive);
        LocalDrive::open(&env, path, POOL, 0).await.expect("open");
    });
}

#[test]
fn listing_is_in_order_and_pages_end_with_whole_blobs() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    let numbers = [0, 1, 255, 256, 65_535, 65_536, 1 << 30, u64::MAX - 1, u64::MAX];
    let mut names: Vec<ShardName> = Vec::new();
    for (number, index) in numbers.iter().flat_map(|&n| [(n, 1), (n, 4)]) {
        let mut identity = identity(number, index, 10);
        identity.name = name(BlobClass::Segment, number, index);
        world.run(drive.put(identity, body(&identity))).expect("put");
        names.push(identity.name);
    }
    let list = |after, limit| world.run(drive.list(BlobClass::Segment, after, limit)).expect("list");
    assert_eq!(list(None, 1000), names);
    assert_eq!(list(None, 1), names[..2], "both shards of the first blob");
    assert_eq!(list(Some(255), 3), names[6..10]);
    assert_eq!(list(Some(u64::MAX), 10), []);
    assert_eq!(world.run(drive.list(BlobClass::CheckpointPart, None, 10)).expect("list"), []);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = list(after, 3);
        let Some(last) = page.last() else { break };
        after = Some(last.blob.number);
        paged.extend(page);
    }
    assert_eq!(paged, names);
}

#[test]
fn foreign_files_are_nobodys() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    let identity = identity(1, 0, 10);
    world.run(drive.put(identity, body(&identity))).expect("put");
    let dir = Path::new(DIR).join("s-000000000000/00");
    for file in [
        "readme",
        "s-0000000000000001.00",
        "s-0000000000009999.00.0000000100000001",
        "s-0000000000000001.00.0000000100000001.tmp",
    ] {
        world.disk().write_atomic(&dir.join(file), b"?").expect("write");
    }
    assert_eq!(world.run(drive.find(identity.name.blob)).expect("find"), [identity.name]);
    assert_eq!(world.run(drive.list(BlobClass::Segment, None, 10)).expect("list"), [identity.name]);
}

#[test]
fn a_drive_that_vanished_is_unavailable_and_is_not_made_again() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    let identity = identity(1, 0, 10);
    world.run(drive.put(identity, body(&identity))).expect("put");
    world.disk().vanish(DIR);
    let put = world.run(drive.put(identity, body(&identity)));
    assert_eq!(kind(put), ErrorKind::Unavailable);
    assert_eq!(kind(world.run(drive.read(identity.name, 0..1))), ErrorKind::Unavailable);
    assert_eq!(kind(world.run(drive.find(identity.name.blob))), ErrorKind::Unavailable);
    assert_eq!(kind(world.run(drive.list(BlobClass::Segment, None, 9))), ErrorKind::Unavailable);
    assert_eq!(kind(world.run(drive.delete(identity.name))), ErrorKind::Unavailable);
    assert_eq!(kind(world.run(drive.space())), ErrorKind::Unavailable);
    world.disk().reappear(DIR);
    world.run(drive.verify(identity.name)).expect("it is back");
}

#[test]
fn failed_puts_leave_nothing() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    let identity = identity(1, 0, 300_000);
    for ops in [Ops::CREATE, Ops::WRITE, Ops::SYNC, Ops::RENAME, Ops::MAKE_DIR] {
        let fault = world.disk().arm(Fault::new(DIR, ops, When::Always, Effect::Errno(28)));
        assert_eq!(kind(world.run(drive.put(identity, body(&identity)))), ErrorKind::NoSpace, "{ops:?}");
        assert!(world.disk().disarm(fault) > 0, "{ops:?}");
        assert_eq!(world.run(drive.find(identity.name.blob)).expect("find"), [], "{ops:?}");
        assert_eq!(world.disk().list(&PathBuf::from(DIR).join("tmp")).expect("list"), [], "{ops:?}");
    }
    world.run(drive.put(identity, body(&identity))).expect("put");
}

#[test]
fn a_crash_leaves_a_whole_shard_or_none() {
    let mut outcomes = [0, 0];
    for (cut, survival) in (0..14).flat_map(|cut| Survival::ALL.map(|survival| (cut, survival))) {
        let mut world = SimWorld::new(100 + cut);
        let drive = made(&world);
        let identity = identity(1, 0, 300_000);
        world.disk().settle();
        world.disk().power_off_after(cut);
        let acknowledged = world.run(drive.put(identity, body(&identity))).is_ok();
        drop(drive);
        world.crash(survival);
        let drive = opened(&world).expect("open");
        let found = world.run(drive.find(identity.name.blob)).expect("find");
        if found.is_empty() {
            assert!(!acknowledged, "cut {cut}, {survival:?}");
        } else {
            world.run(drive.verify(identity.name)).unwrap_or_else(|e| panic!("cut {cut}, {survival:?}: {e}"));
        }
        outcomes[found.len()] += 1;
        assert_eq!(world.disk().list(&PathBuf::from(DIR).join("tmp")).expect("list"), [], "leftovers are cleared");
        world.run(drive.put(identity, body(&identity))).expect("put again");
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

#[test]
fn a_read_only_drive_still_reads() {
    let world = SimWorld::new(1);
    let drive = made(&world);
    let identity = identity(1, 0, 1000);
    world.run(drive.put(identity, body(&identity))).expect("put");
    drop(drive);
    world.disk().arm(Fault::read_only(DIR));
    world.disk().arm(Fault::new(DIR, Ops::LOCK, When::Always, Effect::Errno(30)));
    let drive = opened(&world).expect("open");
    world.run(drive.verify(identity.name)).expect("verify");
    assert_eq!(kind(world.run(drive.put(identity, body(&identity)))), ErrorKind::ReadOnly);
}
