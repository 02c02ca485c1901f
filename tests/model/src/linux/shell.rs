//! One caller's view of a filesystem, by paths: what the system calls of `record.py` do.

use fs_api::{
    Attr, Context, FallocateMode, FileKind, Ino, NewNode, OpenFlags, RenameMode, SetAttr, Target, Vfs, XattrMode,
};
use objstore_base::{Error, ErrorKind, Result};

const READ: OpenFlags =
    OpenFlags { read: true, write: false, append: false, truncate: false, sync: false, execute: false };
const WRITE: OpenFlags = OpenFlags { read: false, write: true, ..READ };

pub(super) struct Shell<'a> {
    pub(super) vfs: &'a dyn Vfs,
    pub(super) root: Ino,
    pub(super) cx: Context,
}

pub(super) fn errno(kind: ErrorKind) -> String {
    let name = match kind {
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::Exists => "EEXIST",
        ErrorKind::NotDirectory => "ENOTDIR",
        ErrorKind::IsDirectory => "EISDIR",
        ErrorKind::NotEmpty => "ENOTEMPTY",
        ErrorKind::AccessDenied => "EACCES",
        ErrorKind::NotPermitted => "EPERM",
        ErrorKind::InvalidArgument => "EINVAL",
        ErrorKind::Loop => "ELOOP",
        ErrorKind::NameTooLong => "ENAMETOOLONG",
        ErrorKind::NoData => "ENODATA",
        ErrorKind::Busy => "EBUSY",
        ErrorKind::NoDeviceOrAddress => "ENXIO",
        ErrorKind::NotSupported => "ENOTSUP",
        other => return format!("{other:?}"),
    };
    name.into()
}

pub(super) fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("record.py writes numbers there")
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).expect("record.py writes modes in octal")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn error<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, "play back"))
}

/// What opening gives beside the filesystem's answer: no driver behind the device, nobody at the fifo's other end.
fn may_use(kind: FileKind, flags: OpenFlags) -> Result<()> {
    match kind {
        FileKind::CharDevice => error(ErrorKind::NoDeviceOrAddress),
        FileKind::Fifo if flags.write && !flags.read => error(ErrorKind::NoDeviceOrAddress),
        _ => Ok(()),
    }
}

fn rename_mode(flag: &str) -> RenameMode {
    match flag {
        "0" => RenameMode::Replace,
        "1" => RenameMode::NoReplace,
        _ => RenameMode::Exchange,
    }
}

fn fallocate_mode(bits: &str) -> FallocateMode {
    match bits {
        "0" => FallocateMode::Allocate { keep_size: false },
        "1" => FallocateMode::Allocate { keep_size: true },
        "3" => FallocateMode::PunchHole,
        "16" => FallocateMode::ZeroRange { keep_size: false },
        _ => FallocateMode::ZeroRange { keep_size: true },
    }
}

fn xattr_mode(flag: &str) -> XattrMode {
    match flag {
        "0" => XattrMode::Set,
        "1" => XattrMode::Create,
        _ => XattrMode::Replace,
    }
}

fn special_node(kind: &str) -> NewNode {
    match kind {
        "fifo" => NewNode::Fifo,
        "socket" => NewNode::Socket,
        _ => NewNode::CharDevice(5),
    }
}

