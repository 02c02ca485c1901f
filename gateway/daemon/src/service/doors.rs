//! The doors of a service: where the store is mounted, and the NFS door. The service ends with its last one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use fs_api::Vfs;
use futures::FutureExt;
use futures::future::select_all;
use gateway_fuse::{Busy, LockGate, Mount, MountOptions, MountPoint, unmount};
use objstore_base::Result;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use super::nfs::{self, Common, NfsDoor};
use super::{Service, ServiceOptions, listening};
use crate::config::{AdminSection, NfsSection};
use crate::door_reports::NfsReport;
use crate::exit::Failure;
use crate::{host, store};

/// What the doors will stand on, looked at and taken before the store is opened.
pub(crate) struct Places {
    points: Vec<MountPoint>,
    nfs: Option<(NfsSection, Vec<TcpSocket>)>,
    admin: Option<(AdminSection, TcpSocket)>,
}

/// Mounts that are served.
#[derive(Default)]
pub(super) struct Mounts {
    mounts: Vec<Mount>,
}

impl Places {
    /// # Errors
    /// A place that no door can stand on, with what to do.
    pub(crate) fn check(options: &ServiceOptions) -> Result<Self, Failure> {
        let mounts = &options.mounts;
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
        let nfs = match &options.nfs {
            Some(section) => Some((section.clone(), nfs::reserve(section)?)),
            None => None,
        };
        let admin = match &options.admin {
            Some(section) => Some((section.clone(), listening::ADMIN.take(section.listen)?)),
            None => None,
        };
        if let Some(audit) = &options.audit {
            require_folder_of(&audit.path)?;
        }
        Ok(Self { points, nfs, admin })
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

/// The audit log is opened at the start; a look at a configuration can say this much.
fn require_folder_of(log: &Path) -> Result<(), Failure> {
    let folder = log.parent().unwrap_or(log);
    match host::metadata(folder) {
        Ok(found) if found.is_dir() && host::may_write(folder) => Ok(()),
        Ok(found) if found.is_dir() => {
            Err(Failure::refuse("open audit log", log.display(), "its folder cannot be written by this user"))
        }
        _ => Err(Failure::refuse("open audit log", log.display(), "its folder is not there: make it with `mkdir -p`")),
    }
}

impl Service {
    /// Opens all doors, or none; before them the admin interface, so that nothing goes through them unwatched.
    pub(super) async fn open_doors(self: &Arc<Self>, places: Places, runtime: &Runtime) -> Result<Mounts, Failure> {
        let mut places = places;
        if let Some((section, socket)) = places.admin.take() {
            self.open_admin(&section, socket)?;
        }
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
        // Mounts come first, and their locks after those that clients of the NFS door had before this start.
        let (keeper, lock_gate) = LockGate::closed();
        for (point, door) in places.points.iter().zip(1..) {
            let (requests, lock_gate) = (Arc::clone(&requests), lock_gate.clone());
            let options = MountOptions { door, requests, lock_gate, ..MountOptions::new(&self.layout.data) };
            let vfs = self.watched(&format!("fuse {}", point.path().display()));
            mounts.mounts.push(gateway_fuse::mount(vfs, &self.env, runtime.handle().clone(), point, options)?);
            self.mounted.lock().push(point.path().to_path_buf());
        }
        if let Some((section, sockets)) = places.nfs {
            let (vfs, locks_list) = (self.watched("nfs"), self.layout.network_locks());
            let common = Common { shares: self.shares.live(), locks_list, requests };
            let door = NfsDoor::open(&self.env, &self.engine, vfs, common, &section, sockets).await?;
            door.open_gate(keeper);
            *self.nfs.lock() = Some(door);
        } else {
            keeper.open();
        }
        self.guard_mounts();
        Ok(())
    }

    /// A mount hears of what every other door changes, another mount as well: then it needs a guard. That ends by itself
    /// after this process.
    fn guard_mounts(&self) {
        let mounts = self.mounted.lock().clone();
        let doors = mounts.len() + usize::from(self.nfs.lock().is_some());
        if mounts.is_empty() || doors == 1 {
            return;
        }
        let guard = host::this_program().map_err(|error| objstore_base::Error::io("find this program", error));
        if let Err(error) = guard.and_then(|program| gateway_fuse::guard::start(&program, &["guard"], &mounts)) {
            tracing::warn!(%error, "if this process is killed, programs in its mounts may wait until the next start");
        }
    }

    /// The engine, as `door` is to use it.
    fn watched(&self, door: &str) -> Arc<dyn Vfs> {
        self.watching.door(Arc::clone(&self.engine) as Arc<dyn Vfs>, door)
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
