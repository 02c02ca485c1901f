//! Making a mount: options, the session's threads, its end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use fs_api::{DoorId, Vfs, Watcher};
use fuser::{Config, MountOption, Session, SessionACL};
use futures::channel::oneshot;
use nix::errno::Errno;
use nix::libc;
use nix::mount::MsFlags;
use nix::unistd::geteuid;
use objstore_base::{BoxFuture, Error, ErrorKind, Result};
use objstore_env::Env;
use tokio::runtime::Handle;
use tracing::debug;

use crate::coherence::Coherence;
use crate::door::Door;
use crate::filesystem::REQUEST_BYTES_MAX;
use crate::host;
use crate::kernel::Kernel;
use crate::lock_gate::LockGate;
use crate::lock_handles::LockHandles;
use crate::mountpoint::{Busy, MountPoint, SOURCE_PREFIX, find_mount, mount_helper, unmount};
use crate::threads::Threads;

/// Some for writes that wait, some for everybody else.
const THREADS_MIN: usize = 4;

/// How a mount looks and works.
pub struct MountOptions {
    /// The data folder, for the kernel's list of mounts.
    pub data: PathBuf,
    /// Threads that read requests. A write under back-pressure holds one, so there are more than cores; each costs a
    /// buffer of one request (`REQUEST_BYTES_MAX`).
    pub threads: usize,
    /// Tells this mount's lock owners from those of other doors.
    pub door: u32,
    /// Numbers requests, shared by all doors.
    pub requests: Arc<AtomicU64>,
    /// When locks may be taken.
    pub lock_gate: LockGate,
}

impl MountOptions {
    pub fn new(data: &Path) -> Self {
        let (requests, lock_gate) = (Arc::new(AtomicU64::new(1)), LockGate::open());
        Self { data: data.to_path_buf(), threads: 16, door: 1, requests, lock_gate }
    }
}

/// A mount that is being served.
pub struct Mount {
    path: PathBuf,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Mount {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Completes when the kernel has let go of the mount, whoever took it away.
    ///
    /// # Errors
    /// Where the session broke.
    pub async fn ended(&mut self) -> Result<()> {
        let broken = |error| Error::io("serve mount", error).entity(self.path.display());
        match (&mut self.ended).await {
            Ok(result) => result.map_err(broken),
            // The sender is gone without a word only when the session's thread panicked.
            Err(oneshot::Canceled) => Err(Error::new(ErrorKind::Internal, "serve mount").entity(self.path.display())),
        }
    }
}

/// Mounts `vfs` at `point` and serves it until it is unmounted.
///
/// # Errors
/// With what to do: no `/dev/fuse`, no permission, or the kernel's own refusal.
pub fn mount(
    vfs: Arc<dyn Vfs>,
    env: &Env,
    runtime: Handle,
    point: &MountPoint,
    options: MountOptions,
) -> Result<Mount> {
    check_device()?;
    let path = point.path().to_path_buf();
    let (config, notifier) = (config(&options)?, Arc::new(OnceLock::new()));
    let (id, coherence) = (DoorId(options.door), Coherence::new());
    let watching = vfs.watch(id, Arc::clone(&coherence) as Arc<dyn Watcher>);
    let kernel = Kernel::new(Arc::clone(&vfs), id, Arc::clone(&coherence), Arc::clone(&env.clock));
    let door = Door {
        vfs: Arc::clone(&vfs),
        kernel: Arc::clone(&kernel),
        env: env.clone(),
        runtime,
        requests: options.requests,
        number: options.door,
        notifier: Arc::clone(&notifier),
        threads: Threads::new(options.threads.max(THREADS_MIN)),
        lock_handles: LockHandles::default(),
        lock_gate: options.lock_gate,
    };
    let session = session(door, &path, &options.data, &config)?;
    if notifier.set(session.notifier()).is_err() {
        return Err(Error::new(ErrorKind::Internal, "mount").entity(path.display()));
    }
    let telling = {
        let (coherence, notifier, clock) = (Arc::clone(&coherence), Arc::clone(&notifier), Arc::clone(&env.clock));
        let kernel = Arc::clone(&kernel);
        env.tasks.blocking(Box::new(move || coherence.tell_inodes(&notifier, &kernel, &*clock)))
    };
    drop(env.tasks.spawn("fuse coherence of inodes", telling));
    let telling = {
        let coherence = Arc::clone(&coherence);
        env.tasks.blocking(Box::new(move || coherence.tell_names(&notifier, &kernel)))
    };
    drop(env.tasks.spawn("fuse coherence of names", telling));
    let (sender, ended) = oneshot::channel();
    let serving: BoxFuture<'static, ()> = env.tasks.blocking(Box::new(move || {
        // The receiver is gone only when nobody asks how the session ended.
        let ended = session.run();
        drop(watching);
        coherence.end();
        // Also who waits for a lock now, and keeps what the kernel knew from being given back.
        vfs.leave(id);
        drop(sender.send(ended));
    }));
    drop(env.tasks.spawn("fuse session", serving));
    widen_readahead(&path);
    Ok(Mount { path, ended })
}

