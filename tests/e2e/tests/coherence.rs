//! Two doors, one store: what another door changes is seen through a mount at once, whatever the kernel had cached.
//!
//! The engine runs in this process, with its index and pool in memory; the mount is a real one.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_journal::JournalConfig;
use cache_writeback::WriteBackConfig;
use fs_api::{
    Context, Credentials, DoorId, Ino, LockKind, LockOwner, LockRange, LockRequest, LockSpace, LockWait, NewNode,
    ROOT_INO, RenameMode, SetAttr, Target, Vfs,
};
use fs_engine::{Engine, EngineConfig};
use fs_meta::MemoryStore;
use gateway_fuse::{Busy, Mount, MountOptions, MountPoint};
use nix::libc;
use objstore_base::{MemoryBlobStore, Result};
use tokio::runtime::Runtime;

/// Far below the time for which the kernel would believe its caches, far above what an announcement takes.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

struct Site {
    engine: Arc<Engine>,
    mount: Option<Mount>,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let env = objstore_env::real::env(runtime.handle().clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut journal = JournalConfig::new(folder.path().join("journal"), [7; 16]);
        journal.segment_bytes = 4 << 20;
        let config = EngineConfig::new(journal, WriteBackConfig::new(1 << 30));
        let (meta, pool) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBlobStore::new()));
        let engine = Engine::open(env.clone(), meta, pool, config).unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        let point = MountPoint::check(&folder.path().join("mnt")).unwrap();
        let options = MountOptions::new(folder.path());
        let vfs = Arc::clone(&engine) as Arc<dyn Vfs>;
        let mount = {
            let _runtime = runtime.enter();
            engine.start();
            gateway_fuse::mount(vfs, &env, runtime.handle().clone(), &point, options).unwrap()
        };
        Self { engine, mount: Some(mount), runtime, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("mnt").join(name)
    }

    /// Through the other door, as root.
    fn other(&self) -> Other<'_> {
        Other { site: self, cx: Context::new(7, Credentials::root()) }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(mut mount) = self.mount.take() else { return };
        if let Err(error) = gateway_fuse::unmount(&self.path(""), Busy::Detach) {
            eprintln!("the mount stays: {error}");
            return;
        }
        self.runtime.block_on(async {
            drop(tokio::time::timeout(Duration::from_secs(30), mount.ended()).await);
            drop(tokio::time::timeout(Duration::from_secs(30), self.engine.stop()).await);
        });
    }
}

struct Other<'a> {
    site: &'a Site,
    cx: Context,
}

impl Other<'_> {
    fn run<T>(&self, work: impl Future<Output = Result<T>>) -> T {
        self.site
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await })
            .unwrap()
            .unwrap()
    }

    fn vfs(&self) -> &Engine {
        &self.site.engine
    }

    fn ino(&self, name: &str) -> Ino {
        self.run(self.vfs().lookup(&self.cx, ROOT_INO, name.as_bytes())).ino
    }

    fn make(&self, name: &str, node: NewNode) -> Ino {
        self.run(self.vfs().make(&self.cx, ROOT_INO, name.as_bytes(), node, 0o644, 0)).ino
    }

    fn write(&self, name: &str, offset: u64, data: &[u8]) {
        self.run(self.vfs().write(&self.cx, Target::inode(self.ino(name)), offset, data));
    }

    fn set(&self, name: &str, set: SetAttr) {
        self.run(self.vfs().setattr(&self.cx, Target::inode(self.ino(name)), set));
    }
}

