//! The model answers as Linux does.

mod common;

use common::*;
use fs_api::ROOT_INO;
use tests_model::linux;

#[test]
fn histories_end_as_on_linux() {
    let mut operations = 0;
    for history in linux::histories() {
        operations += history.lines().filter(|line| line.contains(" => ")).count();
        let world = World::new();
        let wrong = now(linux::differences(&world.model, ROOT_INO, history));
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
    assert!(operations > 5000, "only {operations} operations");
}

/// Each line can fail: a history with one answer changed differs in that line.
#[test]
fn a_wrong_answer_is_noticed() {
    let history = linux::histories().next().unwrap();
    for (number, line) in history.lines().enumerate() {
        let (head, last) = line.rsplit_once(' ').unwrap();
        let changed = if last == "ok" { format!("{head} EIO") } else { format!("{head} ok") };
        let mut lines: Vec<&str> = history.lines().collect();
        lines[number] = &changed;
        let wrong = now(linux::differences(&World::new().model, ROOT_INO, &lines.join("\n")));
        assert_eq!(wrong.len(), 1, "{changed}: {wrong:?}");
    }
}
