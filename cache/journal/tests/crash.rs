//! Crash images of a recorded run (F3, F4): whatever moment the power goes, and whatever of the unsynced survives, the
//! log that opens is a prefix of what was appended, no shorter than what was acknowledged.

mod harness;

use std::collections::BTreeMap;

use cache_journal::{FrameData, FrameId, Journal, JournalConfig, Lsn, SegmentState};
use harness::*;
use objstore_base::ErrorKind;
use objstore_env::sim::{Effect, Fault, Ops, SimDisk, SimRng, SimWorld, Survival, When};
use objstore_env::{FailAction, Failpoints, Rng};

const DIR: &str = "/store/journal";

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 128 << 10, unsynced_bytes_max: 200 << 10, ..JournalConfig::new(DIR, UUID) }
}

fn deep() -> bool {
    std::env::var_os("TIDEGATE_DEEP").is_some()
}

/// `SEED=` repeats one run.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=if deep() { count * 20 } else { count }).collect(),
    }
}

/// What was appended, by LSN; each batch says what its frames hold.
#[derive(Default)]
struct History {
    batches: BTreeMap<u64, Vec<u8>>,
    /// What the index has made durable, and the segments let go.
    flushed: Lsn,
    acknowledged: Lsn,
}

impl History {
    fn append(&mut self, journal: &Journal, seed: u64, lens: &[usize]) {
        self.try_append(journal, seed, lens).unwrap();
    }

    fn try_append(&mut self, journal: &Journal, seed: u64, lens: &[usize]) -> objstore_base::Result<()> {
        let bytes: Vec<Vec<u8>> = (0u64..).zip(lens).map(|(i, len)| pattern(seed + i, *len)).collect();
        let frames: Vec<FrameData<'_>> =
            bytes.iter().map(|bytes| FrameData { ino: seed, offset: 0, bytes, origin: None }).collect();
        let mut batch = Vec::new();
        let appended = journal.append(&frames, &mut |ids, out| {
            out.extend_from_slice(&seed.to_le_bytes());
            for (id, len) in ids.iter().zip(lens) {
                out.extend_from_slice(&id.segment.0.to_le_bytes());
                out.extend_from_slice(&id.frame.0.to_le_bytes());
                out.extend_from_slice(&u32::try_from(*len).unwrap().to_le_bytes());
            }
            batch = out.clone();
        });
        self.batches.insert(appended?.lsn.0, batch);
        Ok(())
    }

    /// One random step.
    fn step(&mut self, journal: &Journal, rng: &dyn Rng, disk: &SimDisk) {
        match rng.below(20) {
            0..=6 => self.append(journal, rng.next_u64(), &[]),
            7..=9 => self.append(journal, rng.next_u64(), &[1 + rng.below(6000) as usize]),
            10..=11 => self.append(journal, rng.next_u64(), &[32_768 + rng.below(20_000) as usize]),
            12 => self.append(journal, rng.next_u64(), &[16_384, 16_384, 1 + rng.below(9000) as usize]),
            13..=15 => journal.commit(journal.last()).unwrap(),
            16 => journal.tick().unwrap(),
            17 => journal.write_out().unwrap(),
            18 if rng.below(3) == 0 => drop(journal.seal().unwrap()),
            _ => self.housekeeping(journal, rng, disk),
        }
        self.acknowledged = journal.durable();
        self.mark(disk);
    }

    /// Notes in the trace what was acknowledged (high half) and what the index has (low half).
    fn mark(&self, disk: &SimDisk) {
        disk.mark(self.acknowledged.0 << 32 | self.flushed.0);
    }

    /// A step in which any call may fail, because the power goes.
    fn faulty_step(&mut self, journal: &Journal, rng: &dyn Rng) {
        let seed = rng.next_u64();
        let lens: &[usize] = [&[][..], &[2000], &[45_000], &[33_000, 500]][rng.below(4) as usize];
        let failed = match rng.below(6) {
            0..=2 => self.try_append(journal, seed, lens).is_err(),
            3 => journal.commit(journal.last()).is_err(),
            4 => journal.seal().is_err(),
            _ => {
                for info in journal.segments() {
                    if info.state == SegmentState::Sealed {
                        drop(journal.mark_uploaded(info.id));
                    }
                }
                let durable = journal.durable();
                self.flushed = durable;
                journal.index_flushed(durable);
                journal.retire(0).is_err()
            }
        };
        assert!(!failed || journal.last() >= self.acknowledged);
        self.acknowledged = journal.durable();
    }

