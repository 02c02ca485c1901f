//! The reference model: what a filesystem is, in plain maps.
//!
//! [`Model`] implements `fs_api::Vfs` as simply as it can be said, in memory, with one lock around everything;
//! permissions are `fs-access`'s, errors and their order are Linux's. Its [`State`] can be cloned, compared and put
//! back, so that histories with crashes are checked against prefixes. [`compare`] looks at any two filesystems through
//! their doors.

#![forbid(unsafe_code)]

pub mod compare;
mod content;
mod files;
mod inodes;
pub mod linux;
mod locks;
mod model;
mod names;
mod state;
mod vfs;

pub use model::Model;
pub use state::State;
