//! Quotas: what is refused, what is not, and that the use is exact.

use std::sync::atomic::Ordering;

use fs_api::{DoorId, FallocateMode, Ino, NewNode, ROOT_INO, RenameMode, Target, Vfs};
use fs_meta::Column;
use objstore_base::ErrorKind::{CrossDevice, InvalidArgument, NotFound, QuotaExceeded};

use super::world::{World, noise};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A directory that may hold so much.
fn limited(world: &World, name: &str, bytes: Option<u64>, inodes: Option<u64>) -> Ino {
    let directory = world.mkdir(ROOT_INO, name);
    world.set_quota(directory, bytes, inodes).expect("set");
    assert!(!world.quota(directory).counting, "an empty directory is counted at once");
    directory
}

#[test]
fn what_needs_more_room_is_refused_and_changes_nothing_and_all_else_works() {
    let world = World::new();
    let directory = limited(&world, "d", Some(MIB), None);
    let (full, other) = (world.file(directory, "full"), world.file(directory, "other"));
    let data = noise(1, MIB as usize);
    world.write(full, 0, &data);
    for (offset, len) in [(MIB, 1), (MIB - 1, 2), (3 * MIB, 100_000), (MIB - 1, 65 << 10)] {
        assert_eq!(world.try_write(full, offset, &data[..len]), Err(QuotaExceeded), "{len} bytes at {offset}");
    }
    assert_eq!(world.try_write(other, 0, b"x"), Err(QuotaExceeded));
    let reserve = FallocateMode::Allocate { keep_size: true };
    assert_eq!(world.fallocate(other, 0, 1, reserve), Err(QuotaExceeded));
    assert_eq!(world.fallocate(other, 0, 1, FallocateMode::ZeroRange { keep_size: true }), Err(QuotaExceeded));
    assert_eq!(world.copy(full, 0, other, 0, 10), Err(QuotaExceeded));
    assert_eq!((world.size(full), world.size(other), world.quota(directory).bytes), (MIB, 0, MIB));
    assert_eq!(world.read(full, 0, 2 << 20), data);
    // Nothing of this needs room.
    world.write(full, 100, b"overwritten");
    world.write(full, 0, &data[..200_000]);
    world.fallocate(full, 0, MIB, reserve).expect("it is there");
    world.fallocate(full, 4096, 4096, FallocateMode::ZeroRange { keep_size: true }).expect("as much as before");
    world.copy(full, 0, full, MIB / 2, 1000).expect("over what is there");
    world.truncate(other, 10 * MIB);
    world.check();
    // This makes room.
    world.fallocate(full, 0, 64 * KIB, FallocateMode::PunchHole).expect("punched");
    world.write(other, 0, &data[..64 * 1024]);
    assert_eq!(world.try_write(other, 64 * KIB, b"x"), Err(QuotaExceeded));
    world.truncate(full, MIB / 2);
    world.write(other, 64 * KIB, &data[..512 * 1024]);
    world.unlink_in(directory, "full").expect("unlinked");
    assert_eq!(world.quota(directory).bytes, 576 * KIB);
    world.check();
}

#[test]
fn small_writes_are_refused_when_they_are_made_and_never_when_they_are_stored() {
    let world = World::new();
    let directory = limited(&world, "d", Some(100_000), None);
    let files: Vec<Ino> = (0..4).map(|n| world.file(directory, &format!("f{n}"))).collect();
    let mut accepted = [0_u64; 4];
    for round in 0..40 {
        for (file, end) in files.iter().zip(&mut accepted) {
            if world.try_write(*file, *end, &noise(round, 1000)).is_ok() {
                *end += 1000;
            }
        }
    }
    let before = world.quota(directory).bytes;
    assert_eq!((accepted.iter().sum::<u64>(), before), (100_000, 100_000));
    // The last bytes again, over what is gathered and over what is stored.
    world.write(files[0], accepted[0] - 10, b"0123456789");
    world.sync();
    world.write(files[1], accepted[1] - 10, b"0123456789");
    world.sync();
    assert_eq!(world.quota(directory).bytes, 100_000);
    for (file, end) in files.iter().zip(accepted) {
        assert_eq!((world.size(*file), world.attr(*file).blocks), (end, end.div_ceil(512)));
    }
    world.check();
}

#[test]
fn room_reserved_for_a_write_that_a_removal_makes_void_comes_back() {
    let world = World::new();
    let directory = limited(&world, "d", Some(10_000), None);
    for round in 0..3 {
        let file = world.file(directory, "f");
        world.write(file, 0, &noise(round, 10_000));
        assert_eq!(world.try_write(file, 10_000, b"x"), Err(QuotaExceeded));
        world.unlink_in(directory, "f").expect("unlinked");
        assert_eq!(world.quota(directory).bytes, 0);
    }
    world.check();
}