    /// As upload and index would.
    fn housekeeping(&mut self, journal: &Journal, rng: &dyn Rng, disk: &SimDisk) {
        for info in journal.segments() {
            if info.state == SegmentState::Sealed && rng.below(2) == 0 {
                journal.mark_uploaded(info.id).unwrap();
            }
        }
        if rng.below(2) == 0 {
            self.flushed = journal.durable();
            self.mark(disk);
            journal.index_flushed(self.flushed);
            journal.retire(rng.below(400_000)).unwrap();
        }
    }

    /// What must be true of a journal that was opened after a crash.
    fn check(&self, opened: &Opened, after: Lsn, acknowledged: Lsn, what: &str) {
        let last = opened.journal.last();
        assert!(last >= acknowledged, "{what}: ends at {last}, {acknowledged} was acknowledged");
        let wanted: Vec<(u64, &Vec<u8>)> =
            self.batches.range(after.0 + 1..last.0 + 1).map(|(lsn, batch)| (*lsn, batch)).collect();
        let got: Vec<(u64, &Vec<u8>)> = opened.replayed.iter().map(|(lsn, batch)| (*lsn, batch)).collect();
        assert!(got == wanted, "{what}: {} records instead of {}", got.len(), wanted.len());
        for (_, batch) in &opened.replayed {
            check_frames(&opened.journal, batch, what);
        }
    }
}

fn check_frames(journal: &Journal, batch: &[u8], what: &str) {
    let seed = u64::from_le_bytes(batch[..8].try_into().unwrap());
    for (i, frame) in (0u64..).zip(batch[8..].chunks(16)) {
        let segment = cache_journal::SegmentId(u64::from_le_bytes(frame[..8].try_into().unwrap()));
        let no = cache_journal::FrameNo(u32::from_le_bytes(frame[8..12].try_into().unwrap()));
        let len = u32::from_le_bytes(frame[12..].try_into().unwrap());
        let read = read_all(journal, FrameId::new(segment, no)).unwrap();
        // What the index does not have may not be retired, so it is here.
        assert!(read.is_some_and(|read| read == pattern(seed + i, len as usize)), "{what}: {segment} frame {}", no.0);
    }
}

/// Opens on a machine with this disk.
fn open_on(disk: &SimDisk, after: Lsn) -> (SimWorld, objstore_base::Result<Opened>) {
    let world = SimWorld::with_disk(1, disk.clone());
    let opened = open(&world.env(), &config(), after);
    (world, opened)
}

/// A run with its trace.
fn recorded_run(seed: u64, steps: usize) -> (History, objstore_env::sim::Trace) {
    let world = SimWorld::new(seed);
    let env = world.env();
    env.disk.create_dir_all(std::path::Path::new(DIR)).unwrap();
    world.disk().settle();
    world.disk().record();
    let journal = open(&env, &config(), Lsn::ZERO).unwrap().journal;
    let mut history = History::default();
    let rng = SimRng::stream(seed, 77);
    for _ in 0..steps {
        history.step(&journal, &rng, world.disk());
        if rng.below(10) == 0 {
            world.pass(std::time::Duration::from_secs(2));
        }
    }
    (history, world.disk().take_trace().unwrap())
}

#[test]
fn f04_every_crash_image_opens_to_a_prefix_with_all_that_was_acknowledged() {
    let mut images = 0;
    for seed in seeds(12) {
        let (history, trace) = recorded_run(seed, 60);
        let marks: Vec<(usize, u64)> = trace.marks().collect();
        let mut replay = trace.replay();
        let picks = SimRng::stream(seed, 78);
        let step = (trace.len() / if deep() { 100 } else { 24 }).max(1);
        let mut moment = 0;
        while moment <= trace.len() {
            replay.advance(moment).unwrap();
            let mark = marks.iter().rev().find(|(at, _)| *at <= moment).map_or(0, |(_, mark)| *mark);
            let (acknowledged, after) = (Lsn(mark >> 32), Lsn(mark & u64::from(u32::MAX)));
            for survival in Survival::ALL {
                let what = format!("SEED={seed} moment {moment} {survival:?}");
                let disk = replay.image(survival, picks.next_u64());
                let (_world, opened) = open_on(&disk, after);
                let opened = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
                history.check(&opened, after, acknowledged, &what);
                images += 1;
            }
            moment += 1 + picks.below(step as u64 * 2) as usize;
        }
    }
    assert!(images > 500 || std::env::var_os("SEED").is_some(), "{images} images");
}

