//! The FUSE door: a mounted directory in front of any [`fs_api::Vfs`].
//!
//! A thin adapter: it turns a kernel request into a call of the `Vfs` and the answer into a reply. It decides nothing
//! about files; the promises it adds (what the kernel may cache, which signals end a wait) stand in `SEMANTICS.md`.
//! It must not know the engine or a store.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod attributes;
mod caller;
mod coherence;
mod convert;
mod directories;
mod door;
mod errno;
mod files;
mod filesystem;
pub mod guard;
mod host;
mod kernel;
mod lane;
mod lock_gate;
mod lock_handles;
mod locks;
mod mount;
mod mountpoint;
mod names;
mod reply;
mod threads;
mod xattrs;

pub use lock_gate::{GateKeeper, LockGate};
pub use mount::{Mount, MountOptions, check_device, mount};
pub use mountpoint::{
    Busy, MountEntry, MountPoint, absolute, detach_dead, find_mount, mount_helper, our_mounts, place_of, unmount,
    users_of,
};
