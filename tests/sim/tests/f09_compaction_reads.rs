//! F9 where the disk is the journal's: compaction reads live frames from a local segment that is only a cache by then. What
//! the disk does not give, or gives wrong, comes from the pool; what the pool does not give either stays where it is.

mod files;

use std::path::PathBuf;
use std::time::Duration;

use cache_journal::SegmentId;
use files::{bytes, check, create, read, store, write};
use fs_api::{Ino, Target, Vfs};
use fs_engine::Compaction;
use objstore_base::{BlobId, BlobStore, ErrorKind, Result};
use objstore_env::Disk;
use objstore_env::sim::{Effect, Fault, Ops, When};
use tests_sim::SimStore;

const EIO: i32 = 5;
const FILES: u64 = 8;
/// What is overwritten of a file, and what is left of its first version.
const NEW: usize = 45_000;
const OLD: usize = 11_000;
/// Bits of rot lie as far apart: several in every frame, some in the frame table.
const ROT_BYTES: u64 = 4096;
/// Longer than the pool avoids a drive after its last error.
const SUSPICION: Duration = Duration::from_secs(120);

/// A store in which one segment, local and in the pool, is mostly dead.
struct Sparse {
    store: SimStore,
    files: Vec<(String, Ino, Vec<u8>)>,
    segment: SegmentId,
}

fn sparse() -> Sparse {
    let store = store(9, |settings| {
        settings.segment_bytes = 512 << 10;
        settings.cache_bytes_max = 64 << 20;
        settings.upload_delay = Duration::from_secs(3600);
    });
    let patience = Duration::from_secs(1);
    let mut files = Vec::new();
    for number in 0..FILES {
        let (name, content) = (format!("file {number}"), bytes(number, NEW + OLD));
        let ino = create(&store, &name).unwrap();
        write(&store, ino, 0, &content, patience).unwrap();
        files.push((name, ino, content));
    }
    store.world().run(store.engine().flush()).unwrap();
    // Compaction knows the segment while it is still good.
    assert_eq!(store.world().run(store.engine().compact_step()).unwrap(), Compaction::Idle);
    for (number, (_, ino, content)) in (FILES..).zip(&mut files) {
        content[..NEW].copy_from_slice(&bytes(number, NEW));
        write(&store, *ino, 0, &content[..NEW], patience).unwrap();
    }
    store.world().run(store.engine().flush()).unwrap();
    let mut segments: Vec<_> = files.iter().map(|(_, ino, _)| home(&store, *ino)).collect();
    segments.dedup();
    assert_eq!(segments.len(), 1, "the first versions lie together");
    Sparse { store, files, segment: segments[0] }
}

/// Where the last bytes of a file are.
fn home(store: &SimStore, ino: Ino) -> SegmentId {
    let extents = store.engine().extents(ino, 100).unwrap();
    extents.last().unwrap().at.unwrap().0.segment
}

impl Sparse {
    fn local_file(&self) -> PathBuf {
        format!("/journal/segment-{:016x}.tgj", self.segment.0).into()
    }

    /// Flips bits on the medium, behind the header.
    fn rot(&self, path: &PathBuf) {
        let len = self.store.disk().metadata(path).unwrap().len;
        for at in (ROT_BYTES..len).step_by(ROT_BYTES as usize) {
            self.store.disk().flip(path, at * 8 + 3).unwrap();
        }
    }

    /// The shards of the sparse segment on `drives`.
    fn shards(&self, drives: std::ops::Range<usize>) -> Vec<PathBuf> {
        let blob = BlobId::segment(self.segment.0).to_string();
        let mut pending: Vec<PathBuf> = drives.map(|drive| format!("/drives/{drive}").into()).collect();
        let mut found = Vec::new();
        while let Some(dir) = pending.pop() {
            for entry in self.store.disk().list(&dir).unwrap() {
                let path = dir.join(&entry.name);
                match entry.is_dir {
                    true => pending.push(path),
                    false if entry.name.starts_with(&blob) => found.push(path),
                    false => {}
                }
            }
        }
        found
    }

