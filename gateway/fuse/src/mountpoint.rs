//! Mount points: what stands there, who uses it, taking it away.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;
use objstore_base::{Error, ErrorKind, Result};

use crate::host;

/// What the kernel's list of mounts calls ours; the data folder follows.
pub(crate) const SOURCE_PREFIX: &str = "tidegate:";

/// One line of the kernel's list of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// `major:minor` of its device.
    pub device: String,
    pub point: PathBuf,
    pub fs_type: String,
    pub source: OsString,
}

impl MountEntry {
    /// Whether a tidegate process made this mount.
    pub fn is_ours(&self) -> bool {
        self.fs_type.starts_with("fuse") && self.source.as_bytes().starts_with(SOURCE_PREFIX.as_bytes())
    }

    /// The data folder behind a mount of ours.
    pub fn data_folder(&self) -> Option<PathBuf> {
        let source = self.is_ours().then(|| self.source.as_bytes().strip_prefix(SOURCE_PREFIX.as_bytes())).flatten()?;
        Some(PathBuf::from(OsString::from_vec(source.to_vec())))
    }

    /// Whether its server is gone. Asks by statfs, which the kernel always passes on; attributes may be cached.
    pub fn is_dead(&self) -> bool {
        matches!(statvfs(&self.point), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
    }
}

/// A directory that can be mounted on.
#[derive(Clone, Debug)]
pub struct MountPoint {
    path: PathBuf,
    /// A mount of ours whose server died stands there and has to be detached first.
    dead: bool,
}

/// What to do with a mount that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Leave it and say so.
    Fail,
    /// Take it out of the tree now; it ends when its last user lets go.
    Detach,
}

impl MountPoint {
    /// Looks at `path` without changing anything.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotEmpty`, `Busy` (something is mounted there), each with what to do.
    pub fn check(path: &Path) -> Result<Self> {
        const OP: &str = "use mount point";
        let path = absolute(path)?;
        if let Some(entry) = find_mount(&path)? {
            if entry.is_ours() && entry.is_dead() {
                return Ok(Self { path, dead: true });
            }
            let advice = match entry.data_folder() {
                Some(data) => {
                    format!("already mounted, with the store {}: run `tidegate umount` first", data.display())
                }
                None => format!("a {} filesystem is mounted there: choose another directory", entry.fs_type),
            };
            return Err(Error::new(ErrorKind::Busy, OP).entity(path.display()).context(advice));
        }
        let metadata = host::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, OP)
                .entity(path.display())
                .context(format!("it does not exist: create it with `mkdir -p {}`", path.display())),
            _ => Error::io(OP, error).entity(path.display()),
        })?;
        if !metadata.is_dir() {
            return Err(Error::new(ErrorKind::NotDirectory, OP)
                .entity(path.display())
                .context("it is not a directory: choose another"));
        }
        if !host::is_empty_directory(&path).map_err(|error| Error::io(OP, error).entity(path.display()))? {
            return Err(Error::new(ErrorKind::NotEmpty, OP)
                .entity(path.display())
                .context("it is not empty, and what it holds would be hidden: choose an empty directory"));
        }
        Ok(Self { path, dead: false })
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub const fn is_dead(&self) -> bool {
        self.dead
    }
}

/// Takes away what a crash left at `point`, and looks at what is under it.
///
/// # Errors
/// As `unmount` and `MountPoint::check`.
pub fn detach_dead(point: MountPoint) -> Result<MountPoint> {
    if !point.dead {
        return Ok(point);
    }
    unmount(&point.path, Busy::Detach)?;
    MountPoint::check(&point.path)
}

/// The topmost mount at exactly `path`, which is absolute and without links.
///
/// # Errors
/// Where the kernel's list cannot be read.
pub fn find_mount(path: &Path) -> Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rev().find(|entry| entry.point == path))
}

/// Every mount of ours on this machine.
///
/// # Errors
/// Where the kernel's list cannot be read.
pub fn our_mounts() -> Result<Vec<MountEntry>> {
    Ok(mounts()?.into_iter().filter(MountEntry::is_ours).collect())
}

/// Takes away the mount at `path`.
///
/// # Errors
/// `Busy` where it is in use and `busy` says `Fail`; `NotFound` where nothing is mounted; `NotPermitted`.
pub fn unmount(path: &Path, busy: Busy) -> Result<()> {
    const OP: &str = "unmount";
    let flags = match busy {
        Busy::Fail => MntFlags::UMOUNT_NOFOLLOW,
        Busy::Detach => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
    };
    let failed = |kind| Err(Error::new(kind, OP).entity(path.display()));
    match umount2(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => unmount_by_helper(path, busy),
        Err(Errno::EBUSY) => failed(ErrorKind::Busy),
        Err(Errno::EINVAL | Errno::ENOENT) => failed(ErrorKind::NotFound),
        Err(errno) => Err(Error::io(OP, errno.into()).entity(path.display())),
    }
}

/// Only root may unmount by itself; others go through the setuid helper of libfuse. What that says of a place where
/// nothing is mounted differs from version to version, so the kernel's list decides.
fn unmount_by_helper(path: &Path, busy: Busy) -> Result<()> {
    ask_helper(path, busy).map_err(|error| match find_mount(path) {
        Ok(None) => Error::new(ErrorKind::NotFound, "unmount").entity(path.display()),
        Ok(Some(_)) | Err(_) => error,
    })
}

