//! The heal list survives restarts, crashes and damage, and stays small.

use objstore_base::ErrorKind;
use objstore_env::sim::{SimWorld, Survival};
use objstore_env::{Disk, Env};

use super::*;

const POOL: PoolUuid = PoolUuid(*b"the pool of test");
const PATH: &str = "/data/pool/heal.log";

fn open(env: &Env) -> Result<HealLog> {
    HealLog::open(env, Path::new("/data/pool"), POOL)
}

fn missing(number: u64, index: u8) -> Record {
    Record::Missing { blob: BlobId::segment(number), generation: Generation(1 << 32 | 5), index }
}

fn deleted(number: u64) -> Record {
    Record::Deleted { blob: BlobId::segment(number), upto: Generation(2 << 32 | 9) }
}

fn owed(log: &HealLog) -> Owed {
    log.owed.lock().clone()
}

#[test]
fn what_is_recorded_is_there_after_a_restart_until_it_is_paid() {
    let env = SimWorld::new(1).env();
    let log = open(&env).expect("open");
    log.record(POOL, &[missing(1, 0), missing(1, 5), missing(2, 3), deleted(3)]).expect("record");
    log.record(POOL, &[Record::Healed { blob: BlobId::segment(2) }, deleted(1)]).expect("record");
    let again = open(&env).expect("open");
    assert_eq!(owed(&again), owed(&log));
    assert_eq!(again.debts(), [], "a deleted blob owes nothing");
    assert_eq!(again.deleted(), [BlobId::segment(1), BlobId::segment(3)]);
    assert_eq!(again.deleted_upto(BlobId::segment(3)), Some(Generation(2 << 32 | 9)));
    again.record(POOL, &[Record::Purged { blob: BlobId::segment(3) }, missing(7, 1)]).expect("record");
    let again = open(&env).expect("open");
    assert_eq!(again.deleted(), [BlobId::segment(1)]);
    assert_eq!(
        again.debts().iter().map(|(blob, debt)| (blob.number, debt.missing())).collect::<Vec<_>>(),
        [(7, vec![1])]
    );
}

#[test]
fn a_newer_put_replaces_what_an_older_one_owed() {
    let env = SimWorld::new(1).env();
    let log = open(&env).expect("open");
    let newer = Record::Missing { blob: BlobId::segment(1), generation: Generation(2 << 32), index: 4 };
    log.record(POOL, &[missing(1, 0), newer]).expect("record");
    assert_eq!(log.debt_of(BlobId::segment(1)).map(|debt| debt.missing()), Some(vec![4]));
    assert!(log.knows(newer) && !log.knows(missing(2, 0)));
}

#[test]
fn a_shard_is_missing_or_displaced_and_not_both() {
    let env = SimWorld::new(1).env();
    let log = open(&env).expect("open");
    let displaced = |index| Record::Displaced { blob: BlobId::segment(1), generation: Generation(1 << 32 | 5), index };
    let masks = |log: &HealLog| log.debt_of(BlobId::segment(1)).map(|debt| (debt.missing(), debt.displaced()));
    log.record(POOL, &[missing(1, 0), displaced(4), displaced(5)]).expect("record");
    let log = open(&env).expect("open");
    assert_eq!(masks(&log), Some((vec![0], vec![4, 5])));
    log.record(POOL, &[missing(1, 5), displaced(0)]).expect("record");
    let log = open(&env).expect("open");
    assert_eq!(masks(&log), Some((vec![5], vec![0, 4])));
    log.record(POOL, &[Record::Healed { blob: BlobId::segment(1) }]).expect("record");
    assert_eq!(open(&env).expect("open").debts(), []);
}

#[test]
fn what_is_known_is_not_written_again_and_the_file_stays_small() {
    let world = SimWorld::new(1);
    let env = world.env();
    let log = open(&env).expect("open");
    log.record(POOL, &[missing(1, 0)]).expect("record");
    let before = world.disk().counts();
    log.record(POOL, &[missing(1, 0), Record::Healed { blob: BlobId::segment(9) }]).expect("record");
    assert_eq!(world.disk().counts(), before, "nothing changed, nothing was written");
    for n in 0..5000 {
        let blob = BlobId::segment(n % 3 + 10);
        log.record(POOL, &[missing(blob.number, 1)]).expect("record");
        log.record(POOL, &[Record::Healed { blob }]).expect("record");
    }
    let len = world.disk().metadata(Path::new(PATH)).expect("file").len;
    assert!(len < (VOID_RECORDS_MAX as u64 + 64) * RECORD_BYTES as u64, "{len} bytes");
    assert_eq!(owed(&open(&env).expect("open")), owed(&log));
}

