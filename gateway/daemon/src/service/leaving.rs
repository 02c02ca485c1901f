//! Taking mounts away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_fuse::{Busy, Mount, unmount, users_of};
use objstore_base::{ErrorKind, Result};

use super::Service;
use super::doors::Mounts;
use crate::exit::Failure;

/// A detached mount that programs still use is served this long.
const DETACHED_MAX: Duration = Duration::from_secs(10);

/// Takes every mount away; one that does not go keeps no other.
pub(super) async fn leave_all(service: &Arc<Service>, mounts: &mut Mounts) -> Result<(), Failure> {
    let mut first = Ok(());
    for path in mounts.paths() {
        let Some(mount) = mounts.at(&path) else { continue };
        let gone = leave(service, mount).await;
        if let Err(failure) = &gone {
            tracing::error!(failure.message, "a mount stays");
        }
        mounts.forget(service, &path);
        first = first.and(gone);
    }
    first
}

/// Unmounts although it may be in use: the process ends anyway.
async fn leave(service: &Arc<Service>, mount: &mut Mount) -> Result<(), Failure> {
    let path = mount.path().to_path_buf();
    let gone = match take_away(service, &path, Busy::Fail).await {
        Err(error) if error.kind() == ErrorKind::Busy => {
            tracing::warn!(users = ?users(service, &path).await, "the mount is in use; it is detached");
            take_away(service, &path, Busy::Detach).await
        }
        other => other,
    };
    match gone {
        Ok(()) => wait_until_gone(service, mount).await,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(super) async fn wait_until_gone(service: &Service, mount: &mut Mount) {
    tokio::select! {
        ended = mount.ended() => {
            if let Err(error) = ended {
                tracing::warn!(%error, "the FUSE session broke at its end");
            }
        }
        () = service.env.clock.sleep(DETACHED_MAX) => tracing::warn!("programs still use the detached mount; they get errors now"),
    }
}

pub(super) async fn take_away(service: &Arc<Service>, path: &Path, busy: Busy) -> Result<()> {
    let path = path.to_path_buf();
    service.env.blocking(move || unmount(&path, busy)).await
}

pub(super) async fn users(service: &Arc<Service>, path: &Path) -> Vec<String> {
    let path = path.to_path_buf();
    service.env.blocking(move || users_of(&path)).await
}