#[test]
fn a_truncated_or_removed_file_of_many_extents_makes_room_for_the_next_write() {
    let world = World::new();
    let directory = limited(&world, "d", Some(5000), None);
    for _ in 0..2 {
        let file = world.file(directory, "f");
        // Every other byte: as many extents.
        (0..5000).for_each(|n| world.write(file, n * 2, b"x"));
        let other = world.file(directory, "g");
        assert_eq!(world.try_write(other, 0, b"x"), Err(QuotaExceeded));
        world.truncate(file, 0);
        world.write(other, 0, &noise(2, 5000));
        world.truncate(other, 0);
        (0..5000).for_each(|n| world.write(file, n * 2, b"x"));
        world.unlink_in(directory, "f").expect("unlinked");
        assert_eq!(world.quota(directory).bytes, 0, "a removed file counts no more, also while its extents go");
        world.write(other, 0, &noise(2, 5000));
        world.unlink_in(directory, "g").expect("unlinked");
    }
    world.check();
    world.engine.drain_trims(100).expect("trimmed");
    assert_eq!(world.quota(directory).bytes, 0);
    world.check();
}

#[test]
fn inodes_of_every_kind_count_until_they_are_freed() {
    let world = World::new();
    let directory = limited(&world, "d", None, Some(5));
    let inner = world.mkdir(directory, "inner");
    let file = world.file(inner, "file");
    world.make(inner, "link", NewNode::Symlink("file".into())).expect("symlink");
    world.make(inner, "fifo", NewNode::Fifo).expect("fifo");
    for node in [NewNode::Directory, NewNode::Regular, NewNode::Socket] {
        assert_eq!(world.make(inner, "more", node), Err(QuotaExceeded));
    }
    world.link(file, inner, "second name").expect("a name is no inode");
    world.write(file, 0, &noise(1, 100_000));
    let handle = world.open_append(file);
    world.unlink_in(inner, "file").expect("unlinked");
    world.unlink_in(inner, "second name").expect("unlinked");
    assert_eq!(world.make(inner, "more", NewNode::Regular), Err(QuotaExceeded), "open, it is there");
    let cx = world.cx();
    world.runtime.block_on(world.engine.release(&cx, file, handle)).expect("closed");
    world.file(inner, "more");
    let quota = world.quota(directory);
    assert_eq!((quota.inodes, quota.bytes), (5, 0));
    world.check();
}

#[test]
fn what_would_enter_or_leave_a_quota_is_on_another_device() {
    let world = World::new();
    let (a, b) = (limited(&world, "a", Some(MIB), None), limited(&world, "b", Some(MIB), None));
    let inner = world.mkdir(a, "inner");
    let (file, free) = (world.file(a, "f"), world.file(ROOT_INO, "free"));
    world.file(b, "g");
    for (from, to) in [
        ((a, "f"), (b, "f")),
        ((a, "f"), (ROOT_INO, "f")),
        ((a, "inner"), (ROOT_INO, "inner")),
        ((ROOT_INO, "free"), (a, "free")),
        ((ROOT_INO, "b"), (inner, "b")),
    ] {
        assert_eq!(world.rename(from, to, RenameMode::Replace), Err(CrossDevice), "{from:?} to {to:?}");
    }
    assert_eq!(world.rename((a, "f"), (b, "g"), RenameMode::Exchange), Err(CrossDevice));
    assert_eq!(world.rename((a, "f"), (ROOT_INO, "free"), RenameMode::Exchange), Err(CrossDevice));
    assert_eq!(
        [world.link(file, b, "l"), world.link(file, ROOT_INO, "l"), world.link(free, a, "l")],
        [Err(CrossDevice); 3]
    );
    // Within one quota, and of the directory of a quota itself.
    world.rename((a, "f"), (inner, "f"), RenameMode::Replace).expect("moved");
    world.rename((inner, "f"), (a, "inner"), RenameMode::Exchange).expect_err("into itself");
    world.link(file, a, "l").expect("linked");
    world.rename((ROOT_INO, "a"), (ROOT_INO, "c"), RenameMode::Replace).expect("renamed");
    world.rename((ROOT_INO, "c"), (ROOT_INO, "b"), RenameMode::Exchange).expect("exchanged");
    world.write(file, 0, &noise(1, 5000));
    world.sync();
    assert_eq!((world.quota(a).bytes, world.quota(b).bytes), (5000, 0));
    world.check();
}

