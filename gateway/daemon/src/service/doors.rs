//! The doors of a service: where the store is mounted, and the NFS door. The service ends with its last one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use fs_api::Vfs;
use futures::FutureExt;
use futures::future::select_all;
use gateway_fuse::{Busy, Mount, MountOptions, MountPoint, unmount};
use objstore_base::Result;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use super::Service;
use super::nfs::{self, NfsDoor};
use crate::config::NfsSection;
use crate::door_reports::NfsReport;
use crate::exit::Failure;
use crate::host;
use crate::store;

/// What the doors will stand on, looked at and taken before the store is opened.
pub(crate) struct Places {
    points: Vec<MountPoint>,
    nfs: Option<(NfsSection, Vec<TcpSocket>)>,
}

/// Mounts that are served.
#[derive(Default)]
pub(super) struct Mounts {
    mounts: Vec<Mount>,
}

impl Places {
    /// # Errors
    /// A place that no door can stand on, with what to do.
    pub(crate) fn check(mounts: &[PathBuf], nfs: Option<&NfsSection>) -> Result<Self, Failure> {
        if !mounts.is_empty() {
            gateway_fuse::check_device()?;
        }
        let mut points: Vec<MountPoint> = Vec::with_capacity(mounts.len());
        for path in mounts {
            store::require_utf8(path, "mount point")?;
            let point = MountPoint::check(path)?;
            let nested =
                |other: &&MountPoint| point.path().starts_with(other.path()) || other.path().starts_with(point.path());
            if let Some(other) = points.iter().find(nested) {
                let advice = format!("it overlaps with the mount point {}: choose another", other.path().display());
                return Err(Failure::refuse("use mount point", point.path().display(), advice));
            }
            points.push(point);
        }
        let nfs = match nfs {
            Some(section) => Some((section.clone(), nfs::reserve(section)?)),
            None => None,
        };
        Ok(Self { points, nfs })
    }

    pub(crate) fn mountpoints(&self) -> Vec<&Path> {
        self.points.iter().map(MountPoint::path).collect()
    }

    /// Takes away what a crash left at the mount points.
    pub(super) fn detach_dead(self) -> Result<Self> {
        let points = self.points.into_iter().map(gateway_fuse::detach_dead).collect::<Result<_>>()?;
        Ok(Self { points, ..self })
    }
}

impl Service {
    /// Opens all doors, or none.
    pub(super) async fn open_doors(&self, places: Places, runtime: &Runtime) -> Result<Mounts, Failure> {
        let mut mounts = Mounts::default();
        let opened = self.open_each(places, runtime, &mut mounts).await;
        if let Err(failure) = opened {
            for mount in &mounts.mounts {
                if let Err(error) = unmount(mount.path(), Busy::Detach) {
                    tracing::warn!(%error, "a mount stays");
                }
            }
            return Err(failure);
        }
        Ok(mounts)
    }

    async fn open_each(&self, places: Places, runtime: &Runtime, mounts: &mut Mounts) -> Result<(), Failure> {
        let requests = Arc::new(AtomicU64::new(1));
        for (point, door) in places.points.iter().zip(1..) {
            let options =
                MountOptions { door, requests: Arc::clone(&requests), ..MountOptions::new(&self.layout.data) };
            let vfs = Arc::clone(&self.engine) as Arc<dyn Vfs>;
            mounts.mounts.push(gateway_fuse::mount(vfs, &self.env, runtime.handle().clone(), point, options)?);
            self.mounted.lock().push(point.path().to_path_buf());
        }
        if let Some((section, sockets)) = places.nfs {
            let list = self.layout.network_locks();
            let door = NfsDoor::open(&self.env, &self.engine, self.shares.live(), &section, sockets, list).await?;
            *self.nfs.lock() = Some(door);
            self.guard_mounts();
        }
        Ok(())
    }

    /// Mounts hear of what NFS changes, so they need a guard. It ends by itself after this process.
    fn guard_mounts(&self) {
        let mounts = self.mounted.lock().clone();
        if mounts.is_empty() {
            return;
        }
        let guard = host::this_program().map_err(|error| objstore_base::Error::io("find this program", error));
        if let Err(error) = guard.and_then(|program| gateway_fuse::guard::start(&program, &["guard"], &mounts)) {
            tracing::warn!(%error, "if this process is killed, programs in its mounts may wait until the next start");
        }
    }

    pub(super) async fn close_nfs(&self) {
        let door = self.nfs.lock().take();
        if let Some(door) = door {
            door.close(&self.env).await;
        }
    }

    pub(super) fn has_a_door(&self) -> bool {
        !self.mounted.lock().is_empty() || self.nfs.lock().is_some()
    }

    pub(super) fn nfs_report(&self) -> Option<NfsReport> {
        let door = self.nfs.lock();
        let door = door.as_ref()?;
        let shares = self.shares.paths();
        Some(NfsReport {
            listen: door.addresses().iter().map(ToString::to_string).collect(),
            connections: door.connections() as u64,
            mount_lines: door.mount_lines(&shares),
            shares,
        })
    }

    /// How `shares` are mounted; nothing where no NFS door is open.
    pub(super) fn mount_lines(&self, shares: &[String]) -> Vec<String> {
        self.nfs.lock().as_ref().map(|door| door.mount_lines(shares)).unwrap_or_default()
    }
}

impl Mounts {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.mounts.iter().map(|mount| mount.path().to_path_buf()).collect()
    }

    pub(super) fn at(&mut self, path: &Path) -> Option<&mut Mount> {
        self.mounts.iter_mut().find(|mount| mount.path() == path)
    }

    /// It is gone, whoever took it away.
    pub(super) fn forget(&mut self, service: &Service, path: &Path) {
        self.mounts.retain(|mount| mount.path() != path);
        service.mounted.lock().retain(|mounted| mounted != path);
    }

    /// The path of a mount that has ended, and how it did. Never completes where there is none.
    ///
    /// # Cancel
    /// Loses nothing.
    pub(super) async fn any_ended(&mut self) -> (PathBuf, Result<()>) {
        if self.mounts.is_empty() {
            return std::future::pending().await;
        }
        let endings = self.mounts.iter_mut().map(|mount| {
            async move {
                let ended = mount.ended().await;
                (mount.path().to_path_buf(), ended)
            }
            .boxed()
        });
        select_all(endings).await.0
    }
}
