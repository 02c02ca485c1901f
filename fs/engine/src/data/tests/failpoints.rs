//! Each named place of this module fails once, or the process dies there: what was there before is there after, and
//! the work is taken up again (F2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_api::{Ino, Vfs};
use objstore_env::{FailAction, Failpoints};

use super::world::{World, noise};

const POINTS: [&str; 8] = [
    "engine.gather.store",
    "engine.trim.step",
    "engine.compact.move",
    "engine.compact.delete",
    "engine.compact.deleted",
    "engine.checkpoint.part",
    "engine.checkpoint.manifest",
    "engine.checkpoint.prune",
];
const LEN: usize = 100_000;

/// Everything this module does in the background, going on after errors; gives how many there were.
fn everything(world: &World) -> usize {
    let mut errors = 0;
    let mut note = |ok: bool| errors += usize::from(!ok);
    for _ in 0..4 {
        note(world.runtime.block_on(world.engine.sync(&world.cx())).is_ok());
        note(world.engine.drain_orphans().is_ok());
        note(world.engine.drain_trims(100).is_ok());
        note(world.runtime.block_on(world.engine.write_back.flush()).is_ok());
        note(world.runtime.block_on(world.engine.flush_index()).is_ok());
        note(world.runtime.block_on(world.engine.checkpoint()).is_ok());
        for _ in 0..20 {
            note(world.runtime.block_on(world.engine.compact_step()).is_ok());
        }
    }
    errors
}

fn make_work(world: &World) -> Vec<Ino> {
    let inos: Vec<Ino> = (0..6).map(|n| world.create(&format!("file-{n}"))).collect();
    for round in 0..4 {
        for (n, ino) in inos.iter().enumerate() {
            world.write(*ino, (round * LEN) as u64, &noise(n as u64, LEN));
        }
    }
    let many = world.create("many");
    for n in 0..5000u64 {
        world.write(many, n * 8, b"tide");
    }
    world.upload();
    for (n, ino) in inos.iter().enumerate() {
        world.write(*ino, 0, &noise(50 + n as u64, 3 * LEN));
        world.write(*ino, 7, b"small");
    }
    world.truncate(many, 100);
    inos
}

fn expect_all(world: &World, inos: &[Ino], when: &str) {
    for (n, ino) in inos.iter().enumerate() {
        let mut expected = noise(50 + n as u64, 3 * LEN);
        expected[7..12].copy_from_slice(b"small");
        expected.extend(noise(n as u64, LEN));
        assert!(world.read(*ino, 0, u32::MAX) == expected, "file {n} {when}");
    }
    let report = world.runtime.block_on(world.engine.check()).expect("check");
    assert_eq!(report.findings, [""; 0], "{when}");
}

#[test]
fn a_failure_anywhere_loses_nothing_and_the_work_goes_on() {
    for point in POINTS {
        let armed = Arc::new(AtomicBool::new(false));
        let trigger = Arc::clone(&armed);
        let failpoints =
            Failpoints::with(move |name, _| match name == point && trigger.swap(false, Ordering::SeqCst) {
                true => FailAction::Errno(5),
                false => FailAction::Continue,
            });
        let world = World::failing(failpoints.clone());
        let inos = make_work(&world);
        armed.store(true, Ordering::SeqCst);
        assert_eq!(everything(&world), 1, "{point} fails once");
        assert!(failpoints.hits().contains_key(point) && !armed.load(Ordering::SeqCst), "{point} was reached");
        expect_all(&world, &inos, &format!("after a failure at {point}"));
        // As if the process had died instead: what is in the journal and the pool is all there is.
        let world = world.with_recovered_index();
        expect_all(&world, &inos, &format!("after a failure at {point} and a recovery"));
        assert_eq!(everything(&world), 0);
        expect_all(&world, &inos, &format!("after {point}, in the end"));
    }
}