#[test]
fn a_limit_may_come_late_rise_fall_and_go() {
    let world = World::new();
    let directory = limited(&world, "d", Some(MIB), Some(10));
    let file = world.file(directory, "f");
    world.write(file, 0, &noise(1, 500_000));
    world.set_quota(directory, Some(1000), Some(1)).expect("lowered below what is there");
    assert_eq!(world.try_write(file, 500_000, b"x"), Err(QuotaExceeded));
    assert_eq!(world.make(directory, "g", NewNode::Regular), Err(QuotaExceeded));
    world.write(file, 0, b"overwritten");
    world.truncate(file, 900);
    world.write(file, 900, &noise(1, 100));
    assert_eq!(world.try_write(file, 1000, b"x"), Err(QuotaExceeded));
    world.set_quota(directory, None, None).expect("lifted");
    world.write(file, 1000, &noise(1, 500_000));
    world.sync();
    let quota = world.quota(directory);
    assert_eq!((quota.bytes, quota.inodes), (501_000, 2), "it is counted all the same");
    world.set_quota(directory, Some(501_000), None).expect("set again");
    assert_eq!(world.try_write(file, 501_000, b"x"), Err(QuotaExceeded));
    world.check();
}

#[test]
fn writes_that_wait_in_memory_when_a_limit_comes_are_kept() {
    let world = World::new();
    let directory = limited(&world, "d", None, Some(100));
    let file = world.file(directory, "f");
    world.write(file, 0, &noise(1, 5000));
    world.set_quota(directory, Some(1000), None).expect("set");
    assert_eq!(world.read(file, 0, 10_000), noise(1, 5000));
    assert_eq!(world.quota(directory).bytes, 5000);
    assert_eq!(world.try_write(file, 5000, b"x"), Err(QuotaExceeded));
    world.check();
}

#[test]
fn quotas_do_not_lie_in_each_other_and_need_a_directory() {
    let world = World::new();
    let outer = world.mkdir(ROOT_INO, "outer");
    let middle = world.mkdir(outer, "middle");
    let inner = world.mkdir(middle, "inner");
    let beside = world.mkdir(outer, "beside");
    world.set_quota(middle, Some(MIB), None).expect("set");
    for refused in [outer, inner, ROOT_INO] {
        assert_eq!(world.set_quota(refused, Some(MIB), None), Err(InvalidArgument), "{refused}");
    }
    world.set_quota(beside, Some(MIB), None).expect("neither above nor below");
    world.set_quota(middle, None, None).expect("lifted");
    assert_eq!(world.set_quota(outer, Some(MIB), None), Err(InvalidArgument), "its inodes still carry the number");
    let file = world.file(outer, "f");
    assert!(world.set_quota(file, Some(1), None).is_err());
    // Once nothing carries it, it is forgotten.
    for (parent, name) in [(middle, "inner"), (outer, "middle"), (outer, "beside")] {
        world.rmdir(parent, name).expect("removed");
    }
    assert_eq!(world.set_quota(middle, None, None), Err(objstore_base::ErrorKind::Stale));
    world.set_quota(outer, Some(MIB), None).expect("set");
    assert_eq!(world.engine.projects.ids().len(), 1);
    let world = world.again(false);
    assert_eq!((world.engine.projects.ids().len(), world.quota(outer).inodes), (1, 2));
    world.check();
}

#[test]
fn the_directory_of_a_quota_that_is_removed_while_open_takes_no_new_one() {
    let world = World::new();
    let directory = world.mkdir(ROOT_INO, "d");
    world.engine.hold(DoorId::default(), directory, 1);
    world.rmdir(ROOT_INO, "d").expect("removed");
    assert_eq!(world.set_quota(directory, Some(1), None), Err(NotFound));
    world.engine.unhold(DoorId::default(), directory, 1);
}

#[test]
fn use_and_limits_survive_a_crash_a_restart_and_the_loss_of_the_index() {
    let world = World::new();
    let directory = limited(&world, "d", Some(MIB), Some(3));
    let file = world.file(directory, "f");
    world.write(file, 0, &noise(1, 300_000));
    world.write(file, 300_000, &noise(2, 300));
    world.sync();
    let before = world.quota(directory);
    assert_eq!((before.bytes, before.inodes), (300_300, 2));
    let mut world = world.again(false);
    for step in 0..3 {
        assert_eq!(world.quota(directory), before, "step {step}");
        let rest = noise(3, (MIB - 300_300) as usize + 1);
        assert_eq!(world.try_write(file, 300_300, &rest), Err(QuotaExceeded));
        world.check();
        world = match step {
            0 => world.again(true),
            _ => {
                world.upload();
                world.runtime.block_on(world.engine.checkpoint()).expect("checkpoint");
                world.write(file, 0, b"behind the checkpoint");
                world.upload();
                world.with_recovered_index()
            }
        };
    }
    let (world, _) = world.on_a_new_machine();
    assert_eq!(world.quota(directory), before);
    world.check();
}