impl Shell<'_> {
    /// The directory of a path's last name, walked to with the caller's permission.
    async fn parent<'p>(&self, path: &'p str) -> Result<(Ino, &'p [u8])> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut ino = self.root;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            let attr = self.vfs.lookup(&self.cx, ino, part.as_bytes()).await?;
            if attr.kind == FileKind::Symlink {
                return error(ErrorKind::NotFound);
            }
            ino = attr.ino;
        }
        Ok((ino, name.as_bytes()))
    }

    async fn find(&self, path: &str) -> Result<Attr> {
        let (parent, name) = self.parent(path).await?;
        self.vfs.lookup(&self.cx, parent, name).await
    }

    async fn follow(&self, path: &str) -> Result<Attr> {
        let attr = self.find(path).await?;
        if attr.kind == FileKind::Symlink { error(ErrorKind::NotFound) } else { Ok(attr) }
    }

    /// The open file, or `None` where it is no regular one.
    async fn open(&self, path: &str, flags: OpenFlags) -> Result<Option<Target>> {
        let attr = self.find(path).await?;
        let target = Target::opened(attr.ino, self.vfs.open(&self.cx, attr.ino, flags).await?.id);
        may_use(attr.kind, flags)?;
        if attr.kind == FileKind::Regular {
            return Ok(Some(target));
        }
        self.close(target).await?;
        Ok(None)
    }

    async fn close(&self, target: Target) -> Result<()> {
        match target.handle {
            Some(handle) => self.vfs.release(&self.cx, target.ino, handle).await,
            None => Ok(()),
        }
    }

    async fn make(&self, path: &str, node: NewNode, mode: u32, umask: u32) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.vfs.make(&self.cx, parent, name, node, mode, umask).await.map(drop_attr)
    }

    async fn create(&self, path: &str, mode: u32, umask: u32, exclusive: bool, truncate: bool) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        let flags = OpenFlags { truncate, write: true, ..READ };
        let made = self.vfs.create(&self.cx, parent, name, mode, umask, flags, exclusive).await?;
        self.close(Target::opened(made.attr.ino, made.handle.id)).await?;
        may_use(made.attr.kind, flags)
    }

    async fn link(&self, from: &str, to: &str) -> Result<()> {
        let source = self.find(from).await?;
        let (parent, name) = self.parent(to).await?;
        self.vfs.link(&self.cx, source.ino, parent, name).await.map(drop_attr)
    }

    async fn rename(&self, from: &str, to: &str, mode: RenameMode) -> Result<()> {
        let from = self.parent(from).await?;
        // The kernel has walked into the first directory before it looks at the second path.
        self.vfs.lookup(&self.cx, from.0, b".").await?;
        let to = self.parent(to).await?;
        self.vfs.rename(&self.cx, from.0, from.1, to.0, to.1, mode).await
    }

    async fn set(&self, ino: Ino, set: SetAttr) -> Result<()> {
        self.vfs.setattr(&self.cx, Target::inode(ino), set).await.map(drop_attr)
    }

    async fn list(&self, path: &str) -> Result<String> {
        let attr = self.find(path).await?;
        if attr.kind != FileKind::Directory {
            return error(ErrorKind::NotDirectory);
        }
        let target = Target::opened(attr.ino, self.vfs.open(&self.cx, attr.ino, READ).await?.id);
        let listing = self.vfs.readdir(&self.cx, target, 2, 1000, false).await;
        self.close(target).await?;
        let names = listing?.entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(or_dash(names.join(",")))
    }

    /// An operation whose answer is "ok".
    async fn change(&self, words: &[&str]) -> Result<()> {
        let (vfs, cx) = (self.vfs, &self.cx);
        match *words {
            ["mkdir", path, mode, umask] => self.make(path, NewNode::Directory, octal(mode), octal(umask)).await,
            ["create", path, mode, umask, exclusive, truncate] => {
                self.create(path, octal(mode), octal(umask), exclusive == "1", truncate == "1").await
            }
            ["make", path, mode, umask, kind] => self.make(path, special_node(kind), octal(mode), octal(umask)).await,
            ["symlink", path] => self.make(path, NewNode::Symlink(b"nowhere".to_vec()), 0o777, 0).await,
            ["link", from, to] => self.link(from, to).await,
            ["unlink", path] => {
                let (parent, name) = self.parent(path).await?;
                vfs.unlink(cx, parent, name).await
            }
            ["rmdir", path] => {
                let (parent, name) = self.parent(path).await?;
                vfs.rmdir(cx, parent, name).await
            }
            ["rename", from, to, flag] => self.rename(from, to, rename_mode(flag)).await,
            ["truncate", path, size] => {
                let set = SetAttr { size: Some(number(size)), ..SetAttr::default() };
                self.set(self.follow(path).await?.ino, set).await
            }
            ["chmod", path, mode] => {
                let set = SetAttr { mode: Some(octal(mode)), ..SetAttr::default() };
                self.set(self.follow(path).await?.ino, set).await
            }
            ["chown", path, uid, gid] => {
                let set = SetAttr { uid: uid.parse().ok(), gid: gid.parse().ok(), ..SetAttr::default() };
                self.set(self.find(path).await?.ino, set).await
            }
            ["setxattr", path, name, byte, flag] => {
                let (ino, value) = (self.find(path).await?.ino, [number(byte)]);
                vfs.setxattr(cx, ino, name.as_bytes(), &value, xattr_mode(flag)).await
            }
            ["removexattr", path, name] => vfs.removexattr(cx, self.find(path).await?.ino, name.as_bytes()).await,
            _ => panic!("record.py writes no {words:?}"),
        }
    }

    /// An operation on the open file `target`.
    async fn use_file(&self, target: Target, words: &[&str]) -> Result<String> {
        let (vfs, cx) = (self.vfs, &self.cx);
        match *words {
            ["write", _, offset, len, byte] => {
                let data = vec![number(byte); number(len)];
                vfs.write(cx, target, number(offset), &data).await.map(|written| written.to_string())
            }
            ["append", _, len, byte] => {
                let data = vec![number(byte); number(len)];
                vfs.write(cx, target, 0, &data).await.map(|written| written.to_string())
            }
            ["read", _, offset, len] => {
                vfs.read(cx, target, number(offset), number(len)).await.map(|bytes| or_dash(hex(&bytes)))
            }
            ["fallocate", _, offset, len, bits] => {
                let done = vfs.fallocate(cx, target, number(offset), number(len), fallocate_mode(bits)).await;
                done.map(|()| "ok".into())
            }
            ["copy", _, to, offset, to_offset, len] => {
                let Some(to) = self.open(to, WRITE).await? else { return Ok("special".into()) };
                let copied = vfs.copy_range(cx, target, number(offset), to, number(to_offset), number(len)).await;
                self.close(to).await?;
                copied.map(|copied| copied.to_string())
            }
            _ => panic!("record.py writes no {words:?}"),
        }
    }

    /// The answer to one operation, in `record.py`'s words.
    pub(super) async fn run(&self, words: &[&str]) -> Result<String> {
        let flags = match words[0] {
            "write" | "fallocate" => Some(WRITE),
            "append" => Some(OpenFlags { append: true, ..WRITE }),
            "read" | "copy" => Some(READ),
            _ => None,
        };
        if let Some(flags) = flags {
            let Some(target) = self.open(words[1], flags).await? else { return Ok("special".into()) };
            let used = self.use_file(target, words).await;
            self.close(target).await?;
            return used;
        }
        match *words {
            ["list", path] => self.list(path).await,
            ["getxattr", path, name] => {
                let value = self.vfs.getxattr(&self.cx, self.find(path).await?.ino, name.as_bytes()).await?;
                Ok(hex(&value))
            }
            ["readlink", path] => {
                let target = self.vfs.readlink(&self.cx, self.find(path).await?.ino).await?;
                Ok(String::from_utf8_lossy(&target).into_owned())
            }
            _ => self.change(words).await.map(|()| "ok".into()),
        }
    }
}

fn drop_attr(_attr: Attr) {}
