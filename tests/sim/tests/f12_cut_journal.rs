//! F12 at its worst: the end of the journal is cut while more drives are away than the code bears. Nothing starts on a
//! guess: what is missing is named, and when the drives are back everything that was durable and not cut is there.

mod files;

use std::path::{Path, PathBuf};
use std::time::Duration;

use files::{bytes, check, create, fsync, read, store, write};
use objstore_base::{Error, ErrorKind};
use objstore_env::sim::{Effect, Fault, Ops, Survival, When};
use objstore_env::{Disk, OpenMode};
use tests_sim::{Loss, SimStore};

const ENOENT: i32 = 2;
/// One more than 4+2 bears.
const AWAY: usize = 3;
const IN_POOL: u64 = 6;
const LOCAL: u64 = 6;

struct File {
    name: String,
    content: Vec<u8>,
    /// The end of its last record in the segment; 0 of what is in the pool.
    end: u64,
}

/// Files in the pool, and files that were synced one after the other and are in the active segment alone.
struct Site {
    store: SimStore,
    files: Vec<File>,
    segment: PathBuf,
}

fn site() -> Site {
    let store = store(12, |settings| {
        settings.segment_bytes = 1 << 20;
        settings.cache_bytes_max = 1 << 20;
        settings.upload_delay = Duration::from_secs(3600);
    });
    let mut files = Vec::new();
    for number in 0..IN_POOL + LOCAL {
        if number == IN_POOL {
            store.world().run(store.engine().checkpoint()).unwrap();
            store.world().run(store.engine().flush()).unwrap();
            store.world().run(store.engine().drop_local_copies()).unwrap();
        }
        let (name, content) = (format!("file {number}"), bytes(number, 20_000 + 700 * number as usize));
        let ino = create(&store, &name).unwrap();
        write(&store, ino, 0, &content, Duration::from_secs(1)).unwrap();
        fsync(&store, ino).unwrap();
        let end = if number < IN_POOL { 0 } else { store.engine().journal().segments().last().unwrap().bytes };
        files.push(File { name, content, end });
    }
    let id = store.engine().journal().segments().last().unwrap().id;
    let segment = format!("/journal/segment-{:016x}.tgj", id.0).into();
    Site { store, files, segment }
}

/// How the end of a file is lost.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Truncated,
    Zeroed,
    /// One bit, with everything behind it as it was.
    Flipped,
}

impl Site {
    fn cut(&self, cut: Cut, at: u64) {
        let disk = self.store.disk();
        match cut {
            Cut::Truncated => {
                let file = disk.open(&self.segment, OpenMode::ReadWrite).unwrap();
                file.set_len(at).unwrap();
                file.sync_data().unwrap();
            }
            Cut::Zeroed => {
                let len = disk.metadata(&self.segment).unwrap().len;
                disk.poke(&self.segment, at, &vec![0; (len - at) as usize]).unwrap();
            }
            Cut::Flipped => disk.flip(&self.segment, at * 8).unwrap(),
        }
    }

    fn vanish(&self) {
        (0..AWAY).for_each(|drive| self.store.disk().vanish(format!("/drives/{drive}")));
    }

    fn journal(&self) -> Vec<(String, Vec<u8>)> {
        let disk = self.store.disk();
        let names = disk.list(Path::new("/journal")).unwrap().into_iter().map(|entry| entry.name);
        names.map(|name| (name.clone(), disk.read_file(&Path::new("/journal").join(name), 1 << 30).unwrap())).collect()
    }

