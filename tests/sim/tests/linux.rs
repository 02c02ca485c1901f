//! The engine, with everything under it, answers as Linux does: the histories that were recorded on a kernel.

#![allow(clippy::disallowed_methods)]

use fs_api::{Context, Credentials, NewNode, ROOT_INO, SetAttr, Target, Vfs};
use objstore_env::sim::SimWorld;
use tests_model::linux;
use tests_sim::{Settings, SimStore};

#[test]
fn histories_end_as_on_linux() {
    let seed = 1;
    let settings = Settings::random(&*SimWorld::new(seed).env().rng);
    let store = SimStore::new(seed, settings).unwrap();
    let cx = Context::new(u64::MAX, Credentials::root());
    let mut wrong = Vec::new();
    for (number, history) in linux::histories().enumerate() {
        let engine = store.engine();
        let name = format!("history {number}");
        let found = store.world().run(async {
            let made = engine.make(&cx, ROOT_INO, name.as_bytes(), NewNode::Directory, 0o777, 0).await.unwrap();
            let mode = SetAttr { mode: Some(0o777), ..SetAttr::default() };
            engine.setattr(&cx, Target::inode(made.ino), mode).await.unwrap();
            linux::differences(&**engine, made.ino, history).await
        });
        wrong.extend(found.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
