//! The audit log on a real disk: what it holds, and how its files turn over.

#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_api::{Context, Credentials, NewNode, Origin, ROOT_INO, Vfs};
use gateway_admin::{AuditConfig, AuditLog, Line, Observatory, Observed};
use objstore_env::Env;
use tests_model::Model;

struct World {
    env: Env,
    folder: tempfile::TempDir,
    observatory: Arc<Observatory>,
    vfs: Arc<Observed>,
}

impl World {
    fn new() -> Self {
        let env: Env = objstore_env::real::env(tokio::runtime::Handle::current()).unwrap();
        let observatory = Observatory::new();
        let model = Arc::new(Model::new());
        let vfs = Observed::new(model, &env, Arc::clone(&observatory), "nfs");
        Self { env, folder: tempfile::tempdir().unwrap(), observatory, vfs }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn config(&self, shares: &[&str], file_bytes_max: u64) -> AuditConfig {
        let shares = shares.iter().map(|share| (*share).to_owned()).collect();
        AuditConfig { path: self.path(), shares, file_bytes_max, older_files_max: 2 }
    }

    fn audit(&self, shares: &[&str], file_bytes_max: u64) -> Arc<AuditLog> {
        let config = self.config(shares, file_bytes_max);
        let log = AuditLog::start(&self.env, config).unwrap();
        self.observatory.audit(Some(Arc::clone(&log)));
        log
    }

    async fn make(&self, share: &str, name: &str) {
        let origin = Arc::new(Origin { client: "10.0.0.7".to_owned(), share: share.to_owned() });
        let cx = Context { origin: Some(origin), ..Context::new(1, Credentials::user(1000, 1000, &[])) };
        // Refused or not, both are audited.
        drop(self.vfs.make(&cx, ROOT_INO, name.as_bytes(), NewNode::Regular, 0o644, 0).await);
    }
}

/// Lines once there are `count` of them.
async fn lines(path: &Path, count: usize) -> Vec<Line> {
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn success_and_failure_are_written_for_the_shares_that_are_audited() {
    let world = World::new();
    world.audit(&["/a"], 1 << 20);
    world.make("/b", "unseen").await;
    world.make("/a", "seen").await;
    world.make("/a", "no/name").await;
    let cx = Context::new(2, Credentials::root());
    world.vfs.getattr(&cx, fs_api::Target::inode(ROOT_INO)).await.unwrap();
    let found = lines(&world.path(), 2).await;
    let told: Vec<(&str, &str, &str, u32)> =
        found.iter().map(|l| (l.op.as_str(), l.share.as_str(), l.client.as_str(), l.uid)).collect();
    assert_eq!(told, [("create", "/a", "10.0.0.7", 1000); 2]);
    assert!(found.iter().any(|line| line.result != "ok"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_turn_over_and_the_oldest_goes() {
    let world = World::new();
    world.audit(&[], 1000);
    for n in 0..40 {
        world.make("/a", &format!("file-{n:03}")).await;
    }
    let begin = Instant::now();
    while !std::fs::read_to_string(world.path()).unwrap_or_default().contains("file-039") {
        assert!(begin.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut names: Vec<String> = std::fs::read_dir(world.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    for name in names {
        let text = std::fs::read_to_string(world.folder.path().join(name)).unwrap();
        assert!(text.len() <= 1000 && text.ends_with('\n'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shares_are_followed_without_losing_a_line_and_the_end_waits_for_all() {
    let world = World::new();
    let log = world.audit(&["/a"], 1 << 20);
    world.make("/a", "one").await;
    world.make("/b", "unseen").await;
    assert!(log.follow(world.config(&["/b"], 1 << 20)));
    let elsewhere = AuditConfig { path: world.folder.path().join("other"), ..world.config(&[], 1 << 20) };
    assert!(!log.follow(elsewhere), "another file takes another log");
    world.make("/a", "unseen").await;
    for n in 0..500 {
        world.make("/b", &format!("more-{n}")).await;
    }
    world.observatory.audit(None);
    log.close().await;
    let text = std::fs::read_to_string(world.path()).unwrap();
    assert_eq!(text.lines().count(), 501, "everything is written when the end was waited for");
    assert!(text.contains("/one") && !text.contains("unseen"), "{text}");
}
