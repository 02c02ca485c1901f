//! Settings are durable when they are told, and come back with the store.

mod support;

use fs_engine::SettingChange;
use objstore_base::ErrorKind::InvalidArgument;
use support::World;

#[test]
fn settings_survive_a_crash_the_moment_they_are_told() {
    let w = World::new();
    let changes = [
        SettingChange::put("share/2", "two"),
        SettingChange::put("share/1", "one"),
        SettingChange::put("shares-next", [3]),
        SettingChange::put("other", ""),
    ];
    w.runtime.block_on(w.engine.change_settings(&changes)).expect("stored");
    let w = w.crashed();
    let listed = w.engine.settings("share/").expect("listed");
    assert_eq!(listed, [("share/1".to_owned(), b"one".to_vec()), ("share/2".to_owned(), b"two".to_vec())]);
    assert_eq!(w.engine.settings("").expect("listed").len(), 4);
    assert_eq!(w.engine.setting("shares-next").expect("read"), Some(vec![3]));
    assert_eq!(w.engine.setting("other").expect("read"), Some(vec![]));
    assert_eq!(w.engine.setting("share").expect("read"), None);
}

#[test]
fn a_change_of_several_settings_is_one() {
    let w = World::new();
    w.runtime.block_on(w.engine.change_settings(&[SettingChange::put("a", "1")])).expect("stored");
    let long = "n".repeat(256);
    for refused in [SettingChange::put("", "x"), SettingChange::put(long, "x"), SettingChange::put("x", [0; 65_537])] {
        let changes = [SettingChange::delete("a"), refused];
        let error = w.runtime.block_on(w.engine.change_settings(&changes)).expect_err("refused");
        assert_eq!(error.kind(), InvalidArgument);
    }
    assert_eq!(w.engine.setting("a").expect("read"), Some(b"1".to_vec()), "the delete beside it did not happen");
    let changes = [SettingChange::delete("a"), SettingChange::put("b", "2")];
    w.runtime.block_on(w.engine.change_settings(&changes)).expect("stored");
    let w = w.reopened();
    assert_eq!(w.engine.settings("").expect("listed"), [("b".to_owned(), b"2".to_vec())]);
}