/// What the mount shows within the time is what is wanted; the last thing seen is told otherwise.
fn shows<T: PartialEq + std::fmt::Debug>(what: &str, wanted: &T, look: impl Fn() -> T) {
    let begin = Instant::now();
    loop {
        let seen = look();
        if seen == *wanted {
            return;
        }
        assert!(begin.elapsed() < SEEN_WITHIN, "{what}: the mount shows {seen:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.len())
}

#[test]
fn names_that_another_door_makes_and_removes_are_seen_at_once() {
    let site = Site::new();
    let (path, other) = (site.path("f"), site.other());
    assert_eq!(size(&path), None, "and the kernel remembers that");
    other.make("f", NewNode::Regular);
    shows("make", &Some(0), || size(&path));
    other.run(other.vfs().rename(&other.cx, ROOT_INO, b"f", ROOT_INO, b"g", RenameMode::Replace));
    shows("rename, the old name", &None, || size(&path));
    shows("rename, the new name", &Some(0), || size(&site.path("g")));
    other.run(other.vfs().link(&other.cx, other.ino("g"), ROOT_INO, b"h"));
    shows("link", &Some(2), || fs::metadata(site.path("g")).ok().map(|m| m.nlink()));
    assert!(site.path("h").exists());
    other.run(other.vfs().unlink(&other.cx, ROOT_INO, b"h"));
    shows("unlink", &false, || site.path("h").exists());
    shows("links after it", &Some(1), || fs::metadata(site.path("g")).ok().map(|m| m.nlink()));
    other.make("d", NewNode::Directory);
    shows("mkdir", &true, || site.path("d").is_dir());
    shows("the directory above", &3, || fs::metadata(site.path("")).unwrap().nlink());
    other.run(other.vfs().rmdir(&other.cx, ROOT_INO, b"d"));
    shows("rmdir", &false, || site.path("d").exists());
    let names = || fs::read_dir(site.path("")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    shows("listing", &vec!["g".into()], names);
}

#[test]
fn bytes_and_attributes_that_another_door_changes_are_seen_at_once() {
    let site = Site::new();
    let (path, other) = (site.path("f"), site.other());
    fs::write(&path, [b'a'; 8192]).unwrap();
    let file = File::open(&path).unwrap();
    let read = |at: u64| {
        let mut bytes = [0; 4];
        let read = file.read_at(&mut bytes, at).unwrap();
        bytes[..read].to_vec()
    };
    assert_eq!((read(0), read(4096)), (b"aaaa".to_vec(), b"aaaa".to_vec()));
    other.write("f", 1, b"b");
    shows("a write into a cached page", &b"abaa".to_vec(), || read(0));
    other.write("f", 8192, &[b'c'; 100_000]);
    shows("a write behind the end", &Some(108_192), || size(&path));
    shows("its bytes", &b"cccc".to_vec(), || read(8192));
    other.set("f", SetAttr { size: Some(4097), ..SetAttr::default() });
    shows("truncate", &Some(4097), || size(&path));
    shows("the end", &b"a".to_vec(), || read(4096));
    other.set("f", SetAttr { size: Some(8192), ..SetAttr::default() });
    shows("zeros, not what was there", &vec![0; 4], || read(5000));
    other.set("f", SetAttr { mode: Some(0o600), ..SetAttr::default() });
    shows("chmod", &0o600, || fs::metadata(&path).unwrap().permissions().mode() & 0o7777);
    other.set("f", SetAttr { uid: Some(4242), ..SetAttr::default() });
    shows("chown", &4242, || fs::metadata(&path).unwrap().uid());
}

#[test]
fn what_is_mapped_follows_too() {
    let site = Site::new();
    let (path, other) = (site.path("f"), site.other());
    fs::write(&path, [b'a'; 4096]).unwrap();
    // A read through the page cache stands for a mapping: both look at the same page.
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    file.write_at(b"m", 5).unwrap();
    other.write("f", 0, b"o");
    shows("both changes", &b"oaaaam".to_vec(), || {
        let mut bytes = [0; 6];
        file.read_at(&mut bytes, 0).unwrap();
        bytes.to_vec()
    });
}

/// The kernel cannot be told to forget an inode that it is only learning of.
#[test]
fn what_changes_while_the_kernel_learns_of_it_is_seen_too() {
    const FILES: usize = 300;
    let site = Site::new();
    let (names, other): (Vec<String>, _) = ((0..FILES).map(|n| format!("f{n}")).collect(), site.other());
    let inos: Vec<Ino> = names.iter().map(|name| other.make(name, NewNode::Regular)).collect();
    for round in 1..=5_u64 {
        // It starts from nothing.
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        std::thread::scope(|scope| {
            let listing = scope.spawn(|| {
                let entries = fs::read_dir(site.path("")).unwrap();
                entries.map(|entry| entry.unwrap().metadata().unwrap().len()).filter(|len| *len >= round).count()
            });
            for ino in &inos {
                other.run(other.vfs().write(&other.cx, Target::inode(*ino), round - 1, b"x"));
            }
            listing.join().unwrap();
        });
        for name in &names {
            shows(name, &Some(round), || size(&site.path(name)));
        }
    }
}

/// Whoever takes a mount away by force says nothing about what it held.
#[test]
fn what_a_mount_held_goes_with_it() {
    let mut site = Site::new();
    let door = DoorId(MountOptions::new(Path::new("/")).door);
    for name in ["listed", "open"] {
        fs::write(site.path(name), b"x").unwrap();
    }
    let open = File::options().read(true).write(true).open(site.path("open")).unwrap();
    let whole = libc::flock { l_type: libc::F_WRLCK as _, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_SETLK(&whole)).unwrap();
    let (listed, opened) = (site.other().ino("listed"), site.other().ino("open"));
    assert!(site.engine.holds(door, listed) && site.engine.holds(door, opened));
    let wanted = LockRequest {
        space: LockSpace::Posix,
        owner: LockOwner { door: 99, owner: 1 },
        range: LockRange { start: 0, end: 1 },
        kind: Some(LockKind::Exclusive),
        pid: 1,
    };
    let take = |site: &Site| {
        let other = site.other();
        site.runtime.block_on(site.engine.set_lock(&other.cx, opened, wanted, LockWait::Fail)).is_ok()
    };
    assert!(!take(&site), "a program of the mount has it");
    // Forced, which ends the connection, then detached, which needs no answers any more.
    let forced = nix::mount::umount2(&site.path(""), nix::mount::MntFlags::MNT_FORCE);
    assert_eq!(forced, Err(nix::errno::Errno::EBUSY), "it has an open file");
    nix::mount::umount2(&site.path(""), nix::mount::MntFlags::MNT_DETACH).unwrap();
    let mut mount = site.mount.take().unwrap();
    site.runtime.block_on(async { tokio::time::timeout(SEEN_WITHIN, mount.ended()).await }).unwrap().unwrap();
    shows("held", &Vec::new(), || site.engine.held(door));
    assert!(take(&site));
    let other = site.other();
    for name in ["listed", "open"] {
        other.run(other.vfs().unlink(&other.cx, ROOT_INO, name.as_bytes()));
    }
    shows("inodes", &1, || site.engine.status().inodes);
    drop(open);
    site.runtime.block_on(async { tokio::time::timeout(SEEN_WITHIN, site.engine.stop()).await }).unwrap().unwrap();
}

#[test]
fn what_the_mount_changes_the_other_door_sees_at_once() {
    let site = Site::new();
    let other = site.other();
    let mut file = File::create(site.path("f")).unwrap();
    file.write_all(b"small").unwrap();
    let bytes = other.run(other.vfs().read(&other.cx, Target::inode(other.ino("f")), 0, 100));
    assert_eq!(&bytes[..], b"small", "before it is closed");
    fs::rename(site.path("f"), site.path("g")).unwrap();
    other.ino("g");
    fs::remove_file(site.path("g")).unwrap();
    let gone = site.runtime.block_on(other.vfs().lookup(&other.cx, ROOT_INO, b"g"));
    assert!(gone.is_err());
}

/// Both doors work in one directory at once: announcements wait for locks that requests of the mount hold, and nothing
/// must stop for ever.
#[test]
fn two_doors_in_one_directory_do_not_stop_each_other() {
    let site = Site::new();
    let end = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let site = &site;
            scope.spawn(move || {
                while Instant::now() < end {
                    let path = site.path(&format!("m{thread}"));
                    fs::write(&path, [1; 5000]).unwrap();
                    fs::rename(&path, site.path("shared")).unwrap();
                    drop(fs::read(site.path("shared")));
                    drop(fs::remove_file(site.path("shared")));
                }
            });
            scope.spawn(move || {
                let other = site.other();
                while Instant::now() < end {
                    let name = format!("o{thread}");
                    let made = other.make(&name, NewNode::Regular);
                    other.run(other.vfs().write(&other.cx, Target::inode(made), 0, &[2; 5000]));
                    let moved = other.vfs().rename(
                        &other.cx,
                        ROOT_INO,
                        name.as_bytes(),
                        ROOT_INO,
                        b"shared",
                        RenameMode::Replace,
                    );
                    other.run(moved);
                    let work = async {
                        tokio::time::timeout(SEEN_WITHIN, other.vfs().unlink(&other.cx, ROOT_INO, b"shared")).await
                    };
                    // Whoever came first removed it; only the time matters.
                    drop(site.runtime.block_on(work).expect("it ends in time"));
                }
            });
        }
    });
    shows("nothing left", &0, || fs::read_dir(site.path("")).unwrap().count());
}
