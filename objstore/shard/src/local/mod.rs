//! [`LocalDrive`]: shards as files in a local directory.
//!
//! Layout: `drive.json`, `drive.lock`, `tmp/`, and `<class>-<12 hex>/<2 hex>/<shard name>` (FORMAT.md). Every call runs
//! where blocking is allowed, at most [`OPS_IN_FLIGHT_MAX`] at once, so that a hanging disk holds a bounded number of
//! threads and the rest waits where it can give up.

mod files;
mod open;
mod scan;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use objstore_base::{BlobClass, BlobId, BoxFuture, Error, ErrorKind, Result};
use objstore_env::{DiskLock, Env};
use tokio::sync::Semaphore;

use crate::{Drive, DriveIdentity, DriveSpace, IDENTITY_FILE, ShardHeader, ShardIdentity, ShardName, ShardRead};

/// Calls on one drive that run at once; more would only queue in the device.
const OPS_IN_FLIGHT_MAX: usize = 32;
const TMP_DIR: &str = "tmp";

/// A drive that is a directory.
pub struct LocalDrive {
    root: Arc<Root>,
    in_flight: Arc<Semaphore>,
}

/// What the blocking half knows.
struct Root {
    env: Env,
    dir: PathBuf,
    identity: DriveIdentity,
    temporaries: AtomicU64,
    /// `None` on a medium that cannot be written: then nobody else writes it either.
    _lock: Option<Box<dyn DiskLock>>,
}

impl LocalDrive {
    fn new(root: Root) -> Self {
        Self { root: Arc::new(root), in_flight: Arc::new(Semaphore::new(OPS_IN_FLIGHT_MAX)) }
    }

    pub fn dir(&self) -> &Path {
        &self.root.dir
    }

    /// Runs `work` on a blocking thread; its place among the calls in flight is kept until it has ended, also when the
    /// caller has gone.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T>> {
        Box::pin(async move {
            let permit = Arc::clone(&self.in_flight).acquire_owned().await;
            let permit = permit.map_err(|e| Error::new(ErrorKind::ShuttingDown, "use drive").source(e))?;
            let root = Arc::clone(&self.root);
            let work = move || {
                let done = work(&root);
                drop(permit);
                done
            };
            self.root.env.blocking(work).await
        })
    }
}

impl Drive for LocalDrive {
    fn identity(&self) -> DriveIdentity {
        self.root.identity
    }

    fn place(&self) -> String {
        self.root.dir.display().to_string()
    }

    fn put(&self, identity: ShardIdentity, body: Vec<Bytes>) -> BoxFuture<'_, Result<()>> {
        self.run(move |root| root.put(identity, &body))
    }

    fn read(&self, name: ShardName, range: Range<u64>) -> BoxFuture<'_, Result<ShardRead>> {
        self.run(move |root| root.read(name, range))
    }

    fn verify(&self, name: ShardName) -> BoxFuture<'_, Result<Arc<ShardHeader>>> {
        self.run(move |root| root.verify(name).map(Arc::new))
    }

    fn delete(&self, name: ShardName) -> BoxFuture<'_, Result<()>> {
        self.run(move |root| root.delete(name))
    }

    fn find(&self, blob: BlobId) -> BoxFuture<'_, Result<Vec<ShardName>>> {
        self.run(move |root| root.find(blob))
    }

    fn list(&self, class: BlobClass, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<ShardName>>> {
        self.run(move |root| root.list(class, after, limit))
    }

    fn space(&self) -> BoxFuture<'_, Result<DriveSpace>> {
        self.run(|root| {
            // A directory that is no drive any more has the room of the filesystem it lies on, not ours.
            if root.is_gone() {
                return Err(root.failed("statvfs", &root.dir, io::ErrorKind::NotFound.into()));
            }
            let space = root.env.disk.space(&root.dir).map_err(|e| root.failed("statvfs", &root.dir, e))?;
            Ok(DriveSpace { total: space.total, available: space.available, filesystem: space.filesystem })
        })
    }
}

impl Root {
    fn next_temporary(&self) -> PathBuf {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        self.dir.join(TMP_DIR).join(format!("{number:016x}"))
    }

    /// The error of a call on `path`. A file that is not found on a drive that is not there either is the drive's
    /// failure: taken for a missing shard it would be healed onto the wrong filesystem.
    fn failed(&self, op: &'static str, path: &Path, e: io::Error) -> Error {
        if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) && self.is_gone() {
            let why = format!("{IDENTITY_FILE} is gone: the directory was removed or its filesystem unmounted");
            return Error::new(ErrorKind::Unavailable, op).entity(self.dir.display()).context(why);
        }
        Error::io(op, e).entity(path.display())
    }

    fn is_gone(&self) -> bool {
        self.env.disk.metadata(&self.dir.join(IDENTITY_FILE)).is_err()
    }
}