    fn compact(&self) -> Result<Vec<Compaction>> {
        let mut steps = Vec::new();
        loop {
            match self.store.world().run(self.store.engine().compact_step())? {
                Compaction::Idle => return Ok(steps),
                step => steps.push(step),
            }
        }
    }

    fn moved(&self, steps: &[Compaction]) -> bool {
        steps.iter().any(|step| {
            matches!(step, Compaction::Moved { segment, frames, .. }
            if *segment == self.segment.0 && *frames >= FILES)
        })
    }

    fn all_there(&self, when: &str) {
        for (name, _, content) in &self.files {
            let found = read(&self.store, name).unwrap_or_else(|e| panic!("{name} {when}: {e}"));
            assert!(found.as_deref() == Some(&content[..]), "{name} {when}");
        }
        check(&self.store);
    }

    fn read_part(&self, ino: Ino, offset: usize, len: usize) -> Result<bytes::Bytes> {
        let read = self.store.engine();
        self.store.world().run(read.read(&files::root(), Target::inode(ino), offset as u64, len as u32))
    }

    /// What was overwritten is read, and so is what lies on good drives; the rest is an error of `kind` that names the
    /// file. Gives the files of the rest.
    fn unreadable(&self, kind: ErrorKind) -> Vec<Ino> {
        let mut bad = Vec::new();
        for (name, ino, content) in &self.files {
            let new = self.read_part(*ino, 0, NEW).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(new == content[..NEW], "{name}");
            match self.read_part(*ino, NEW, OLD) {
                Ok(old) => assert!(old == content[NEW..], "{name}"),
                Err(error) => {
                    assert_eq!(error.kind(), kind, "{name}: {error}");
                    assert!(error.to_string().contains(&ino.to_string()), "{error}");
                    bad.push(*ino);
                }
            }
        }
        assert!(!bad.is_empty(), "neither disk nor pool has all the bytes");
        bad
    }
}

/// The copies are right wherever they are read, the source goes, and nothing is missed.
fn the_source_goes(sparse: &mut Sparse, what: &str) {
    sparse.all_there(&format!("after {what}"));
    sparse.store.world().run(sparse.store.engine().flush()).unwrap();
    sparse.store.world().run(sparse.store.engine().drop_local_copies()).unwrap();
    sparse.all_there(&format!("from the pool, after {what}"));
    sparse.store.world().run(sparse.store.engine().checkpoint()).unwrap();
    let steps = sparse.compact().unwrap();
    assert!(steps.contains(&Compaction::Deleted { segment: sparse.segment.0 }), "{what}: {steps:?}");
    sparse.store.world().run(sparse.store.engine().drop_local_copies()).unwrap();
    sparse.all_there(&format!("without the source, after {what}"));
    sparse.store.restart().unwrap();
    sparse.all_there(&format!("after a restart, after {what}"));
}

#[test]
fn f09_what_the_local_segment_does_not_give_is_moved_from_the_pool() {
    let nth = [1, 2, 5, FILES].map(When::Nth);
    let faults = [Effect::Errno(EIO), Effect::FlipBit]
        .into_iter()
        .flat_map(|effect| nth.into_iter().chain([When::From(3), When::Always]).map(move |when| (effect, when)));
    for (effect, when) in faults {
        let what = format!("{effect:?} {when:?}");
        let mut sparse = sparse();
        let fault = sparse.store.disk().arm(Fault::new(sparse.local_file(), Ops::READ, when, effect));
        let steps = sparse.compact().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(sparse.moved(&steps), "{what}: {steps:?}");
        assert!(sparse.store.disk().disarm(fault) > 0, "{what} is to be met");
        assert!(sparse.store.engine().status().local_read_failures > 0, "{what} is counted");
        the_source_goes(&mut sparse, &what);
    }
}

