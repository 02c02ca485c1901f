//! What happens by itself: bounds, ticks, spares, and what an idle journal does not do.

mod harness;

use std::time::Duration;

use cache_journal::{Journal, JournalConfig, Lsn, SegmentState};
use harness::*;
use objstore_base::ErrorKind;
use objstore_env::sim::{Effect, Fault, Ops, SimWorld, Survival, When};

const DIR: &str = "/store/journal";

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 1 << 20, unsynced_bytes_max: 256 << 10, ..JournalConfig::new(DIR, UUID) }
}

fn upload_all(journal: &Journal) {
    for info in journal.segments() {
        if info.state == SegmentState::Sealed {
            journal.mark_uploaded(info.id).unwrap();
        }
    }
    journal.index_flushed(journal.durable());
}

#[test]
fn bulk_data_is_synced_at_the_bound_and_metadata_never_waits() {
    let world = SimWorld::new(1);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    let syncs = world.disk().counts().syncs;
    for i in 0..1000u64 {
        append_batch(&journal, &pattern(i, 400));
    }
    assert!(journal.unsynced_bytes() > 256 << 10);
    assert_eq!((world.disk().counts().syncs, journal.durable()), (syncs, Lsn::ZERO));
    for i in 0..20 {
        let unsynced = journal.unsynced_bytes();
        let paced = journal.pace();
        assert_eq!(paced.is_some(), unsynced > 256 << 10);
        if let Some(synced) = paced {
            world.run(synced);
            assert_eq!(journal.unsynced_bytes(), 0);
        }
        let before = world.disk().counts().syncs;
        append_frame(&journal, &pattern(i, 60_000));
        assert_eq!(world.disk().counts().syncs, before, "an append waits for no sync");
    }
    assert!(world.disk().counts().syncs - syncs < 12);
}

