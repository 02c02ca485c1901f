//! Setting a quota on a tree that is there: it is counted in steps, over crashes, while it is used.

use std::sync::atomic::Ordering;

use fs_api::{Ino, NewNode, ROOT_INO, RenameMode, Vfs};
use objstore_base::ErrorKind::{CrossDevice, QuotaExceeded};

use super::world::{World, noise};
use crate::{QuotaLimits, SettingChange};

/// More than is counted at once: `width` directories of `files` files each, some of them with a byte. One that is empty
/// is the last of the first group of names, and so the first that is walked.
fn tree(world: &World, width: usize, files: usize) -> Ino {
    let top = world.mkdir(ROOT_INO, "top");
    for n in 0..width {
        if n == 31 {
            world.mkdir(top, "early");
        }
        let directory = world.mkdir(top, &format!("d{n}"));
        let deeper = world.mkdir(directory, "deeper");
        for m in 0..files {
            let file = world.file(if m % 2 == 0 { directory } else { deeper }, &format!("f{m}"));
            if m % 3 == 0 {
                world.write(file, 0, b"x");
            }
        }
    }
    top
}

fn count_to_the_end(world: &World, top: Ino) {
    for _ in 0..1000 {
        if !world.quota(top).counting {
            return;
        }
        world.engine.count_projects().expect("counted");
    }
    panic!("it is never counted");
}

#[test]
fn a_tree_is_counted_in_steps_and_a_crash_among_them_loses_nothing() {
    let world = World::new();
    let top = tree(&world, 30, 60);
    world.set_quota(top, Some(1 << 20), None).expect("set");
    assert!(world.quota(top).counting);
    world.check();
    let mut world = world;
    // A walk that begins anew passes over what it did before, so it gets more steps.
    for (steps, orderly) in [(10, false), (60, false), (80, true)] {
        let before = world.quota(top);
        assert!(before.counting && before.inodes > 1 && before.inodes < 1861, "{before:?}");
        world.engine.count_project(crate::ProjectId(1), steps).expect("counted");
        world.sync();
        let after = world.quota(top);
        assert!(after.counting && after.inodes > before.inodes, "{after:?}");
        world = world.again(orderly);
        assert_eq!(world.quota(top), after);
        world.check();
    }
    count_to_the_end(&world, top);
    let counted = world.quota(top);
    assert_eq!((counted.inodes, counted.bytes), (1 + 30 * 62, 30 * 20));
    world.check();
    world.sync();
    let world = world.again(false);
    assert_eq!(world.quota(top), counted);
    world.check();
}

/// The limit holds and its settings are made: whoever set it would be told that nothing happened.
#[test]
fn a_quota_is_set_although_what_is_there_cannot_be_counted_at_once() {
    let (world, broken) = World::breaking(&["engine.quota.count", "engine.gather.store"]);
    let top = tree(&world, 1, 2);
    broken.store(true, Ordering::SeqCst);
    let limits = QuotaLimits { bytes: Some(1000), inodes: Some(100) };
    let settings = [SettingChange::put("share", "top")];
    let set = world.runtime.block_on(world.engine.set_quota(top, limits, &settings));
    let quota = set.expect("set").expect("it has one");
    assert!(quota.counting && quota.limits == limits, "{quota:?}");
    assert!(world.engine.journal.durable() == world.engine.journal.last());
    world.engine.count_projects().expect_err("it fails still");
    broken.store(false, Ordering::SeqCst);
    count_to_the_end(&world, top);
    assert_eq!((world.quota(top).inodes, world.quota(top).bytes), (5, 1));
    assert_eq!(world.engine.setting("share").expect("read"), Some(b"top".to_vec()));
    world.check();
}

#[test]
fn what_is_over_the_limit_already_is_counted_and_may_not_grow() {
    let world = World::new();
    let top = world.mkdir(ROOT_INO, "top");
    let file = world.file(top, "f");
    world.write(file, 0, &noise(1, 200_000));
    world.write(file, 200_000, b"gathered");
    world.set_quota(top, Some(1000), Some(1)).expect("set");
    let quota = world.quota(top);
    assert_eq!((quota.bytes, quota.inodes, quota.counting), (200_008, 2, false));
    assert_eq!(world.try_write(file, 300_000, b"x"), Err(QuotaExceeded));
    assert_eq!(world.make(top, "g", NewNode::Regular), Err(QuotaExceeded));
    world.write(file, 0, b"as much as before");
    world.check();
}

#[test]
fn a_tree_that_is_moved_about_while_it_is_counted_is_counted_whole() {
    let world = World::new();
    let top = tree(&world, 40, 50);
    let early = world.runtime.block_on(world.engine.lookup(&world.cx(), top, b"early")).expect("it is there").ino;
    // What the walk has not seen moves behind its back again and again.
    world.set_quota(top, Some(1 << 20), None).expect("set");
    for n in 0..40 {
        world.engine.count_project(crate::ProjectId(1), 2).expect("counted");
        let name = format!("d{n}");
        world.rename((top, &name), (early, &name), RenameMode::Replace).expect("within the tree");
        world.file(early, &format!("new{n}"));
        world.check();
    }
    assert!(world.quota(top).counting);
    count_to_the_end(&world, top);
    assert_eq!(world.quota(top).inodes, 1 + 40 * 52 + 1 + 40);
    world.check();
}

#[test]
fn a_file_with_names_inside_and_outside_counts_for_the_quota_that_saw_it_first() {
    let world = World::new();
    let (a, b) = (world.mkdir(ROOT_INO, "a"), world.mkdir(ROOT_INO, "b"));
    let file = world.file(a, "f");
    world.write(file, 0, b"12345");
    world.link(file, a, "second").expect("linked");
    world.link(file, b, "third").expect("linked");
    world.link(file, ROOT_INO, "fourth").expect("linked");
    world.set_quota(a, Some(5), None).expect("set");
    world.set_quota(b, Some(1000), None).expect("set");
    assert_eq!((world.quota(a).bytes, world.quota(a).inodes, world.quota(b).bytes), (5, 2, 0));
    assert_eq!(world.try_write(file, 5, b"6"), Err(QuotaExceeded), "under any name");
    world.rename((ROOT_INO, "fourth"), (ROOT_INO, "fifth"), RenameMode::Replace).expect("where it is, it may move");
    world.file(a, "other");
    let swapped = world.rename((ROOT_INO, "fifth"), (a, "other"), RenameMode::Exchange);
    assert_eq!(swapped, Err(CrossDevice), "what comes out in exchange would leave");
    world.unlink_in(a, "other").expect("unlinked");
    world.rename((ROOT_INO, "fifth"), (a, "fifth"), RenameMode::Replace).expect("and to where it counts");
    assert_eq!(world.rename((b, "third"), (ROOT_INO, "third"), RenameMode::Replace), Err(CrossDevice));
    world.check();
    for (directory, name) in [(a, "f"), (a, "second"), (a, "fifth")] {
        world.unlink_in(directory, name).expect("unlinked");
    }
    assert_eq!(world.quota(a).bytes, 5, "it goes on counting there");
    world.check();
    world.unlink_in(b, "third").expect("unlinked");
    assert_eq!((world.quota(a).bytes, world.quota(a).inodes), (0, 1));
    world.check();
}