#[test]
fn a_damaged_record_costs_itself_and_nothing_else() {
    let world = SimWorld::new(1);
    let env = world.env();
    let records: Vec<Record> = (0..6).map(|n| missing(n, 1)).collect();
    open(&env).expect("open").record(POOL, &records).expect("record");
    let at = (HEADER_BYTES + 2 * RECORD_BYTES + 9) as u64;
    world.disk().flip(PATH, at * 8).expect("flip");
    let log = open(&env).expect("open");
    let left: Vec<u64> = log.debts().into_iter().map(|(blob, _)| blob.number).collect();
    assert_eq!(left, [0, 1, 3, 4, 5]);
}

#[test]
fn no_flipped_bit_invents_a_record() {
    let displaced = Record::Displaced { blob: BlobId::segment(4), generation: Generation(1 << 32 | 5), index: 3 };
    let records = [missing(1, 2), deleted(3), displaced];
    let mut file = header(POOL).to_vec();
    let seed = xxh3_64_with_seed(&POOL.0, 0);
    records.iter().for_each(|record| file.extend(encode(*record, seed)));
    let whole = decode(&file, POOL, seed).expect("decode");
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(found) = decode(&bad, POOL, seed) {
            let kept = found.records();
            assert!(kept.len() == 2 && kept.iter().all(|r| whole.records().contains(r)), "bit {bit}: {kept:?}");
        }
    }
    for len in 0..file.len() {
        if let Ok(found) = decode(&file[..len], POOL, seed) {
            assert!(found.records().iter().all(|record| records.contains(record)), "{len} bytes: {found:?}");
        }
    }
}

#[test]
fn anothers_log_is_refused() {
    let env = SimWorld::new(1).env();
    drop(open(&env).expect("open"));
    let other = HealLog::open(&env, Path::new("/data/pool"), PoolUuid([1; 16]));
    assert_eq!(other.map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Mismatch));
    let mut newer = header(POOL);
    newer[8] = 2;
    env.disk.write_atomic(Path::new(PATH), &newer).expect("write");
    assert_eq!(open(&env).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::NewerFormat));
    env.disk.write_atomic(Path::new(PATH), &[0x55; 100]).expect("write");
    assert_eq!(open(&env).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
}

#[test]
fn the_released_format_is_still_read_and_written() {
    let seed = xxh3_64_with_seed(&POOL.0, 0);
    let golden = include_bytes!("golden-v1");
    let mut made = header(POOL).to_vec();
    for record in [
        missing(1, 2),
        deleted(3),
        Record::Healed { blob: BlobId::segment(4) },
        Record::Purged { blob: BlobId::segment(5) },
    ] {
        made.extend(encode(record, seed));
    }
    assert!(made == golden, "the same records give the same file");
    let found = decode(golden, POOL, seed).expect("version 1");
    assert_eq!(found.records(), [missing(1, 2), deleted(3)]);
}

#[test]
fn acknowledged_records_survive_every_crash() {
    for (cut, survival) in (0..12).flat_map(|cut| Survival::ALL.map(|survival| (cut, survival))) {
        let mut world = SimWorld::new(300 + cut);
        let log = open(&world.env()).expect("open");
        log.record(POOL, &[missing(1, 0), deleted(2)]).expect("record");
        let before = owed(&log);
        world.disk().power_off_after(cut);
        let mut acknowledged = before.clone();
        for n in 3..9 {
            if log.record(POOL, &[missing(n, 1)]).is_err() {
                break;
            }
            acknowledged = owed(&log);
        }
        drop(log);
        world.crash(survival);
        let after = owed(&open(&world.env()).expect("open"));
        let kept = after.records();
        assert!(acknowledged.records().iter().all(|r| kept.contains(r)), "cut {cut}, {survival:?}: {after:?}");
    }
}

#[test]
fn after_a_failed_sync_the_next_record_goes_to_a_fresh_file() {
    use objstore_env::sim::{Effect, Fault, Ops, When};
    let mut world = SimWorld::new(1);
    let log = open(&world.env()).expect("open");
    log.record(POOL, &[missing(1, 0)]).expect("record");
    world.disk().arm(Fault::new(PATH, Ops::SYNC, When::Nth(1), Effect::LoseSync));
    assert_eq!(log.record(POOL, &[missing(2, 0)]).map_err(|e| e.kind()), Err(ErrorKind::Io));
    assert_eq!(log.debts().len(), 1, "what is not durable is not remembered as if it were");
    log.record(POOL, &[missing(3, 0)]).expect("record");
    let before = owed(&log);
    drop(log);
    world.crash(Survival::Nothing);
    assert_eq!(owed(&open(&world.env()).expect("open")), before);
}