#[test]
fn what_nobody_commits_is_synced_after_five_seconds_and_the_end_is_proven() {
    let world = SimWorld::new(2);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    append_batch(&journal, b"first");
    for _ in 0..3 {
        journal.tick().unwrap();
        world.pass(Duration::from_secs(1));
        assert_eq!(journal.durable(), Lsn::ZERO);
    }
    for _ in 0..20 {
        world.pass(Duration::from_secs(1));
        journal.tick().unwrap();
    }
    // The record, and one more that proves it.
    assert_eq!((journal.durable(), journal.last()), (Lsn(2), Lsn(2)));
    let idle = world.disk().counts();
    for _ in 0..100 {
        world.pass(Duration::from_secs(1));
        journal.tick().unwrap();
    }
    assert_eq!(world.disk().counts(), idle, "an idle journal leaves the disk alone");
    drop(journal);
    // Now damage to the very last record that holds something is no torn tail.
    let disk = world.disk().crash(Survival::Nothing);
    let path = format!("{DIR}/{}", cache_journal::segment_file_name(cache_journal::SegmentId(1)));
    disk.flip(&path, (4096 + 60) * 8).unwrap();
    let world = SimWorld::with_disk(3, disk);
    assert_eq!(open(&world.env(), &config(), Lsn::ZERO).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_quiet_store_has_nothing_dirty_and_nothing_to_seal() {
    let world = SimWorld::new(12);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    assert_eq!(journal.dirty().oldest_age, None);
    append_batch(&journal, b"x");
    world.pass(Duration::from_secs(7));
    assert_eq!(journal.dirty().oldest_age, Some(Duration::from_secs(7)));
    let id = journal.seal().unwrap().unwrap();
    journal.mark_uploaded(id).unwrap();
    for _ in 0..30 {
        world.pass(Duration::from_secs(1));
        journal.tick().unwrap();
    }
    assert_eq!((journal.dirty().bytes, journal.seal().unwrap()), (0, None));
    // The same where a watermark stands alone in the segment.
    append_batch(&journal, b"y");
    journal.commit(journal.last()).unwrap();
    journal.tick().unwrap();
    assert!(journal.dirty().bytes > 0);
    journal.seal().unwrap().unwrap();
    assert_eq!(journal.seal().unwrap(), None);
}

#[test]
fn a_file_in_use_is_never_extended_and_retired_ones_come_round_again() {
    let world = SimWorld::new(3);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    let mut names = std::collections::BTreeSet::new();
    for round in 0..12 {
        for i in 0..30 {
            append_frame(&journal, &pattern(round * 100 + i, 32_768));
        }
        journal.seal().unwrap();
        upload_all(&journal);
        journal.retire(0).unwrap();
        let entries = world.env().disk.list(std::path::Path::new(DIR)).unwrap();
        names.insert(entries.len());
        assert!(entries.len() <= 5, "{entries:?}");
    }
    assert_eq!(journal.segments().len(), 1);
}

/// Syncs `commits` small records; gives the bytes written for them beyond their own pages.
fn written_ahead(world: &SimWorld, journal: &Journal, commits: u64) -> u64 {
    let before = world.disk().counts().bytes_written;
    for i in 0..commits {
        append_batch(journal, &pattern(i, 200));
        journal.commit(journal.last()).unwrap();
    }
    (world.disk().counts().bytes_written - before).saturating_sub(commits * 8192)
}

#[test]
fn many_small_commits_overwrite_what_was_written_before() {
    let mut world = SimWorld::new(13);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    assert_eq!(written_ahead(&world, &journal, 10), 0, "a few are no habit");
    append_frame(&journal, &pattern(1, 262_144));
    journal.commit(journal.last()).unwrap();
    assert_eq!(written_ahead(&world, &journal, 10), 0, "nor are those between large ones");
    assert!(written_ahead(&world, &journal, 10) >= 256 << 10);
    // Large frames pass the zeros that lie ahead of them, and are there after a crash.
    let bytes = pattern(2, 200_000);
    let (_, id) = append_frame(&journal, &bytes);
    assert_eq!(written_ahead(&world, &journal, 30), 0);
    drop(journal);
    world.crash(Survival::Scattered);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    assert_eq!(read_all(&journal, id).unwrap(), Some(bytes));
}

#[test]
fn a_small_sealed_segment_gives_back_what_it_does_not_use() {
    let world = SimWorld::new(4);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    let bytes = pattern(1, 50_000);
    let (appended, id) = append_frame(&journal, &bytes);
    journal.seal().unwrap();
    let info = journal.segment(appended.segment).unwrap();
    assert!(info.file_bytes < 80_000, "{info:?}");
    assert_eq!(read_all(&journal, id).unwrap(), Some(bytes));
    assert_eq!(journal.local_bytes(), info.file_bytes + (1 << 20));
}

#[test]
fn what_was_read_least_recently_is_retired_first() {
    let world = SimWorld::new(5);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    let frames: Vec<_> = (0..5)
        .map(|i| {
            let id = append_frame(&journal, &pattern(i, 700_000 % 262_144 + 60_000)).1;
            journal.seal().unwrap();
            id
        })
        .collect();
    upload_all(&journal);
    read_all(&journal, frames[1]).unwrap();
    read_all(&journal, frames[0]).unwrap();
    let mut gone = Vec::new();
    while journal.retire(journal.local_bytes() - 1).unwrap() > 0 {
        let local: Vec<_> = journal.segments().iter().map(|i| i.id).collect();
        let next = frames.iter().position(|f| !local.contains(&f.segment) && !gone.contains(&f.segment)).unwrap();
        gone.push(frames[next].segment);
    }
    let order: Vec<_> = [2, 3, 4, 1, 0].iter().map(|i: &usize| frames[*i].segment).collect();
    assert_eq!(gone, order);
    assert!(read_all(&journal, frames[0]).unwrap().is_none());
}

#[test]
fn a_dead_segment_is_dropped_once_the_index_has_its_metadata() {
    let world = SimWorld::new(6);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    append_frame(&journal, &pattern(1, 5000));
    let active = journal.segments()[0].id;
    assert!(!journal.drop_dead(active).unwrap());
    let id = journal.seal().unwrap().unwrap();
    assert!(!journal.drop_dead(id).unwrap());
    journal.index_flushed(journal.durable());
    assert!(journal.drop_dead(id).unwrap());
    assert!(!journal.drop_dead(id).unwrap());
    let after = journal.durable();
    drop(journal);
    let world = SimWorld::with_disk(7, world.disk().crash(Survival::Nothing));
    assert_eq!(open(&world.env(), &config(), after).unwrap().journal.last(), after);
}

/// Nothing takes the data, and not the head of the record either: the log ends before it.
#[test]
fn where_a_record_cannot_even_be_taken_back_the_journal_stops() {
    let world = SimWorld::new(8);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    append_batch(&journal, b"kept");
    journal.commit(Lsn(1)).unwrap();
    let fault = world.disk().arm(Fault::new(DIR, Ops::WRITE, When::Always, Effect::Errno(5)));
    let bytes = pattern(1, 100_000);
    let frame = cache_journal::FrameData { ino: 1, offset: 0, bytes: &bytes, origin: None };
    assert!(journal.append(&[frame], &mut |_, out| out.push(1)).is_err());
    assert!(journal.poisoned().is_some());
    world.disk().disarm(fault);
    assert!(journal.commit(Lsn(2)).is_err());
    assert!(journal.append(&[], &mut |_, out| out.push(1)).is_err());
    drop(journal);
    let world = SimWorld::with_disk(9, world.disk().crash(Survival::Everything));
    let log = open(&world.env(), &config(), Lsn::ZERO).unwrap();
    assert_eq!(log.replayed, [(1, b"kept".to_vec())]);
}

#[test]
fn a_commit_that_cannot_write_out_fails_and_a_later_one_makes_good() {
    let world = SimWorld::new(10);
    let journal = open(&world.env(), &config(), Lsn::ZERO).unwrap().journal;
    append_batch(&journal, b"one");
    let fault = world.disk().arm(Fault::new(DIR, Ops::WRITE, When::Nth(1), Effect::Partial(5)));
    assert_eq!(journal.commit(Lsn(1)).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(journal.durable(), Lsn::ZERO);
    assert_eq!(world.disk().disarm(fault), 1);
    append_batch(&journal, b"two");
    journal.commit(Lsn(2)).unwrap();
    drop(journal);
    let world = SimWorld::with_disk(11, world.disk().crash(Survival::Nothing));
    let log = open(&world.env(), &config(), Lsn::ZERO).unwrap();
    assert_eq!(log.replayed, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
}