    /// Everything that lay before `at` is there, and nothing after the first that is not.
    fn prefix_before(&self, at: u64, when: &str) {
        let (mut ended, mut start) = (false, 0);
        for File { name, content, end } in &self.files {
            let was_hit = start < at && at < *end;
            start = *end;
            let found = match read(&self.store, name) {
                Ok(found) => found,
                // Its record is whole, its bytes are not: they are not served.
                Err(error) if was_hit && !ended && error.kind() == ErrorKind::Damaged => continue,
                Err(error) => panic!("{name} {when}: {error}"),
            };
            match found.as_deref() {
                Some(found) if found == &content[..] => assert!(!ended, "{name} is behind the end {when}"),
                // Made, and its bytes were cut.
                Some([]) if !ended && *end > at => ended = true,
                None if *end > at => ended = true,
                found => panic!("{name} ends at {end} and has {:?} bytes {when}", found.map(<[u8]>::len)),
            }
        }
        check(&self.store);
    }
}

fn names_drives(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let text = error.to_string();
    assert!((0..AWAY).all(|drive| text.contains(&format!("/drives/{drive}"))), "{text}");
}

/// Places in the part of the segment that is local alone: between records, in heads, in payloads.
fn places(site: &Site) -> Vec<u64> {
    let ends: Vec<u64> = site.files.iter().map(|file| file.end).filter(|end| *end > 0).collect();
    let last = *ends.last().unwrap();
    let around = ends.iter().flat_map(|end| [end - 9_000, end - 8, *end, end + 40]);
    around.chain([4096]).filter(|at| *at <= last).collect()
}

#[test]
fn f12_a_cut_journal_waits_for_the_drives_and_is_then_the_prefix_before_the_cut() {
    let (mut opened, mut refused) = (0, 0);
    for at in places(&site()) {
        for cut in [Cut::Truncated, Cut::Zeroed, Cut::Flipped] {
            let mut site = site();
            let when = format!("{cut:?} at {at}");
            site.cut(cut, at);
            site.vanish();
            let before = site.journal();
            names_drives(&site.store.crash(Survival::Nothing).expect_err("three drives are away"));
            names_drives(&site.store.lose(Loss::Index, Survival::Nothing).expect_err("three drives are away"));
            assert!(site.journal() == before, "{when}: a start that was refused changed the journal");
            site.store.disk().clear_faults();
            // The index is gone by now: the pool has what the journal does not.
            match site.store.lose(Loss::Index, Survival::Nothing) {
                Ok(report) => {
                    assert_eq!(report.stopped, None, "{when}");
                    opened += 1;
                    site.prefix_before(at, &when);
                    site.store.crash(Survival::Nothing).unwrap();
                    site.prefix_before(at, &format!("{when}, started again"));
                }
                // What lies behind says that it was durable.
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{when}: {text}");
                    assert!(text.contains("segment") && text.contains("was durable"), "{when}: {text}");
                    assert!(site.journal() == before, "{when}: a start that was refused changed the journal");
                }
            }
        }
    }
    assert!(opened > 20 && refused > 5, "{opened} starts, {refused} refused");
}

#[test]
fn f12_drives_that_go_while_a_machine_is_recovered_take_nothing_with_them() {
    let (mut whole, mut waited) = (0, 0);
    for calls in 1.. {
        let mut site = site();
        site.store.world().run(site.store.engine().flush()).unwrap();
        let gone = |drive| Fault::new(format!("/drives/{drive}"), Ops::ALL, When::From(calls), Effect::Errno(ENOENT));
        let faults: Vec<_> = (0..AWAY).map(|drive| site.store.disk().arm(gone(drive))).collect();
        match site.store.lose(Loss::Machine, Survival::Nothing) {
            Ok(report) => {
                assert_eq!((report.stopped, report.passed_over, report.left_behind), (None, vec![], vec![]), "{calls}");
                whole += 1;
            }
            Err(error) => {
                waited += 1;
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{calls} calls: {error}");
            }
        }
        let met = faults.into_iter().map(|fault| site.store.disk().disarm(fault)).sum::<u64>();
        site.store.lose(Loss::Machine, Survival::Nothing).unwrap();
        site.prefix_before(u64::MAX, &format!("after drives went at call {calls}"));
        if met == 0 {
            break;
        }
    }
    assert!(whole > 0 && waited > 5, "{whole} recoveries, {waited} refused");
}