#[test]
fn f09_a_rotten_local_segment_is_moved_from_the_pool() {
    let mut sparse = sparse();
    sparse.rot(&sparse.local_file());
    let steps = sparse.compact().unwrap();
    assert!(sparse.moved(&steps), "{steps:?}");
    assert!(sparse.store.engine().status().local_read_failures > 0);
    the_source_goes(&mut sparse, "rot");
}

#[test]
fn f09_frames_that_neither_disk_nor_pool_gives_now_are_moved_when_the_drives_are_back() {
    let mut sparse = sparse();
    let fault = Fault::new(sparse.local_file(), Ops::READ, When::Always, Effect::Errno(EIO));
    let fault = sparse.store.disk().arm(fault);
    for drive in 0..3 {
        sparse.store.disk().vanish(format!("/drives/{drive}"));
    }
    let last = sparse.store.engine().journal().last();
    let error = sparse.compact().expect_err("the frames are nowhere");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(sparse.store.engine().journal().last(), last, "nothing was moved");
    sparse.unreadable(ErrorKind::Unavailable);
    for drive in 0..3 {
        sparse.store.disk().reappear(format!("/drives/{drive}"));
    }
    sparse.store.world().pass(SUSPICION);
    sparse.store.world().run(sparse.store.pool().heal(|_| {})).unwrap();
    let steps = sparse.compact().unwrap();
    // It may have been moved in the background meanwhile.
    assert!(sparse.moved(&steps) || sparse.files.iter().all(|(_, ino, _)| home(&sparse.store, *ino) != sparse.segment));
    sparse.store.disk().disarm(fault);
    the_source_goes(&mut sparse, "the drives came back");
}

#[test]
fn f09_frames_that_are_lost_everywhere_are_named_and_their_segment_stays() {
    let mut sparse = sparse();
    let fault = Fault::new(sparse.local_file(), Ops::READ, When::Always, Effect::Errno(EIO));
    let fault = sparse.store.disk().arm(fault);
    let shards = sparse.shards(0..3);
    assert_eq!(shards.len(), 3);
    shards.iter().for_each(|shard| sparse.rot(shard));
    let last = sparse.store.engine().journal().last();
    let steps = sparse.compact().unwrap();
    assert_eq!((steps, sparse.store.engine().journal().last()), (vec![], last), "nothing is moved");
    let bad = sparse.unreadable(ErrorKind::Damaged);
    let damaged = sparse.store.world().run(sparse.store.engine().damaged()).unwrap();
    let named: Vec<_> = damaged.iter().map(|file| (file.ino, file.bytes)).collect();
    let expected: Vec<_> = bad.into_iter().map(|ino| (ino, OLD as u64)).collect();
    assert_eq!(named, expected);
    // Nothing lets the segment go, which a better day may still read.
    for _ in 0..3 {
        sparse.store.world().run(sparse.store.engine().checkpoint()).unwrap();
        sparse.store.world().run(sparse.store.engine().flush()).unwrap();
        let steps = sparse.compact().unwrap();
        assert!(!steps.contains(&Compaction::Deleted { segment: sparse.segment.0 }), "{steps:?}");
    }
    let blob = BlobId::segment(sparse.segment.0);
    assert!(sparse.store.world().run(sparse.store.pool().stat(blob)).is_ok());
    sparse.store.disk().disarm(fault);
    sparse.all_there("when the disk reads again");
    sparse.store.restart().unwrap();
    sparse.all_there("after a restart");
}

#[test]
fn f09_a_file_that_the_pool_still_gives_is_not_called_damaged() {
    for (ops, effect) in
        [(Ops::READ, Effect::Errno(EIO)), (Ops::OPEN, Effect::Errno(EIO)), (Ops::READ, Effect::FlipBit)]
    {
        let sparse = sparse();
        sparse.store.disk().arm(Fault::new(sparse.local_file(), ops, When::Always, effect));
        let damaged = sparse.store.world().run(sparse.store.engine().damaged()).unwrap();
        assert_eq!(damaged, [], "{effect:?}");
        sparse.all_there(&format!("with {effect:?}"));
    }
}
