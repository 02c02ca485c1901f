//! Linux as the judge of any [`Vfs`]: histories that `linux/record.py` ran on a kernel, each operation with its answer
//! and the tree at the end, and what plays them back.
//!
//! Every symbolic link in them leads nowhere, and nothing climbs out of the directory they run in.

mod shell;

use fs_api::{Attr, Context, Credentials, FileKind, Ino, Target, Vfs};
use objstore_base::Result;

use crate::compare;
use shell::{Shell, errno, hex, number, or_dash};

/// The recorded histories. Each takes a directory of its own: empty, root's, of mode 0777.
pub fn histories() -> impl Iterator<Item = &'static str> {
    include_str!("linux/histories.txt").split("history\n").filter(|history| !history.is_empty())
}

/// Plays `history` in directory `root` of `vfs`, and gives a line for every answer and every path of the tree that
/// differs from Linux's.
pub async fn differences(vfs: &dyn Vfs, root: Ino, history: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected_paths = 0;
    for line in history.lines() {
        let (expected, found) = match line.strip_prefix("tree ") {
            Some(expected) => {
                expected_paths += 1;
                (expected, tree_line(vfs, root, expected).await)
            }
            None => answer(vfs, root, line).await,
        };
        if found != expected {
            wrong.push(format!("{line}, but here: {found}"));
        }
    }
    match count(vfs, root).await {
        Ok(paths) if paths == expected_paths => {}
        Ok(paths) => wrong.push(format!("{paths} paths instead of {expected_paths}")),
        Err(e) => wrong.push(format!("the tree cannot be listed: {e}")),
    }
    wrong
}

fn everything() -> Context {
    Context::new(0, Credentials::root())
}

/// Runs the operation of `line`; gives Linux's answer and the one found.
async fn answer<'l>(vfs: &dyn Vfs, root: Ino, line: &'l str) -> (&'l str, String) {
    let (question, expected) = line.split_once(" => ").expect("every operation has its answer");
    let words: Vec<&str> = question.split(' ').collect();
    let credentials = Credentials::user(number(words[0]), number(words[1]), &[]);
    let shell = Shell { vfs, root, cx: Context::new(0, credentials) };
    let found = shell.run(&words[2..]).await.unwrap_or_else(|e| errno(e.kind()));
    (expected, found)
}

async fn find(vfs: &dyn Vfs, root: Ino, path: &str) -> Result<Attr> {
    let mut attr = vfs.getattr(&everything(), Target::inode(root)).await?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        attr = vfs.lookup(&everything(), attr.ino, name.as_bytes()).await?;
    }
    Ok(attr)
}

/// The line that `record.py` writes for the path that `expected` begins with.
async fn tree_line(vfs: &dyn Vfs, root: Ino, expected: &str) -> String {
    let path = expected.split(' ').next().unwrap_or_default();
    let described = async {
        let attr = find(vfs, root, path).await?;
        describe(vfs, &attr).await
    };
    described.await.map_or_else(|e| format!("{path} {e}"), |described| format!("{path} {described}"))
}

async fn describe(vfs: &dyn Vfs, attr: &Attr) -> Result<String> {
    let cx = everything();
    let kind = match attr.kind {
        FileKind::Regular => "regular",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "char",
        FileKind::BlockDevice => "block",
    };
    let content = match attr.kind {
        FileKind::Regular => hex(&vfs.read(&cx, Target::inode(attr.ino), 0, 1 << 20).await?),
        _ => String::new(),
    };
    let mut xattrs = Vec::new();
    for name in vfs.listxattr(&cx, attr.ino).await? {
        let value = vfs.getxattr(&cx, attr.ino, &name).await?;
        xattrs.push(format!("{}={}", String::from_utf8_lossy(&name), hex(&value)));
    }
    xattrs.sort();
    let Attr { mode, uid, gid, nlink, .. } = attr;
    Ok(format!("{kind} {mode:o} {uid} {gid} {nlink} {} {}", or_dash(content), or_dash(xattrs.join(","))))
}

async fn count(vfs: &dyn Vfs, root: Ino) -> Result<usize> {
    let mut pending = vec![root];
    let mut paths = 1;
    while let Some(directory) = pending.pop() {
        for (_, ino) in compare::names(vfs, &everything(), directory).await? {
            paths += 1;
            if vfs.getattr(&everything(), Target::inode(ino)).await?.kind == FileKind::Directory {
                pending.push(ino);
            }
        }
    }
    Ok(paths)
}
