//! The store's folder: what lies where, what a store is called, opening and creating it.
//!
//! `store.json` is the last thing written when a store is made: a folder without it is no store, and a refused
//! creation leaves nothing behind.

mod create;
mod file;
pub(crate) mod heal_list;
mod lock;
mod plan;
mod remains;
mod room;

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::host;

pub(crate) use create::{Unfinished, make_folder};
pub(crate) use file::{FORMAT, StoreFile};
pub(crate) use lock::{IdentityLock, StoreLock, free_stuck_mounts};
pub(crate) use plan::{NewStore, Plan, plan};
pub(crate) use room::Room;

/// Names inside the store's folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
}

impl Layout {
    pub(crate) fn new(data: PathBuf) -> Self {
        Self { data }
    }

    pub(crate) fn store_file(&self) -> PathBuf {
        self.data.join("store.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// Clients of the NFS door that hold locks.
    pub(crate) fn network_locks(&self) -> PathBuf {
        self.data.join("nlm-clients")
    }

    /// The token of the admin interface, where the configuration names no other place.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.data.join("admin.token")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.data.join("index")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    /// What the pool keeps on local disk: its heal list.
    pub(crate) fn pool(&self) -> PathBuf {
        self.data.join("pool")
    }

    /// There while the heal list is lost.
    pub(crate) fn heal_list_lost(&self) -> PathBuf {
        self.pool().join("heal.lost")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Where the drives of a store are that was made without `--drive`, relative to its folder.
    pub(crate) fn default_drive(slot: usize) -> PathBuf {
        PathBuf::from(format!("drives/{slot}"))
    }

    /// A drive's path as the store file has it, made absolute.
    pub(crate) fn drive(&self, named: &str) -> PathBuf {
        self.data.join(named)
    }
}

/// The store's folder for the argument `--data`, absolute, without links.
pub(crate) fn data_folder(argument: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match argument {
        Some(path) => path.to_path_buf(),
        None => default_folder().ok_or_else(|| {
            Failure::refuse(
                "find the store",
                "--data",
                "neither HOME nor XDG_DATA_HOME is set: give the folder with --data DIR",
            )
        })?,
    };
    let resolved = host::absolute(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotADirectory => {
            Failure::refuse("use data folder", path.display(), "a part of it is not a directory: choose another")
        }
        _ => Failure::refuse("use data folder", path.display(), error),
    })?;
    require_utf8(&resolved, "data folder")?;
    Ok(resolved)
}

fn default_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share"))).map(|base| base.join("tidegate"))
}

/// Paths are kept in JSON and in the kernel's list of mounts, which hold text.
pub(crate) fn require_utf8<'a>(path: &'a Path, what: &str) -> Result<&'a str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::refuse(&format!("use {what}"), path.display(), "its path is not UTF-8: choose another"))
}

/// The store file of a store that is there.
pub(crate) fn existing(data: &Path) -> Result<StoreFile, Failure> {
    let layout = Layout::new(data.to_path_buf());
    file::read(&layout)?.ok_or_else(|| match remains::of_store(&layout) {
        Some(remains) => Failure::refuse("open store", data.display(), remains).with_exit(Exit::Damaged),
        None => Failure::refuse(
            "open store",
            data.display(),
            "there is no store: `tidegate mount --data DIR MOUNTPOINT` creates one",
        )
        .with_exit(Exit::NotRunning),
    })
}