fn ask_helper(path: &Path, busy: Busy) -> Result<()> {
    const OP: &str = "unmount";
    let Some(helper) = mount_helper() else {
        return Err(Error::new(ErrorKind::NotPermitted, OP)
            .entity(path.display())
            .context("run as root, or install the package fuse3"));
    };
    let mut command = Command::new(helper);
    command.arg("-u");
    if busy == Busy::Detach {
        command.arg("-z");
    }
    let output = command.arg("--").arg(path).output().map_err(|error| Error::io(OP, error).entity(path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let kind = if text.contains("busy") { ErrorKind::Busy } else { ErrorKind::NotPermitted };
    Err(Error::new(kind, OP).entity(path.display()).context(text))
}

/// Where `fusermount3` (or its predecessor) is, if anywhere.
pub fn mount_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/bin".into(), "/bin".into()]).collect();
    let candidates =
        ["fusermount3", "fusermount"].into_iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    candidates.into_iter().find(|candidate| host::metadata(candidate).is_ok_and(|m| m.is_file()))
}

/// Processes that keep the mount at `path` busy, as far as this process may look: `"1234 (bash)"`.
pub fn users_of(path: &Path) -> Vec<String> {
    let uses = |link: &Path| host::read_link(link).is_ok_and(|target| target.starts_with(path));
    let mut users = Vec::new();
    for process in host::names_in(Path::new("/proc")) {
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
        let fixed = ["cwd", "root", "exe"].into_iter().any(|name| uses(&process.join(name)));
        if fixed || host::names_in(&process.join("fd")).iter().any(|fd| uses(fd)) {
            let name = host::read_text(&format!("/proc/{pid}/comm")).unwrap_or_default();
            users.push(format!("{pid} ({})", name.trim()));
        }
    }
    users
}

/// `path` with the links on the way to it resolved, but not its last part.
///
/// # Errors
/// Where its parent cannot be reached.
pub fn place_of(path: &Path) -> Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return absolute(path) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = host::canonical(parent).map_err(|error| Error::io("find", error).entity(path.display()))?;
    Ok(parent.join(name))
}

/// `path` without links. Its last part is not followed where it is a dead mount, which answers nothing.
///
/// # Errors
/// Where its parent cannot be reached.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let resolved = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            host::canonical(parent).map(|parent| parent.join(name))
        }
        _ => host::canonical(path),
    };
    let resolved = resolved.map_err(|error| {
        Error::io("use mount point", error).entity(path.display()).context("its parent directory cannot be reached")
    })?;
    // A link as last part is followed where that works.
    Ok(host::canonical(&resolved).unwrap_or(resolved))
}

fn mounts() -> Result<Vec<MountEntry>> {
    let list = host::read_bytes("/proc/self/mountinfo").map_err(|error| Error::io("read the list of mounts", error))?;
    Ok(parse_mounts(&list))
}

/// Lines of `/proc/self/mountinfo` (proc(5)): `id parent major:minor root point options [tags] - type source super`.
fn parse_mounts(list: &[u8]) -> Vec<MountEntry> {
    list.split(|&byte| byte == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let point = unescape(fields.nth(1)?);
    fields.find(|field| field == b"-")?;
    let fs_type = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let source = unescape(fields.next()?);
    Some(MountEntry {
        device,
        point: PathBuf::from(OsString::from_vec(point)),
        fs_type,
        source: OsString::from_vec(source),
    })
}

/// Undoes the kernel's `\040` for blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"22 1 0:20 / /proc rw,relatime shared:5 - proc proc rw\n\
        90 1 0:55 / /mnt/with\\040blank rw,nosuid - fuse tidegate:/data\\040one rw,user_id=0\n\
        91 1 0:56 / /mnt/b rw - fuse.other /x rw\nbroken line\n";

    #[test]
    fn the_list_of_mounts_is_read_with_its_escapes() {
        let mounts = parse_mounts(LIST);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].point, Path::new("/mnt/with blank"));
        assert_eq!(mounts[1].device, "0:55");
        assert_eq!(mounts[1].data_folder(), Some(PathBuf::from("/data one")));
        assert!(!mounts[2].is_ours() && mounts[2].data_folder().is_none());
    }

    #[test]
    fn a_mount_point_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let missing = MountPoint::check(&dir.path().join("none")).expect_err("missing");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("mkdir -p"), "{missing}");
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").expect("write");
        assert_eq!(MountPoint::check(&file).expect_err("a file").kind(), ErrorKind::NotDirectory);
        assert_eq!(MountPoint::check(dir.path()).expect_err("not empty").kind(), ErrorKind::NotEmpty);
        assert_eq!(MountPoint::check(Path::new("/proc")).expect_err("mounted").kind(), ErrorKind::Busy);
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).expect("mkdir");
        assert!(!MountPoint::check(&empty).expect("usable").is_dead());
    }

    /// Whatever the helper says, or where there is none.
    #[test]
    fn what_is_not_mounted_is_not_found_also_by_one_who_needs_the_helper() {
        let dir = tempfile::Builder::new().prefix("busy").tempdir().expect("a temporary directory");
        for busy in [Busy::Fail, Busy::Detach] {
            let error = unmount_by_helper(dir.path(), busy).expect_err("nothing is mounted there");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }

    #[test]
    fn a_process_that_works_in_a_directory_is_named_as_its_user() {
        let here = std::env::current_dir().expect("current directory");
        let me = format!("{} (", std::process::id());
        assert!(users_of(&here).iter().any(|user| user.starts_with(&me)));
    }
}
