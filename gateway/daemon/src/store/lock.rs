//! The lock on a store's folder: one process at a time, and it says who.

use std::io::{self, IoSlice};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use objstore_env::real::RealDisk;
use objstore_env::{Disk, DiskLock, OpenMode};
use objstore_shard::PoolUuid;

use super::Layout;
use crate::exit::{Exit, Failure};

/// Held while the store is open; it dies with the process.
pub(crate) struct StoreLock {
    _lock: Box<dyn DiskLock>,
}

/// Held while a store of this identity is open on this machine, wherever its folder lies: a copy opened beside its
/// original would be a second writer under the same name. It is a name in the kernel (an abstract socket), so that it
/// needs no place on a disk and dies with the process; nobody listens behind it.
pub(crate) struct IdentityLock {
    _name: UnixListener,
}

impl IdentityLock {
    /// # Errors
    /// `InUse` where another process has a store of this identity open.
    pub(crate) fn take(layout: &Layout, store: PoolUuid) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::refuse("lock store", layout.data.display(), error);
        let address = SocketAddr::from_abstract_name(format!("tidegate-store-{store}")).map_err(failed)?;
        match UnixListener::bind_addr(&address) {
            Ok(name) => Ok(Self { _name: name }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let who = UnixStream::connect_addr(&address)
                    .ok()
                    .and_then(|stream| getsockopt(&stream, PeerCredentials).ok())
                    .map_or("another process".to_owned(), |peer| format!("process {}", peer.pid()));
                let why = format!(
                    "{who} has a store with the same identity {store} open: one of the two folders is a copy of the \
                     other; end that one first, and go on with one of them only"
                );
                Err(Failure::refuse("open store", layout.data.display(), why).with_exit(Exit::InUse))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

impl StoreLock {
    /// Takes the lock and leaves this process's id in it.
    pub(crate) fn take(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.lock();
        let failed = |error: std::io::Error| Failure::refuse("lock store", path.display(), error);
        let Some(lock) = RealDisk.lock(&path).map_err(failed)? else {
            let who = holder(layout).map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return Err(Failure::refuse(
                "open store",
                layout.data.display(),
                format!("{who} has it open: use `tidegate umount` on its mount point first"),
            )
            .with_exit(Exit::InUse));
        };
        let file = RealDisk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all_at(&[IoSlice::new(pid.as_bytes())], 0)).map_err(failed)?;
        Ok(Self { _lock: lock })
    }
}

/// Ends the connections of mounts whose service was killed and is held by the kernel: it waits for a program in the mount,
/// and the program for it. Nothing to do where the service still runs, or is gone for good.
pub(crate) fn free_stuck_mounts(layout: &Layout) {
    let Some(service) = holder(layout) else { return };
    if !gateway_fuse::guard::has_ended(service) {
        return;
    }
    let mounts = gateway_fuse::our_mounts().unwrap_or_default();
    for mount in mounts.iter().filter(|mount| mount.data_folder().as_ref() == Some(&layout.data)) {
        gateway_fuse::guard::end_connection(&mount.device, &mount.point);
    }
}

/// The process that has the store open, as it wrote itself down; whether it still runs is for the lock to say.
fn holder(layout: &Layout) -> Option<u32> {
    let content = RealDisk.read_file(&layout.lock(), 64).ok()?;
    String::from_utf8(content).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().to_path_buf());
        let lock = StoreLock::take(&layout).expect("free");
        let refused = StoreLock::take(&layout).err().expect("taken");
        assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
        assert_eq!(refused.exit, Exit::InUse);
        drop(lock);
        StoreLock::take(&layout).expect("free again");
    }

    #[test]
    fn a_copy_is_refused_while_its_original_is_open() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (original, copy) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")));
        // The process id keeps tests that run at the same time apart.
        let mut uuid = [0x5c; 16];
        uuid[..4].copy_from_slice(&std::process::id().to_le_bytes());
        let lock = IdentityLock::take(&original, PoolUuid(uuid)).expect("free");
        let refused = IdentityLock::take(&copy, PoolUuid(uuid)).err().expect("taken");
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{}", refused.message);
        assert_eq!(refused.exit, Exit::InUse);
        drop(lock);
        IdentityLock::take(&copy, PoolUuid(uuid)).expect("free again");
    }
}