/// Root mounts directly; others, and root where the kernel refuses it, through the helper of libfuse.
fn session(door: Door, path: &Path, data: &Path, config: &Config) -> Result<Session<Door>> {
    if geteuid().is_root()
        && let Some(device) = mount_directly(path, data)?
    {
        // Not by fuser: its session would unmount the path once more at its end, and whatever stands there then.
        return Session::from_fd(door, device, SessionACL::All, config.clone()).map_err(|error| {
            if let Err(left) = unmount(path, Busy::Detach) {
                debug!(error = %left, "the unused mount stays");
            }
            refused(path, error)
        });
    }
    Session::new(door, path, config).map_err(|error| refused(path, error))
}

/// Makes the mount and gives the device that serves it; `None` where this process may not.
fn mount_directly(path: &Path, data: &Path) -> Result<Option<OwnedFd>> {
    const OP: &str = "mount";
    let failed = |error: io::Error| Error::io(OP, error).entity(path.display());
    let device = host::open_fuse_device().map_err(failed)?;
    let root_mode = host::metadata(path).map_err(failed)?.mode() & libc::S_IFMT;
    // Without NODEV and NOSUID devices and setuid programs work, as on a local filesystem.
    let options = format!(
        "fd={},rootmode={root_mode:o},user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    let source = source(data)?;
    match nix::mount::mount(
        Some(source.as_str()),
        path,
        Some("fuse.tidegate"),
        MsFlags::empty(),
        Some(options.as_str()),
    ) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::EPERM) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// What the kernel's list of mounts says.
fn source(data: &Path) -> Result<String> {
    let data = data.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, "mount")
            .entity(data.display())
            .context("the data folder's path is not UTF-8: choose another")
    })?;
    Ok(format!("{SOURCE_PREFIX}{data}"))
}

fn config(options: &MountOptions) -> Result<Config> {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(THREADS_MIN));
    config.clone_fd = false;
    let (source, subtype) = (MountOption::FSName(source(&options.data)?), MountOption::Subtype("tidegate".to_owned()));
    config.mount_options = vec![source, subtype, MountOption::DefaultPermissions];
    if geteuid().is_root() {
        config.acl = SessionACL::All;
        config.mount_options.extend([MountOption::Dev, MountOption::Suid]);
    } else {
        config.acl = SessionACL::Owner;
        config.mount_options.extend([MountOption::NoDev, MountOption::NoSuid]);
    }
    Ok(config)
}

/// Whether this process can mount at all.
///
/// # Errors
/// With what to do: load the module, install the helper, run as root.
pub fn check_device() -> Result<()> {
    const OP: &str = "open";
    host::open_fuse_device().map(drop).map_err(|error| {
        let advice = match error.raw_os_error() {
            Some(libc::ENOENT) => {
                "FUSE is not there: load it with `modprobe fuse` (in a container: pass the device in)"
            }
            Some(libc::ENODEV | libc::ENXIO) => "this kernel has no FUSE: load it with `modprobe fuse`",
            Some(libc::EACCES | libc::EPERM) => {
                "no permission: run as root, or make the device readable and writable for this user"
            }
            _ => "FUSE cannot be used",
        };
        Error::io(OP, error).entity("/dev/fuse").context(advice)
    })?;
    if !geteuid().is_root() && mount_helper().is_none() {
        return Err(Error::new(ErrorKind::NotPermitted, "mount")
            .context("fusermount3 is missing: install the package fuse3, or run as root"));
    }
    Ok(())
}

fn refused(path: &Path, error: io::Error) -> Error {
    let text = error.to_string();
    let denied =
        error.kind() == io::ErrorKind::PermissionDenied || text.contains("ermission") || text.contains("permitted");
    let helper = matches!(error.kind(), io::ErrorKind::NotFound);
    let error = Error::io("mount", error).entity(path.display());
    match (denied, helper) {
        (true, _) => error
            .with_kind(ErrorKind::NotPermitted)
            .context("run as root with CAP_SYS_ADMIN, or install the package fuse3"),
        (false, true) => {
            error.context("the kernel refused a direct mount and fusermount3 is missing: install the package fuse3")
        }
        (false, false) => error,
    }
}

/// The kernel starts FUSE with 128 KiB of read-ahead and takes no more from the handshake; root can raise it.
fn widen_readahead(path: &Path) {
    let Ok(Some(entry)) = find_mount(path) else { return };
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
    if let Err(error) = host::write_text(&setting, &(REQUEST_BYTES_MAX >> 10).to_string()) {
        debug!(setting, %error, "read-ahead stays at the kernel's default");
    }
}