/// Killed again in the middle of recovery, several times, at every stage; and then used, and killed once more.
#[test]
fn f03_recovery_can_be_killed_at_any_change_and_started_again() {
    for seed in seeds(25) {
        let (mut history, trace) = recorded_run(seed, 50);
        let rng = SimRng::stream(seed, 79);
        let mut replay = trace.replay();
        let moment = rng.below(trace.len() as u64 + 1) as usize;
        replay.advance(moment).unwrap();
        let mark = trace.marks().filter(|(at, _)| *at <= moment).last().map_or(0, |(_, mark)| mark);
        let (acknowledged, after) = (Lsn(mark >> 32), Lsn(mark & u64::from(u32::MAX)));
        let mut disk = replay.image(Survival::Scattered, rng.next_u64());
        for kill in 0..6 {
            disk.power_off_after(rng.below(12 * (kill + 1)));
            let (_world, opened) = open_on(&disk, after);
            // The power may also go after all that had to be done, in preparation of what comes.
            if let Ok(opened) = &opened
                && !disk.is_off()
            {
                history.check(opened, after, acknowledged, &format!("SEED={seed} kill {kill}"));
            }
            drop(opened);
            disk = disk.crash(Survival::POWER_CUTS[rng.below(3) as usize]);
        }
        let (_world, opened) = open_on(&disk, after);
        let what = format!("SEED={seed} after the kills");
        let opened = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
        history.check(&opened, after, acknowledged, &what);
        // The log goes on from there; what was cut is history that did not happen.
        let journal = opened.journal;
        history.batches.split_off(&(journal.last().0 + 1));
        for i in 0..10 {
            history.append(&journal, rng.next_u64(), if i % 3 == 0 { &[40_000] } else { &[] });
        }
        journal.commit(journal.last()).unwrap();
        let last = journal.last();
        history.append(&journal, rng.next_u64(), &[]);
        drop(journal);
        let disk = disk.crash(Survival::Nothing);
        let (_world, opened) = open_on(&disk, after);
        let what = format!("SEED={seed} the last time");
        let opened = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
        history.check(&opened, after, last, &what);
    }
}

const FAILPOINTS: [&str; 17] = [
    "journal.payload.before",
    "journal.payload.after",
    "journal.roll",
    "journal.prepare",
    "journal.sync.before",
    "journal.sync.after",
    "journal.seal.table",
    "journal.seal.header",
    "journal.upload.before",
    "journal.upload.after",
    "journal.retire",
    "journal.retire.sync",
    "journal.repair",
    "journal.repair.rename",
    "journal.recover.rewrite",
    "journal.recover.header",
    "journal.recover.cut",
];

/// The program dies at each named place, once early and once later, in a run that comes by all of them.
#[test]
fn f02_killed_at_each_failpoint_it_opens_to_a_prefix() {
    for (seed, name) in (1..).zip(FAILPOINTS) {
        for nth in [1, 3] {
            let mut world = SimWorld::new(seed);
            let disk = world.disk().clone();
            world.set_failpoints(Failpoints::with(move |place, n| {
                if place == name && n == nth {
                    disk.power_off();
                }
                // Some syncs fail, so that repairs are under way too.
                match place == "journal.sync.before" && n % 7 == 0 {
                    true => FailAction::Errno(5),
                    false => FailAction::Continue,
                }
            }));
            let rng = SimRng::stream(seed, 82);
            let mut history = History::default();
            let mut reopened = 0;
            while !world.disk().is_off() {
                assert!(reopened < 100, "{name} was reached less than {nth} times");
                let Ok(opened) = open(&world.env(), &config(), history.flushed) else { break };
                history.check(&opened, history.flushed, history.acknowledged, name);
                reopened += 1;
                let journal = opened.journal;
                // What did not get into the files is history that did not happen.
                history.batches.split_off(&(journal.last().0 + 1));
                for _ in 0..30 {
                    if world.disk().is_off() || journal.poisoned().is_some() {
                        break;
                    }
                    history.faulty_step(&journal, &rng);
                }
            }
            assert!(world.disk().is_off(), "{name}");
            let disk = world.disk().crash(Survival::POWER_CUTS[rng.below(3) as usize]);
            disk.clear_faults();
            let (_world, opened) = open_on(&disk, history.flushed);
            let opened = opened.unwrap_or_else(|e| panic!("{name} {nth}: {e}"));
            history.check(&opened, history.flushed, history.acknowledged, name);
        }
    }
}

/// F5 on a disk that drops what a failed sync covered, and says that later syncs are fine.
#[test]
fn f05_no_reply_before_a_new_copy_is_synced() {
    let mut lost = 0;
    for seed in seeds(40) {
        let world = SimWorld::new(seed);
        let rng = SimRng::stream(seed, 80);
        let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
        let fault = world.disk().arm(Fault::new(DIR, Ops::SYNC, When::Nth(1 + rng.below(10)), Effect::LoseSync));
        let mut history = History::default();
        let mut failures = 0;
        for _ in 0..40 {
            let lens: &[usize] = [&[][..], &[3000], &[50_000]][rng.below(3) as usize];
            history.append(&journal, rng.next_u64(), lens);
            if rng.below(3) == 0 {
                failures += u64::from(journal.commit(journal.last()).is_err());
            }
        }
        let acknowledged = journal.durable();
        lost += world.disk().hits(fault).min(failures);
        drop(journal);
        let disk = world.disk().crash(Survival::Nothing);
        let (_world, opened) = open_on(&disk, Lsn::ZERO);
        history.check(&opened.unwrap(), Lsn::ZERO, acknowledged, &format!("SEED={seed}"));
    }
    assert!(lost > 0, "no sync failed");
}

