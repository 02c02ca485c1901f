//! Many callers at once in few directories: afterwards everything the index claims is true.

mod support;

use fs_api::{Ino, NewNode, RenameMode, SetAttr, Target};
use objstore_base::ErrorKind;
use support::{READ_WRITE, ROOT, User, World};

const THREADS: u64 = 4;
const NAMES: u64 = 6;

/// A small generator of its own, so that a failing seed is the same run of one thread again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What may be answered while others change the same names.
fn allowed(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        NotFound | Exists | NotDirectory | IsDirectory | NotEmpty | Stale | InvalidArgument | NotPermitted | NoData
    )
}

fn step(user: &User<'_>, directories: &[Ino], chance: &mut Chance) -> Result<(), ErrorKind> {
    let mut place = || {
        let directory = directories[chance.below(directories.len() as u64) as usize];
        (directory, format!("n{}", chance.below(NAMES)))
    };
    let ((d, n), (e, m)) = (place(), place());
    let found = || user.lookup(d, &n).map(|a| a.ino);
    match chance.below(12) {
        0 | 1 => user.make(d, &n, NewNode::Directory, 0o755).map(drop),
        2 => user.create(d, &n, READ_WRITE, true).and_then(|c| {
            user.write(Target::opened(c.attr.ino, c.handle.id), 0, &[1; 3000])?;
            user.release(c.attr.ino, c.handle)
        }),
        3 => user.unlink(d, &n),
        4 => user.rmdir(d, &n),
        5 | 6 => user.rename(d, &n, e, &m),
        7 => user.rename_as(d, &n, e, &m, RenameMode::Exchange),
        8 => found().and_then(|ino| user.link(ino, e, &m)).map(drop),
        9 => found().and_then(|ino| user.set(ino, SetAttr { size: Some(10_000), ..SetAttr::default() })).map(drop),
        10 => found().and_then(|ino| user.setxattr(ino, "user.x", b"1", fs_api::XattrMode::Set)),
        _ => user.readdir(d, 0, 5).map(drop),
    }
}

#[test]
fn after_many_callers_at_once_every_count_is_right() {
    let w = World::new();
    let root = w.as_root();
    let mut directories = vec![ROOT];
    for n in 0..3 {
        directories.push(root.mkdir(ROOT, &format!("fixed{n}")).expect("made"));
    }
    let steps = if std::env::var_os("TIDEGATE_DEEP").is_some() { 200_000 } else { 5_000 };
    std::thread::scope(|scope| {
        for thread in 1..=THREADS {
            let (w, mut directories) = (&w, directories.clone());
            scope.spawn(move || {
                let mut chance = Chance(thread.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for _ in 0..steps {
                    let user = w.as_root();
                    if let Err(kind) = step(&user, &directories, &mut chance) {
                        assert!(allowed(kind), "{kind:?}");
                    }
                    // Directories that come and go, moved by the others meanwhile.
                    let name = format!("n{}", chance.below(NAMES));
                    if let Ok(found) = user.lookup(ROOT, &name).filter_directory() {
                        directories.truncate(4);
                        directories.push(found);
                    }
                }
            });
        }
    });
    w.engine.start();
    w.runtime.block_on(async {
        while w.engine.status().orphans > 0 {
            tokio::task::yield_now().await;
        }
    });
    let report = w.runtime.block_on(w.engine.check()).expect("checked");
    assert!(report.is_clean(), "{:#?}", report.findings);
    w.sync();
    let w = w.crashed();
    let again = w.runtime.block_on(w.engine.check()).expect("checked");
    assert_eq!(again, report, "the replay gives the same");
}

trait FilterDirectory {
    fn filter_directory(self) -> Result<Ino, ErrorKind>;
}

impl FilterDirectory for Result<fs_api::Attr, ErrorKind> {
    fn filter_directory(self) -> Result<Ino, ErrorKind> {
        self.and_then(|a| if a.kind == fs_api::FileKind::Directory { Ok(a.ino) } else { Err(ErrorKind::NotDirectory) })
    }
}