#[test]
fn df_under_a_quota_shows_the_quota_and_never_more_than_the_store_has() {
    let world = World::new();
    let directory = limited(&world, "d", Some(MIB), Some(5));
    let file = world.file(directory, "f");
    world.write(file, 0, &noise(1, 300_000));
    let space = |ino: Ino| world.runtime.block_on(world.engine.statfs(&world.cx(), ino)).expect("statfs");
    let (inside, outside) = (space(file), space(ROOT_INO));
    assert_eq!((inside.bytes_total, inside.bytes_free), (MIB, MIB - 300_000));
    assert_eq!((inside.inodes_used, inside.inodes_free), (2, 3));
    assert!(outside.bytes_total > MIB);
    world.set_quota(directory, Some(u64::MAX), None).expect("more than there is");
    let inside = space(directory);
    assert!(inside.bytes_free <= outside.bytes_free && inside.bytes_total <= outside.bytes_total, "{inside:?}");
    world.set_quota(directory, Some(1000), None).expect("less than is taken");
    assert_eq!((space(file).bytes_total, space(file).bytes_free), (1000, 0));
}

#[test]
fn a_store_stays_readable_for_older_programs_until_its_first_quota() {
    let world = World::new();
    let format = |world: &World| world.engine.meta.get(Column::System, b"format").expect("read");
    let directory = world.mkdir(ROOT_INO, "d");
    world.set_quota(directory, None, None).expect("nothing to lift");
    assert_eq!(format(&world), Some(vec![1, 0, 0, 0]));
    world.set_quota(directory, Some(MIB), None).expect("set");
    assert_eq!(format(&world), Some(vec![2, 0, 0, 0]));
    world.check();
}

#[test]
fn a_copy_takes_what_fits_into_the_quota() {
    let world = World::new();
    let directory = limited(&world, "d", Some(1000), None);
    let source = world.create("s");
    (0..5000).for_each(|n| world.write(source, n * 2, b"x"));
    let target = world.file(directory, "t");
    // Several records: what the first ones took is kept, the rest is for the next call, which is refused.
    world.set_quota(directory, Some(4500), None).expect("set");
    let copied = world.copy(source, 0, target, 0, 10_000).expect("some of it");
    assert!(copied > 0 && copied < 10_000, "{copied}");
    assert_eq!(world.copy(source, copied, target, copied, 10_000 - copied), Err(QuotaExceeded));
    assert_eq!(world.read(target, 0, copied as u32), world.read(source, 0, copied as u32));
    world.check();
}

#[test]
fn a_handle_that_appends_is_bound_too() {
    let world = World::new();
    let directory = limited(&world, "d", Some(5), None);
    let file = world.file(directory, "f");
    let handle = world.open_append(file);
    let append = |data: &[u8]| {
        let cx = world.cx();
        let written = world.runtime.block_on(world.engine.write(&cx, Target::opened(file, handle), 0, data));
        written.map_err(|e| e.kind())
    };
    assert_eq!(
        [append(b"123"), append(b"456"), append(b"45"), append(b"6")],
        [Ok(3), Err(QuotaExceeded), Ok(2), Err(QuotaExceeded)]
    );
    assert_eq!(world.read(file, 0, 10), b"12345");
}

#[test]
fn what_the_journal_does_not_take_is_not_taken_from_the_quota() {
    let (world, broken) = World::breaking(&["engine.gather.store", "journal.payload.before"]);
    let directory = limited(&world, "d", Some(MIB), Some(10));
    let (small, large) = (world.file(directory, "small"), world.file(directory, "large"));
    world.write(small, 0, &noise(1, 5000));
    world.sync();
    broken.store(true, Ordering::SeqCst);
    world.write(small, 5000, &noise(1, 5000));
    world.runtime.block_on(world.engine.sync(&world.cx())).expect_err("it cannot be stored");
    assert!(world.try_write(large, 0, &noise(2, 100_000)).is_err(), "the disk of the journal fails");
    let quota = world.quota(directory);
    assert_eq!((quota.bytes, quota.inodes), (10_000, 3), "what is gathered is still to come");
}