/// The copy fails as well: the journal stops, and what was acknowledged is still there.
#[test]
fn f05_a_dead_disk_poisons_the_journal_and_loses_nothing_acknowledged() {
    for seed in seeds(20) {
        let world = SimWorld::new(seed);
        let rng = SimRng::stream(seed, 81);
        let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
        world.disk().arm(Fault::new(DIR, Ops::SYNC, When::From(1 + rng.below(8)), Effect::LoseSync));
        let mut history = History::default();
        let mut poisoned = None;
        for i in 0..40 {
            if journal.poisoned().is_some() {
                poisoned = Some(i);
                break;
            }
            history.append(&journal, rng.next_u64(), if rng.below(2) == 0 { &[] } else { &[4000] });
            drop(journal.commit(journal.last()));
        }
        assert!(poisoned.is_some(), "SEED={seed}");
        let error = journal.append(&[], &mut |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let acknowledged = journal.durable();
        drop(journal);
        let disk = world.disk().crash(Survival::Nothing);
        disk.clear_faults();
        let (_world, opened) = open_on(&disk, Lsn::ZERO);
        history.check(&opened.unwrap(), Lsn::ZERO, acknowledged, &format!("SEED={seed}"));
    }
}

/// Writes, syncs, renames fail at random, in part or whole: what was accepted and acknowledged is there, what was
/// refused is not.
#[test]
fn random_errors_of_the_disk_never_mix_up_the_log() {
    let mut refused = 0;
    for seed in seeds(60) {
        let world = SimWorld::new(seed);
        let rng = SimRng::stream(seed, 83);
        let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
        for (ops, effect) in [
            (Ops::WRITE, Effect::Partial(5)),
            (Ops::WRITE | Ops::RESIZE, Effect::Errno(28)),
            (Ops::SYNC, Effect::LoseSync),
            (Ops::RENAME | Ops::SYNC_DIR | Ops::OPEN | Ops::CREATE | Ops::REMOVE, Effect::Errno(5)),
        ] {
            world.disk().arm(Fault::new(DIR, ops, When::PerMillion(20_000), effect));
        }
        let mut history = History::default();
        for _ in 0..80 {
            if journal.poisoned().is_some() {
                break;
            }
            history.faulty_step(&journal, &rng);
        }
        refused += u64::from(journal.last().0 as usize > history.batches.len());
        let poisoned = journal.poisoned().is_some();
        let acknowledged = journal.durable();
        drop(journal);
        world.disk().clear_faults();
        let disk = world.disk().crash(Survival::ALL[rng.below(4) as usize]);
        let (_world, opened) = open_on(&disk, history.flushed);
        let what = format!("SEED={seed}");
        let mut opened = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
        // The append that poisoned the journal was refused, but could not be taken back.
        if poisoned && opened.replayed.last().is_some_and(|(lsn, _)| !history.batches.contains_key(lsn)) {
            opened.replayed.pop();
        }
        history.check(&opened, history.flushed, acknowledged, &what);
    }
    assert!(refused > 0, "nothing was refused");
}

/// A run in which the disk is full: appends fail with `NoSpace`, reads go on, and all that was accepted is there.
#[test]
fn f07_a_full_disk_fails_appends_and_nothing_else() {
    let world = SimWorld::new(3);
    world.disk().mount("/store", 700 << 10);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    let mut history = History::default();
    let mut refused = 0;
    for i in 0..40u64 {
        let bytes = pattern(i, 40_000);
        let frame = FrameData { ino: 1, offset: 0, bytes: &bytes, origin: None };
        match journal.append(&[frame], &mut |_, out| out.extend_from_slice(&i.to_le_bytes())) {
            Ok(appended) => drop(history.batches.insert(appended.lsn.0, i.to_le_bytes().to_vec())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10 && history.batches.len() > 5);
    journal.commit(journal.last()).unwrap();
    let last = journal.last();
    drop(journal);
    let disk = world.disk().crash(Survival::Nothing);
    let (_world, opened) = open_on(&disk, Lsn::ZERO);
    let opened = opened.unwrap();
    assert_eq!((opened.journal.last(), opened.replayed.len()), (last, history.batches.len()));
}
